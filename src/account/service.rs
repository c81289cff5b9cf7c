//! Signing up, in and out: what customers and guests do with their accounts.

use super::sign_ins::{self, Handed};
use super::{Account, Email, FullName, Password, Post, Profile, SignUp, store};
use crate::admin::audit;
use crate::app::App;
use crate::body::Fields;
use crate::broadcast::streams::Owner;
use crate::checkout;
use crate::clock::Timestamp;
use crate::db::Txn;
use crate::failure::{Failure, Result};
use crate::ids::{AccountId, SessionId, SignInId, StoreId};
use crate::password::Verdict;
use crate::principal::{Customer, Role, Service};
use crate::session::{self, Reason, Session, Step};
use crate::token::{self, Access};

pub use super::sign_ins::Standing;
pub use super::standing::Standings;

/// `code` where somebody else has the address.
const EMAIL_TAKEN: &str = "email-taken";

/// What refresh tokens begin with.
const REFRESH_TOKEN: &str = "rt_";

/// Who has signed in, and what they do it by from now on.
pub struct SignedIn {
    /// Whose sign-in it is.
    pub account: Account,
    /// The access token.
    pub access_token: String,
    /// The refresh token: this once, and never again.
    pub refresh_token: String,
    /// Seconds until the access token expires.
    pub expires_in: u64,
}

/// Whose the sign-in is, if it still stands.
pub async fn standing(app: &App, id: SignInId) -> Result<Option<Standing>> {
    let now = app.clock.now();
    let known = app.standings.sign_ins.get(&id, now);
    let found = match known {
        Some(standing) => Some(standing),
        None => sign_ins::standing(app.db.read(), id).await?,
    };
    if let (None, Some(standing)) = (known, found) {
        app.standings.sign_ins.keep(id, standing, now);
    }
    Ok(found.filter(|standing| standing.expires_at > now))
}

/// The service, if it has not been removed.
pub async fn service_standing(app: &App, client_id: &str) -> Result<Option<Service>> {
    super::services::service::standing(app, client_id).await
}

/// What a customer is called; guests, and nobody, are not called anything.
pub async fn full_name(app: &App, id: Option<AccountId>) -> Result<Option<String>> {
    let Some(id) = id else { return Ok(None) };
    let account = store::find(app.db.read(), id).await?;
    Ok(account.and_then(|account| account.profile).map(|profile| profile.full_name.0))
}

/// Makes an account, or makes one of the guest `guest`, whose session goes on.
pub async fn sign_up(app: &App, sign_up: SignUp, guest: Option<AccountId>) -> Result<Account> {
    let now = app.clock.now();
    let SignUp { email, password, full_name } = sign_up;
    // Before the password is hashed, which is dear. The transaction looks again.
    free(store::by_email(app.db.read(), &email).await?)?;
    let password_hash = app.passwords.hash(password.reveal()).await?;
    let profile = Profile { email, full_name, password_hash };
    let written = app.db.write(async move |txn: &Txn<'_>| {
        free(store::by_email(&**txn, &profile.email).await?)?;
        let guest = match guest {
            Some(id) => store::lock(&**txn, id).await?.filter(Account::is_guest),
            None => None,
        };
        let id = match guest {
            Some(guest) => {
                let account = Account { profile: Some(profile), ..guest };
                store::update(&**txn, &account, now).await.map_err(or_taken)?;
                account.id
            }
            None => store::insert(&**txn, Some(&profile), None, now).await.map_err(or_taken)?,
        };
        store::find(&**txn, id).await?.ok_or_else(|| gone(id))
    });
    written.await
}

/// Whether nobody has the address yet.
pub(super) fn free(found: Option<Account>) -> Result<()> {
    match found {
        None => Ok(()),
        Some(_) => Err(taken()),
    }
}

fn taken() -> Failure {
    let detail = "There is an account with this e-mail address; sign in, or use another".into();
    Failure::Conflict { code: EMAIL_TAKEN, detail }
}

/// The index behind [`free`]: two at once may both have found the address free.
pub(super) fn or_taken(error: sea_orm::DbErr) -> Failure {
    match error.sql_err() {
        Some(sea_orm::SqlErr::UniqueConstraintViolation(_)) => taken(),
        _ => error.into(),
    }
}

/// An account that this very transaction has locked or written is not there.
pub(super) fn gone(id: AccountId) -> Failure {
    Failure::Internal(format!("account {id} is gone within its transaction"))
}

/// Signs in by e-mail and password. An unknown address costs the same time and gets the same answer.
pub async fn sign_in(app: &App, email: &str, password: String, address: Option<std::net::IpAddr>) -> Result<SignedIn> {
    let email = Email::normalised(email);
    let attempt = app.limits.attempt(email.as_str(), address)?;
    match checked(app, &email, password).await {
        Ok((account, outdated)) => {
            app.limits.succeeded(attempt);
            begin(app, account, outdated).await
        }
        Err(Failure::WrongPassword) => Err(Failure::WrongPassword),
        Err(other) => {
            app.limits.undone(attempt);
            Err(other)
        }
    }
}

/// The account that this password opens, and the password where it has to be hashed anew.
async fn checked(app: &App, email: &Email, password: String) -> Result<(Account, Option<String>)> {
    let account = store::by_email(app.db.read(), email).await?.filter(|account| account.is_active);
    let hash =
        account.as_ref().and_then(|account| account.profile.as_ref()).map(|profile| profile.password_hash.clone());
    let verdict = app.passwords.verify(password.clone(), hash).await?;
    match (account, verdict) {
        (Some(account), Verdict::Right) => Ok((account, None)),
        (Some(account), Verdict::Outdated) => Ok((account, Some(password))),
        _ => Err(Failure::WrongPassword),
    }
}

async fn begin(app: &App, account: Account, outdated: Option<String>) -> Result<SignedIn> {
    let now = app.clock.now();
    let rehashed = match outdated {
        Some(password) => Some(app.passwords.hash(password).await?),
        None => None,
    };
    let (id, until) = (account.id, refreshable(app, now));
    let refresh_token = token::opaque(REFRESH_TOKEN);
    let hash = token::hash(&refresh_token);
    let written = app.db.write(async move |txn: &Txn<'_>| -> Result<_> {
        // Again, under its lock: it may have been closed while the password was compared.
        let account = store::lock(&**txn, id).await?.filter(|account| account.is_active);
        let mut account = account.ok_or(Failure::WrongPassword)?;
        if let (Some(rehashed), Some(profile)) = (rehashed, account.profile.as_mut()) {
            profile.password_hash = rehashed;
            store::update(&**txn, &account, now).await?;
        }
        let sign_in = sign_ins::insert(&**txn, id, now, until).await?;
        sign_ins::insert_token(&**txn, &hash, sign_in, now).await?;
        Ok((account, sign_in))
    });
    let (account, sign_in) = written.await?;
    Ok(signed_in(app, account, sign_in, refresh_token, now))
}

/// Lets somebody in who tells us nothing.
pub async fn guest(app: &App) -> Result<SignedIn> {
    let now = app.clock.now();
    let until = refreshable(app, now);
    let refresh_token = token::opaque(REFRESH_TOKEN);
    let hash = token::hash(&refresh_token);
    let written = app.db.write(async move |txn: &Txn<'_>| -> Result<_> {
        let id = store::insert(&**txn, None, None, now).await?;
        let sign_in = sign_ins::insert(&**txn, id, now, until).await?;
        sign_ins::insert_token(&**txn, &hash, sign_in, now).await?;
        Ok((store::find(&**txn, id).await?.ok_or_else(|| gone(id))?, sign_in))
    });
    let (account, sign_in) = written.await?;
    Ok(signed_in(app, account, sign_in, refresh_token, now))
}

/// Until when a sign-in can be refreshed: never less than its access token lives.
fn refreshable(app: &App, now: Timestamp) -> Timestamp {
    now + app.config.refresh_ttl.0.max(app.config.access_ttl.0)
}

fn signed_in(app: &App, account: Account, sign_in: SignInId, refresh_token: String, now: Timestamp) -> SignedIn {
    let ttl = app.config.access_ttl.0;
    let access_token = app.keys.sign(Access { sub: account.id, sid: sign_in }, now, now + ttl);
    SignedIn { account, access_token, refresh_token, expires_in: ttl.as_secs() }
}

/// What became of a refresh token that was handed in.
enum Refreshed {
    Renewed(Account, SignInId),
    /// It had been used before: one of the two who hold it stole it.
    Reused(SignInId),
    Refused,
}

/// Takes a refresh token in and gives the next pair out. A token that comes a second time ends the
/// sign-in, whoever of the two who hold it is the thief.
pub async fn refresh(app: &App, handed_in: &str) -> Result<SignedIn> {
    let now = app.clock.now();
    let until = refreshable(app, now);
    let (old, refresh_token) = (token::hash(handed_in), token::opaque(REFRESH_TOKEN));
    let new = token::hash(&refresh_token);
    let written = app.db.write(async move |txn: &Txn<'_>| -> Result<_> {
        // The account first, as everywhere: whoever closes it waits for us, or we for them.
        let owner = sign_ins::owner_of_token(&**txn, &old).await?;
        let Some(owner) = owner else { return Ok(Refreshed::Refused) };
        let Some(account) = store::lock(&**txn, owner).await? else { return Ok(Refreshed::Refused) };
        let sign_in = match sign_ins::use_token(&**txn, &old, now).await? {
            Handed::First(sign_in) => sign_in,
            Handed::Again(sign_in) => {
                sign_ins::end(&**txn, sign_in, now).await?;
                return Ok(Refreshed::Reused(sign_in));
            }
            Handed::Unknown => return Ok(Refreshed::Refused),
        };
        let standing = sign_ins::standing(&**txn, sign_in).await?.filter(|standing| standing.expires_at > now);
        if standing.is_none() {
            return Ok(Refreshed::Refused);
        }
        sign_ins::prolong(&**txn, sign_in, until).await?;
        sign_ins::insert_token(&**txn, &new, sign_in, now).await?;
        Ok(Refreshed::Renewed(account, sign_in))
    });
    match written.await? {
        Refreshed::Renewed(account, sign_in) => Ok(signed_in(app, account, sign_in, refresh_token, now)),
        Refreshed::Refused => Err(Failure::BadCredential("the refresh token is not valid; sign in again")),
        Refreshed::Reused(sign_in) => {
            tracing::warn!(sign_in = sign_in.0, "a refresh token came a second time; its sign-in has been ended");
            ended(app, &[sign_in]);
            Err(Failure::BadCredential(
                "the refresh token had been used already, so the sign-in has been ended; sign in again",
            ))
        }
    }
}

/// Ends a sign-in, and its streams with it.
pub async fn sign_out(app: &App, id: SignInId) -> Result<()> {
    let now = app.clock.now();
    app.db.write(async move |txn: &Txn<'_>| sign_ins::end(&**txn, id, now).await).await?;
    ended(app, &[id]);
    Ok(())
}

/// Makes it felt that these sign-ins have ended, or are no longer what they were.
pub(super) fn ended(app: &App, sign_ins: &[SignInId]) {
    for id in sign_ins {
        app.standings.sign_ins.forget(id);
        app.streams.close(&Owner::SignIn(*id));
    }
}

/// The account of whoever asks.
pub async fn me(app: &App, id: AccountId) -> Result<Account> {
    let found = store::find(app.db.read(), id).await?;
    found.ok_or(Failure::BadCredential("this account has been closed"))
}

/// Everything stored about a customer.
pub struct Export {
    /// The account.
    pub account: Account,
    /// Its sign-ins.
    pub sign_ins: Vec<sign_ins::Entry>,
    /// Its sessions, newest first.
    pub sessions: Vec<Shopped>,
}

/// A session and what was paid in it.
pub struct Shopped {
    /// The session.
    pub session: Session,
    /// Its receipt.
    pub receipt: Option<String>,
    /// Receipts of payments that came too late and are to be paid back.
    pub refunds: Vec<String>,
}

/// Gathers everything stored about a customer.
pub async fn export(app: &App, id: AccountId) -> Result<Export> {
    const PAGE: u32 = 100;
    let read = app.db.read();
    let mut sessions: Vec<Shopped> = Vec::new();
    loop {
        let before = sessions.last().map_or(SessionId(i64::MAX), |last| last.session.id);
        let page = session::store::of_customer(read, id, before, PAGE).await?;
        let last = page.len() < PAGE as usize;
        for session in page {
            let receipt = session::store::receipt(read, session.id).await?;
            let refunds = checkout::store::refunds(read, session.id).await?;
            sessions.push(Shopped { session, receipt, refunds });
        }
        if last {
            break;
        }
    }
    Ok(Export { account: me(app, id).await?, sign_ins: sign_ins::all_of(read, id).await?, sessions })
}

/// Closes a customer's account: ends what is open and takes the person out of every table.
pub async fn erase(app: &App, customer: &Customer) -> Result<()> {
    let (id, now) = (customer.account, app.clock.now());
    let written = app.db.write(async move |txn: &Txn<'_>| -> Result<_> {
        store::lock(&**txn, id).await?.ok_or(Failure::BadCredential("this account has been closed"))?;
        if let Some(open) = session::store::open_of_customer(&**txn, id).await?
            && let Some(open) = session::store::lock(&**txn, open.id).await?
            && open.state.is_open()
        {
            session::service::transition(txn, open, &Step::End(Reason::AccountClosed), None, now).await?;
        }
        let sign_ins = sign_ins::open_of(&**txn, id).await?;
        store::erase(&**txn, id).await?;
        Ok(sign_ins)
    });
    ended(app, &written.await?);
    Ok(())
}

/// Reads what somebody at the machine itself wrote down about a person.
fn given(email: &str, full_name: &str, password: &str) -> Result<SignUp> {
    let mut fields = Fields::default();
    let email = fields.check("email", Email::parse(email));
    let password = fields.check("password", Password::parse(password, email.as_ref()));
    let full_name = fields.check("full_name", FullName::parse(full_name));
    let read = email.zip(password).zip(full_name);
    fields.finish(read.map(|((email, password), full_name)| SignUp { email, password, full_name }))
}

/// Makes a staff account from the command line, where nobody's rights bound what it may do.
pub async fn create_staff(
    app: &App,
    email: &str,
    full_name: &str,
    password: &str,
    role: Role,
    store: Option<StoreId>,
) -> Result<AccountId> {
    let sign_up = given(email, full_name, password)?;
    let hired = super::staff::service::hire(app, audit::COMMAND_LINE.into(), sign_up, Post { role, store }).await;
    hired.map(|account| account.id)
}

/// As [`create_staff`], where there is nobody of that address yet.
pub async fn ensure_staff(
    app: &App,
    email: &str,
    full_name: &str,
    password: &str,
    role: Role,
    store: Option<StoreId>,
) -> Result<()> {
    or_there_already(create_staff(app, email, full_name, password, role, store).await)
}

/// A customer, where there is nobody of that address yet.
pub async fn ensure_customer(app: &App, email: &str, full_name: &str, password: &str) -> Result<()> {
    or_there_already(sign_up(app, given(email, full_name, password)?, None).await)
}

fn or_there_already<T>(made: Result<T>) -> Result<()> {
    match made {
        Ok(_) | Err(Failure::Conflict { code: EMAIL_TAKEN, .. }) => Ok(()),
        Err(failure) => Err(failure),
    }
}

//! Making, changing and removing staff, each with its row in the audit log.

use super::{Change, leaves_nobody, told};
use crate::account::service::{ended, free, gone, or_taken};
use crate::account::{Account, Post, Profile, SignUp, sign_ins, store};
use crate::admin::audit;
use crate::app::App;
use crate::db::Txn;
use crate::failure::{Failure, Result};
use crate::ids::{AccountId, SignInId, StoreId};
use crate::principal::Staff;
use crate::store as shop;

/// What nobody may tell from staff of another store.
const ABSENT: Failure = Failure::NotFound("Staff account");

const BEYOND: Failure = Failure::Forbidden("Nobody grants, changes or takes away a role or a store beyond their own");

/// The staff that `staff` may see.
pub async fn list(app: &App, staff: &Staff) -> Result<Vec<Account>> {
    Ok(store::staff(app.db.read(), staff.store).await?)
}

/// Makes a staff account in the name of another member of the staff.
pub async fn create(app: &App, staff: &Staff, sign_up: SignUp, post: Post) -> Result<Account> {
    if !Post::of(staff).may_grant(&post) {
        return Err(BEYOND);
    }
    hire(app, audit::actor(staff.account), sign_up, post).await
}

/// Makes a staff account.
pub async fn hire(app: &App, actor: String, sign_up: SignUp, post: Post) -> Result<Account> {
    let now = app.clock.now();
    let SignUp { email, password, full_name } = sign_up;
    free(store::by_email(app.db.read(), &email).await?)?;
    let password_hash = app.passwords.hash(password.reveal()).await?;
    let profile = Profile { email, full_name, password_hash };
    let written = app.db.write(async move |txn: &Txn<'_>| -> Result<_> {
        free(store::by_email(&**txn, &profile.email).await?)?;
        there(txn, post.store).await?;
        let id = store::insert(&**txn, Some(&profile), Some(post), now).await.map_err(or_taken)?;
        audit::append(txn, &actor, "staff.created", &audit::actor(id), post.store, &told(post), now).await?;
        store::find(&**txn, id).await?.ok_or_else(|| gone(id))
    });
    written.await
}

async fn there(txn: &Txn<'_>, store: Option<StoreId>) -> Result<()> {
    match store {
        Some(store) if shop::store::find(&**txn, store).await?.is_none() => {
            Err(Failure::field("store_id", "there is no such store"))
        }
        _ => Ok(()),
    }
}

/// The account, locked, where `staff` may change it.
async fn lock(txn: &Txn<'_>, staff: &Staff, id: AccountId) -> Result<(Account, Post)> {
    let own = Post::of(staff);
    let account = store::lock(&**txn, id).await?.ok_or(ABSENT)?;
    match account.post {
        Some(post) if !own.sees(&post) => Err(ABSENT),
        Some(post) if !own.may_grant(&post) => Err(BEYOND),
        Some(post) => Ok((account, post)),
        None => Err(ABSENT),
    }
}

fn someone_is_left(admins: &[AccountId], id: AccountId, after: Option<Post>) -> Result<()> {
    if leaves_nobody(admins, id, after) {
        let detail = "This is the last active admin of all stores; make another one first".into();
        return Err(Failure::Conflict { code: "last-admin", detail });
    }
    Ok(())
}

/// Changes a staff account. It is felt at the next request, and by open streams at once.
pub async fn change(app: &App, staff: &Staff, id: AccountId, change: Change) -> Result<Account> {
    let (staff, now) = (staff.clone(), app.clock.now());
    let password_hash = match change.password.clone() {
        Some(password) => Some(app.passwords.hash(password.reveal()).await?),
        None => None,
    };
    let written = app.db.write(async move |txn: &Txn<'_>| -> Result<_> {
        let admins = store::lock_admins(&**txn).await?;
        let (mut account, before) = lock(txn, &staff, id).await?;
        let post = change.post(before);
        if !Post::of(&staff).may_grant(&post) {
            return Err(BEYOND);
        }
        there(txn, change.store.flatten()).await?;
        let is_active = change.is_active.unwrap_or(account.is_active);
        someone_is_left(&admins, id, is_active.then_some(post))?;
        let affected = affected(txn, &account, &change, post, is_active).await?;
        let signs_out = password_hash.is_some() || !is_active;
        if let Some(profile) = account.profile.as_mut() {
            profile.full_name = change.full_name.clone().unwrap_or_else(|| profile.full_name.clone());
            profile.password_hash = password_hash.unwrap_or_else(|| profile.password_hash.clone());
        }
        let account = Account { post: Some(post), is_active, updated_at: now, ..account };
        store::update(&**txn, &account, now).await?;
        if signs_out {
            sign_ins::end_all(&**txn, id, now).await?;
        }
        let actor = audit::actor(staff.account);
        audit::append(txn, &actor, "staff.changed", &audit::actor(id), post.store, &change.told(post), now).await?;
        Ok((account, affected))
    });
    let (account, affected) = written.await?;
    ended(app, &affected);
    Ok(account)
}

/// The sign-ins that are no longer what they were: their streams end, and those that still may
/// come back as what they are now.
async fn affected(
    txn: &Txn<'_>,
    before: &Account,
    change: &Change,
    post: Post,
    is_active: bool,
) -> Result<Vec<SignInId>> {
    let same = before.post == Some(post) && before.is_active == is_active && change.password.is_none();
    if same { Ok(Vec::new()) } else { Ok(sign_ins::open_of(&**txn, before.id).await?) }
}

/// Removes a staff account. The audit log goes on naming its id.
pub async fn dismiss(app: &App, staff: &Staff, id: AccountId) -> Result<()> {
    let (staff, now) = (staff.clone(), app.clock.now());
    let written = app.db.write(async move |txn: &Txn<'_>| -> Result<_> {
        let admins = store::lock_admins(&**txn).await?;
        let (_, post) = lock(txn, &staff, id).await?;
        someone_is_left(&admins, id, None)?;
        let sign_ins = sign_ins::open_of(&**txn, id).await?;
        store::erase(&**txn, id).await?;
        let actor = audit::actor(staff.account);
        audit::append(txn, &actor, "staff.removed", &audit::actor(id), post.store, &told(post), now).await?;
        Ok(sign_ins)
    });
    ended(app, &written.await?);
    Ok(())
}

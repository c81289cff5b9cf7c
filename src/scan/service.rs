//! Redeeming a code: open, decide, write; the event is told after COMMIT.

use rand::RngExt;
use sea_orm::SqlErr;

use super::{Admission, Facts, Refusal, admit};
use crate::account;
use crate::app::App;
use crate::cart::{self, store::Bumped};
use crate::clock::Timestamp;
use crate::db::Txn;
use crate::event::display_name;
use crate::failure::{Failure, Result};
use crate::idempotency::service::once;
use crate::idempotency::{Answer, Key};
use crate::ids::{AccountId, SessionId};
use crate::principal::Customer;
use crate::qr::{self, Code};
use crate::session::{self, Session, State};

/// Binds the cart whose code this is to the customer, or finds the session it has made already.
///
/// One transaction bumps the cart's pairing epoch (guarded by its value), inserts claim, session and
/// event. Of any number of racing scans the guard lets one through.
pub async fn redeem(
    app: &App,
    customer: &Customer,
    spelling: &str,
    key: Option<Key>,
    told: fn(Session) -> Answer,
) -> Result<Answer> {
    let now = app.clock.now();
    let code = qr::open(&app.keys, spelling).map_err(|refusal| Failure::Qr(refusal.into()))?;
    let account = customer.account;
    if app.reuse.tried(code.num, code.epoch_low, account) {
        metrics::counter!("cartlink_reused_codes_total").increment(1);
        tracing::warn!(cart = code.num.0, "several customers try one code of this cart: it may be shown elsewhere");
    }
    let mut tries = 0;
    loop {
        let genuine = code.clone();
        let keys = app.keys.clone();
        let written =
            once(app, key.clone(), async move |txn: &Txn<'_>| bind(txn, &keys, &genuine, account, now).await.map(told));
        let written = written.await;
        tries += 1;
        match written {
            // The wall behind the facts: on PostgreSQL the same customer may be scanning two carts at
            // once. The second look sees what the first could not.
            Err(Failure::Conflict { code: RACED, .. }) if tries < 3 => {}
            done => return done,
        }
    }
}

/// Not an answer: the transaction is to be tried once more.
const RACED: &str = "raced";

async fn bind(
    txn: &Txn<'_>,
    keys: &crate::token::KeyRing,
    code: &Code,
    customer: AccountId,
    now: Timestamp,
) -> Result<Session> {
    let who = account::store::scanner(&**txn, customer).await?;
    let bumped = cart::store::bump_if_current(&**txn, code.num, code.epoch_low, now).await?;
    let Some(bumped) = bumped else {
        return again(txn, keys, code, customer, now).await;
    };
    let cart = &bumped.cart;
    let epoch = cart.pairing_epoch - 1;
    let facts = Facts {
        genuine: code.genuine(keys, epoch),
        current: true,
        expires_at: code.expires_at(),
        earlier: None,
        cart: cart.status(),
        open: who.open,
    };
    admit(customer, &facts, now).map_err(failure)?;
    start(txn, &bumped, epoch, customer, who.full_name.as_deref(), now).await
}

/// The code's epoch is gone: either this customer asks again, or somebody was faster.
async fn again(
    txn: &Txn<'_>,
    keys: &crate::token::KeyRing,
    code: &Code,
    customer: AccountId,
    now: Timestamp,
) -> Result<Session> {
    let cart = cart::store::by_num(&**txn, code.num).await?.ok_or(Failure::Qr(crate::failure::QrRefusal::Forged))?;
    let epoch = code.full_epoch(cart.pairing_epoch);
    let made = session::store::of_scan(&**txn, code.num, epoch).await?;
    let facts = Facts {
        genuine: code.genuine(keys, epoch),
        current: false,
        expires_at: code.expires_at(),
        earlier: made.as_ref().and_then(|made| made.customer.map(|whose| (whose, made.created_at))),
        cart: cart.status(),
        open: None,
    };
    match (admit(customer, &facts, now).map_err(failure)?, made) {
        (Admission::Again, Some(made)) => Ok(made),
        _ => Err(Failure::Qr(crate::failure::QrRefusal::Used)),
    }
}

async fn start(
    txn: &Txn<'_>,
    bumped: &Bumped,
    epoch: i64,
    customer: AccountId,
    full_name: Option<&str>,
    now: Timestamp,
) -> Result<Session> {
    let cart = &bumped.cart;
    let mut session = Session {
        id: SessionId(0),
        cart: cart.num,
        cart_id: cart.id.clone(),
        cart_label: cart.label.clone(),
        store: cart.store,
        customer: Some(customer),
        check_code: format!("{:02}", rand::rng().random_range(0..100)),
        state: State::Active,
        version: 1,
        created_at: now,
        fetched_at: None,
        checkout_at: None,
        checkout_id: None,
        activity_at: now,
        updated_at: now,
        scan_epoch: epoch,
        transfer: None,
        silent_since: None,
        limits: bumped.settings.limits(),
    };
    let scanned = session::store::Scanned {
        cart: cart.num,
        store: cart.store,
        customer,
        epoch,
        check_code: &session.check_code,
        due_at: session::due(&session).map(|(at, _)| at),
    };
    session.id = session::store::insert(&**txn, &scanned, now).await.map_err(|error| match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => Failure::Conflict { code: RACED, detail: String::new() },
        _ => error.into(),
    })?;
    session::service::tell_started(txn, &session, display_name(full_name), bumped.hooked, now).await?;
    Ok(session)
}

fn failure(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::Code(refusal) => Failure::Qr(refusal),
        Refusal::Cart(status) => Failure::CartUnavailable(status.as_str()),
        Refusal::Open(session) => Failure::SessionOpen(session),
    }
}

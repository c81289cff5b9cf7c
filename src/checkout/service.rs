//! Starting a checkout, and what the till says came of it. Results that come late, twice or against each other are
//! answered, not believed.

use super::{Attempt, Outcome, store};
use crate::clock::Timestamp;
use crate::db::Txn;
use crate::failure::{Failure, Result};
use crate::ids::SessionId;
use crate::principal::{Principal, Scope, Service};
use crate::session::service::{ABSENT, may_see, transition};
use crate::session::{Phase, Refusal, Session, State, Step, store as sessions};
use crate::store::{CheckoutMode, store as shops};

/// Starts a checkout. In `immediate` mode, and on the customer's own request, it completes in the same step, with the
/// receipt that came along.
pub async fn start(
    txn: &Txn<'_>,
    principal: &Principal,
    id: SessionId,
    receipt: Option<String>,
    now: Timestamp,
) -> Result<Session> {
    let by_customer = match principal {
        Principal::Customer(_) => true,
        Principal::Device(_) | Principal::Screen(_) => false,
        _ => return Err(Failure::Forbidden("Only the customer or the cart may start a checkout")),
    };
    let session = sessions::lock(&**txn, id).await?;
    let session = session.filter(|session| may_see(principal, session)).ok_or(ABSENT)?;
    if !by_customer && !is_on(principal, &session) {
        return Err(Refusal::NotFetched.into());
    }
    let checkout = uuid::Uuid::new_v4().simple().to_string();
    let mode = shops::settings(&**txn, session.store).await?.checkout_mode();
    let at_once = mode == CheckoutMode::Immediate && by_customer;
    if mode == CheckoutMode::External && receipt.is_some() {
        return Err(Failure::field(
            "items",
            "in this store the till sends the receipt; start the checkout without one",
        ));
    }
    let (step, receipt) = match at_once {
        true => (Step::CheckoutAtOnce(checkout.clone()), receipt),
        false => (Step::StartCheckout(checkout.clone()), None),
    };
    let session = transition(txn, session, &step, receipt.as_deref(), now).await?;
    if session.checkout_id.as_ref() == Some(&checkout) {
        store::insert(&**txn, &checkout, session.id, now).await?;
        if at_once {
            store::settle(&**txn, &checkout, &Outcome::Completed, now).await?;
        }
    }
    Ok(session)
}

/// Whether a cart asks about the session that is on it, and not about one that is still on its way there.
fn is_on(principal: &Principal, session: &Session) -> bool {
    match principal {
        Principal::Device(device) => session.cart == device.cart,
        Principal::Screen(screen) => session.cart == screen.cart,
        _ => false,
    }
}

/// What the till is answered.
#[expect(clippy::large_enum_variant, reason = "made once per request, and the session is the usual case")]
pub enum Answered {
    /// The session, as it stands.
    Session(Session),
    /// The session was over already: the customer is to be paid back.
    Refund,
}

/// The till was paid.
pub async fn complete(
    txn: &Txn<'_>,
    till: &Service,
    id: SessionId,
    checkout: &str,
    receipt: String,
    now: Timestamp,
) -> Result<Answered> {
    let (session, attempt) = attempted(txn, till, id, checkout).await?;
    match attempt.outcome {
        None if session.state.is_open() => {
            let step = Step::CompleteCheckout(checkout.to_owned());
            let session = transition(txn, session, &step, Some(&receipt), now).await?;
            store::settle(&**txn, checkout, &Outcome::Completed, now).await?;
            Ok(Answered::Session(session))
        }
        None => {
            store::settle(&**txn, checkout, &Outcome::Refund(receipt), now).await?;
            Ok(Answered::Refund)
        }
        Some(Outcome::Completed) if sessions::receipt(&**txn, id).await?.as_ref() == Some(&receipt) => {
            Ok(Answered::Session(session))
        }
        Some(Outcome::Refund(known)) if known == receipt => Ok(Answered::Refund),
        Some(_) => Err(contradiction()),
    }
}

/// The payment did not work: shopping goes on.
pub async fn fail(txn: &Txn<'_>, till: &Service, id: SessionId, checkout: &str, now: Timestamp) -> Result<Session> {
    let (session, attempt) = attempted(txn, till, id, checkout).await?;
    match attempt.outcome {
        Some(Outcome::Failed) => return Ok(session),
        Some(_) => return Err(contradiction()),
        None => store::settle(&**txn, checkout, &Outcome::Failed, now).await?,
    }
    let under_way = match &session.state {
        State::Fetched { phase: Phase::Checkout { id, .. }, .. } => id == checkout,
        _ => false,
    };
    // Given up by time, or by the session's end: what the till says now changes nothing any more.
    if !under_way {
        return Ok(session);
    }
    transition(txn, session, &Step::FailCheckout, None, now).await
}

/// The session, locked, and this attempt of it, if the till may speak of them.
async fn attempted(txn: &Txn<'_>, till: &Service, id: SessionId, checkout: &str) -> Result<(Session, Attempt)> {
    if !till.has(Scope::Checkout) {
        return Err(Failure::Forbidden("Only a service with the scope `checkout` may do this"));
    }
    let session = sessions::lock(&**txn, id).await?;
    let session = session.filter(|session| till.covers(session.store)).ok_or(ABSENT)?;
    let attempt = store::find(&**txn, checkout).await?.filter(|attempt| attempt.session == id);
    Ok((session, attempt.ok_or(Refusal::NoSuchCheckout)?))
}

fn contradiction() -> Failure {
    let detail = "This checkout has had another result already; that one stands".into();
    Failure::Conflict { code: "checkout-settled", detail }
}

/// What a till is told that was paid too late.
pub fn refund_required() -> Failure {
    let detail = "The session was over before this payment came; its receipt is kept: pay the customer back".into();
    Failure::Conflict { code: "refund-required", detail }
}

//! Moving sessions: [`transition`] is the only writer of a status.

use std::sync::Arc;

use serde_json::{Value, json};

use super::transfer::{self, Telling};
use super::{Next, Session, State, Step, due, next, store};
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::Txn;
use crate::event::{self, Audience, Channel, Draft, Joined, Kind};
use crate::failure::{Failure, Result};
use crate::ids::{CartNum, SessionId};
use crate::principal::Principal;
use crate::{account, webhook};

/// Takes `step` on a session that this transaction has locked: guarded update and event, or nothing.
///
/// `receipt` is kept with a checkout that completes.
pub async fn transition(
    txn: &Txn<'_>,
    session: Session,
    step: &Step,
    receipt: Option<&str>,
    now: Timestamp,
) -> Result<Session> {
    let (state, kind) = match next(&session, step, now)? {
        Next::Same => return Ok(session),
        Next::Touched => {
            let touched = Session { activity_at: now, ..session };
            store::touch(&**txn, &touched, due(&touched).map(|(at, _)| at)).await?;
            return Ok(touched);
        }
        Next::Moved(state, kind) => (state, kind),
    };
    let moved = moved(session.clone(), state, step, now);
    let due_at = due(&moved).map(|(at, _)| at);
    if !store::update(&**txn, &moved, session.version, due_at).await? {
        return Err(Failure::Internal(format!("session {} changed under its lock", moved.id)));
    }
    if let (Some(receipt), Some(checkout)) = (receipt, &moved.checkout_id) {
        store::insert_receipt(&**txn, moved.id, checkout, receipt, now).await?;
    }
    claims(txn, &session, &moved, step, now).await?;
    for telling in transfer::tellings(&session, &moved, step, kind) {
        let joined = match telling.kind {
            Kind::SessionStarted => started(txn, &telling.session).await?,
            _ => Joined { customer: moved.customer, receipt: receipt.map(Into::into), ..Joined::default() },
        };
        tell(txn, telling, joined, now).await?;
    }
    Ok(moved)
}

/// The session after the step, with the time of each step it has taken.
fn moved(session: Session, state: State, step: &Step, now: Timestamp) -> Session {
    let mut moved = Session { version: session.version + 1, updated_at: now, state, ..session };
    match step {
        Step::Ack | Step::PickUp => moved.fetched_at = Some(now),
        Step::StartCheckout(id) | Step::CheckoutAtOnce(id) => {
            moved.checkout_at = Some(now);
            moved.checkout_id = Some(id.clone());
        }
        Step::CompleteCheckout(id) => moved.checkout_id = Some(id.clone()),
        _ => {}
    }
    // What time itself does is no sign of life.
    if !matches!(step, Step::WarnIdle | Step::MoveBack) {
        moved.activity_at = now;
    }
    transfer::moved(moved, step)
}

/// Gives up the claims on carts the session is no longer on. A cart that says goodbye is not free yet.
async fn claims(txn: &Txn<'_>, before: &Session, after: &Session, step: &Step, now: Timestamp) -> Result<()> {
    if let Step::Move(transfer) = step {
        return Ok(store::claim(&**txn, transfer.cart, after.id).await?);
    }
    let goodbye = match step {
        Step::CompleteCheckout(_) => after.limits.goodbye,
        _ => None,
    };
    match (after.state.is_open(), goodbye) {
        (true, _) => {}
        (false, None) => return Ok(store::release_claims(&**txn, after.id, now).await?),
        (false, Some(goodbye)) => store::keep_claim(&**txn, after.cart, now + goodbye).await?,
    }
    let left = before.transfer.as_ref().filter(|_| after.transfer.is_none()).map(|transfer| match step {
        Step::Arrive { .. } => before.cart,
        _ => transfer.cart,
    });
    match left {
        Some(cart) => Ok(store::release_claim(&**txn, cart, now).await?),
        None => Ok(()),
    }
}

/// Writes the event of a session that a scan has just started. `hooked`: whether there is any webhook to tell.
pub async fn tell_started(
    txn: &Txn<'_>,
    session: &Session,
    display_name: Option<Arc<str>>,
    hooked: bool,
    now: Timestamp,
) -> Result<()> {
    let joined = Joined { customer: session.customer, display_name, expires_at: expires_at(session), receipt: None };
    let telling = Telling::of(session.clone(), Kind::SessionStarted);
    tell(txn, Telling { first: hooked, ..telling }, joined, now).await
}

/// What delivery adds to a session's start on the cart it moves to.
async fn started(txn: &Txn<'_>, session: &Session) -> Result<Joined> {
    let full_name = match session.customer {
        Some(customer) => account::store::scanner(&**txn, customer).await?.full_name,
        None => None,
    };
    let display_name = event::display_name(full_name.as_deref());
    Ok(Joined { customer: session.customer, display_name, expires_at: expires_at(session), receipt: None })
}

fn expires_at(session: &Session) -> Option<Timestamp> {
    session.limits.max_duration.map(|span| session.created_at + span)
}

async fn tell(txn: &Txn<'_>, telling: Telling, joined: Joined, now: Timestamp) -> Result<()> {
    let Telling { session, kind, to, first } = telling;
    let mut data = data(&session, &kind);
    if let Some(to) = to {
        data["to_cart_id"] = json!(to);
    }
    let draft = Draft {
        channel: Channel::Cart(session.cart),
        session: Some(session.id),
        audience: Audience::All,
        data: data.to_string().into(),
        kind,
        joined,
    };
    let event = event::store::append(txn, draft, now).await?;
    if first {
        webhook::service::enqueue(txn, &session, &event).await?;
    }
    Ok(())
}

/// What the log keeps of a session's event: ids and states.
pub fn event_data(session: &Session, kind: &Kind) -> String {
    data(session, kind).to_string()
}

fn data(session: &Session, kind: &Kind) -> Value {
    let mut data = json!({
        "session_id": session.id,
        "cart_id": session.cart_id,
        "status": session.state.status().as_str(),
        "phase": session.state.phase(),
        "reason": session.state.reason().map(super::Reason::as_str),
        "version": session.version,
        "updated_at": session.updated_at,
    });
    if *kind == Kind::SessionStarted {
        data["check_code"] = session.check_code.clone().into();
    }
    if let Some(checkout) =
        session.checkout_id.as_ref().filter(|_| matches!(kind, Kind::CheckoutStarted | Kind::CheckoutCompleted))
    {
        data["checkout_id"] = checkout.clone().into();
    }
    data
}

/// Whether `principal` may see this session at all. Whoever may not is told it is not there.
pub fn may_see(principal: &Principal, session: &Session) -> bool {
    match principal {
        Principal::Customer(customer) => session.customer == Some(customer.account),
        Principal::Device(device) => session.claims(device.cart),
        Principal::Screen(screen) => session.id == screen.session,
        Principal::Staff(staff) => staff.covers(session.store),
        Principal::Service(service) => {
            service.has(crate::principal::Scope::SessionsRead) && service.covers(session.store)
        }
    }
}

/// What nobody may tell from a session that is another's.
pub const ABSENT: Failure = Failure::NotFound("Session");

/// The cart `principal` looks from, if it is one.
fn cart_of(principal: &Principal) -> Option<CartNum> {
    match principal {
        Principal::Device(device) => Some(device.cart),
        Principal::Screen(screen) => Some(screen.cart),
        _ => None,
    }
}

/// The session, if `principal` may see it.
pub async fn find(app: &App, principal: &Principal, id: SessionId) -> Result<Session> {
    let found = store::find(app.db.read(), id).await?;
    let found = found.filter(|session| may_see(principal, session)).ok_or(ABSENT)?;
    Ok(match cart_of(principal) {
        Some(cart) => found.seen_from(cart),
        None => found,
    })
}

/// The session, locked, if `principal` may see it.
pub async fn lock(txn: &Txn<'_>, principal: &Principal, id: SessionId) -> Result<Session> {
    let found = store::lock(&**txn, id).await?;
    found.filter(|session| may_see(principal, session)).ok_or(ABSENT)
}

/// Locks the session, asks `principal`'s right to see it, and takes the step.
pub async fn take(txn: &Txn<'_>, principal: &Principal, id: SessionId, step: Step, now: Timestamp) -> Result<Session> {
    let session = lock(txn, principal, id).await?;
    let step = match cart_of(principal) {
        Some(cart) => transfer::meant(&session, cart, step)?,
        None => step,
    };
    transition(txn, session, &step, None, now).await
}

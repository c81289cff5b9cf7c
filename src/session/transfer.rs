//! Moving a session to another cart: who may take it where, and who is told what.
//!
//! The session claims both carts until the other one's screen has picked it up; then the first is free. If it does not,
//! everything is as before.

use super::service::{lock, transition};
use super::{Phase, Refusal, Session, State, Step, Transfer};
use crate::app::App;
use crate::cart::store::Bumped;
use crate::cart::{self, Cart, CartStatus};
use crate::clock::Timestamp;
use crate::db::Txn;
use crate::event::Kind;
use crate::failure::{Failure, QrRefusal, Result};
use crate::ids::{CartId, CartNum, SessionId};
use crate::principal::Principal;
use crate::qr::{self, Code};
use crate::token::KeyRing;

/// An event of a session on a cart's channel.
pub(super) struct Telling {
    /// The session as that cart sees it.
    pub session: Session,
    /// What happened.
    pub kind: Kind,
    /// Where the session is instead.
    pub to: Option<CartId>,
    /// Whether it is the step's own event, and not its echo on the other cart.
    pub first: bool,
}

impl Telling {
    /// The step's own event.
    pub fn of(session: Session, kind: Kind) -> Self {
        Self { session, kind, to: None, first: true }
    }

    fn echo(session: Session, kind: Kind) -> Self {
        Self { session, kind, to: None, first: false }
    }

    /// Tells the cart `left` that the session is on another one.
    fn elsewhere(left: Session, on: &CartId) -> Self {
        Self { session: left, kind: Kind::SessionTransferred, to: Some(on.clone()), first: false }
    }
}

/// Who is told what of a step, carts ascending: that is the order in which channels are locked.
pub(super) fn tellings(before: &Session, after: &Session, step: &Step, kind: Kind) -> Vec<Telling> {
    let mut tellings = match (step, &before.transfer) {
        (Step::Move(transfer), _) => {
            let mut told = vec![Telling::echo(after.clone().seen_from(transfer.cart), kind)];
            if matches!(before.state, State::Fetched { phase: Phase::IdleWarning, .. }) {
                told.push(Telling::echo(after.clone(), Kind::SessionResumed));
            }
            told
        }
        (Step::Arrive { .. }, Some(_)) => {
            let left = Session { cart: before.cart, cart_id: before.cart_id.clone(), ..after.clone() };
            vec![Telling::elsewhere(left, &after.cart_id), Telling::echo(after.clone(), Kind::SessionFetched)]
        }
        (Step::MoveBack, Some(transfer)) => vec![Telling::elsewhere(after.clone().on(transfer), &after.cart_id)],
        (_, Some(transfer)) if after.transfer.is_none() => {
            let there = after.clone().on(transfer);
            let echo = match after.state {
                State::Ended { .. } => Telling::echo(there, kind.clone()),
                _ => Telling::elsewhere(there, &after.cart_id),
            };
            vec![Telling::of(after.clone(), kind), echo]
        }
        _ => vec![Telling::of(after.clone(), kind)],
    };
    tellings.sort_by_key(|telling| telling.session.cart);
    tellings
}

/// The session after the step, as far as carts go. An end or a checkout ends a move that is under way.
pub(super) fn moved(session: Session, step: &Step) -> Session {
    match (step, session.transfer.clone()) {
        (Step::Move(transfer), _) => Session { transfer: Some(transfer.clone()), ..session },
        (Step::Arrive { .. }, Some(transfer)) => {
            Session { transfer: None, silent_since: None, ..session.on(&transfer) }
        }
        (Step::MoveBack, _) => Session { transfer: None, ..session },
        _ => {
            let stays = matches!(session.state, State::Fetched { phase: Phase::Shopping | Phase::IdleWarning, .. });
            Session { transfer: session.transfer.clone().filter(|_| stays), ..session }
        }
    }
}

/// What a step means that a cart takes: the one the session moves to may pick it up, and nothing else.
pub(super) fn meant(session: &Session, cart: CartNum, step: Step) -> Result<Step> {
    if session.cart == cart {
        return Ok(step);
    }
    match step {
        Step::Ack => Ok(Step::Arrive { acked: true }),
        Step::PickUp => Ok(Step::Arrive { acked: false }),
        Step::Release => Ok(Step::MoveBack),
        _ => Err(Failure::Session(Refusal::NotFetched)),
    }
}

/// Takes the session to the cart whose code this is.
pub async fn start(
    txn: &Txn<'_>,
    wanted: &Wanted,
    principal: &Principal,
    id: SessionId,
    now: Timestamp,
) -> Result<Session> {
    let session = lock(txn, principal, id).await?;
    let Wanted { keys, code } = wanted;
    if arrives_by(&session, keys, code) {
        return Ok(session);
    }
    if !session.state.is_open() {
        return Err(Refusal::Over.into());
    }
    let cart = target(txn, keys, code, &session, now).await?;
    let transfer = Transfer {
        cart: cart.num,
        cart_id: cart.id,
        cart_label: cart.label,
        epoch: cart.pairing_epoch - 1,
        since: now,
    };
    transition(txn, session, &Step::Move(transfer), None, now).await
}

/// Where a customer wants to go.
#[derive(Clone)]
pub struct Wanted {
    keys: std::sync::Arc<KeyRing>,
    code: Code,
}

impl Wanted {
    /// Reads a code in any of its spellings.
    pub fn read(app: &App, spelling: &str) -> Result<Self> {
        let code = qr::open(&app.keys, spelling).map_err(|refusal| Failure::Qr(refusal.into()))?;
        Ok(Self { keys: app.keys.clone(), code })
    }
}

/// Whether this very code has brought the session to where it is, or is about to.
fn arrives_by(session: &Session, keys: &KeyRing, code: &Code) -> bool {
    let (cart, epoch) = match &session.transfer {
        Some(transfer) => (transfer.cart, transfer.epoch),
        None => (session.cart, session.scan_epoch),
    };
    code.num == cart && code.genuine(keys, epoch)
}

/// The cart of the code, its epoch bumped, if it may be taken. A refusal rolls the bump back.
async fn target(txn: &Txn<'_>, keys: &KeyRing, code: &Code, session: &Session, now: Timestamp) -> Result<Cart> {
    let bumped = cart::store::bump_if_current(&**txn, code.num, code.epoch_low, now).await?;
    let Some(Bumped { cart, .. }) = bumped else {
        return Err(Failure::Qr(stale(txn, keys, code).await?));
    };
    if !code.genuine(keys, cart.pairing_epoch - 1) {
        return Err(Failure::Qr(QrRefusal::Forged));
    }
    if code.expires_at() <= now {
        return Err(Failure::Qr(QrRefusal::Expired));
    }
    if cart.store != session.store {
        return Err(Failure::NotFound("Cart"));
    }
    match cart.status() {
        CartStatus::Available => Ok(cart),
        status => Err(Failure::CartUnavailable(status.as_str())),
    }
}

/// Why a code of an epoch that is gone opens nothing.
async fn stale(txn: &Txn<'_>, keys: &KeyRing, code: &Code) -> Result<QrRefusal> {
    let cart = cart::store::by_num(&**txn, code.num).await?;
    let genuine = cart.is_some_and(|cart| code.genuine(keys, code.full_epoch(cart.pairing_epoch)));
    Ok(if genuine { QrRefusal::Used } else { QrRefusal::Forged })
}

//! A customer's session: its states, who may move it where, and when it is due by itself.
//!
//! Contract §4 as a type. Nothing here reads a clock or a row: facts and `now` come in.

pub mod awaiting;
pub mod http;
pub mod service;
mod status;
pub mod store;
pub mod stream;
pub mod sweep;
pub mod transfer;

use std::time::Duration;

pub use status::{Reason, Status};

use crate::clock::Timestamp;
use crate::event::Kind;
use crate::ids::{AccountId, CartId, CartNum, SessionId, StoreId};

/// Where a session stands, with exactly what exists there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Scanned; the cart has not picked it up yet.
    Active,
    /// The cart's screen has it.
    Fetched {
        /// When it was picked up.
        at: Timestamp,
        /// Whether the screen said so itself: only such sessions time out for idleness, because
        /// screens in the field cannot tell us that somebody is still there.
        acked: bool,
        /// What is going on.
        phase: Phase,
    },
    /// Over, for good.
    Ended {
        /// When.
        at: Timestamp,
        /// How.
        outcome: Outcome,
    },
}

/// What goes on in a session the cart has picked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Walking the aisles.
    Shopping,
    /// Nothing happened for a while.
    IdleWarning,
    /// Paying.
    Checkout {
        /// Which attempt.
        id: String,
        /// When it began.
        since: Timestamp,
    },
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Paid.
    Completed,
    /// Any other way.
    Cut(Reason),
}

impl State {
    /// `status` on the wire.
    pub fn status(&self) -> Status {
        match self {
            Self::Active => Status::Active,
            Self::Fetched { .. } => Status::Fetched,
            Self::Ended { outcome: Outcome::Completed, .. } => Status::Completed,
            Self::Ended { outcome: Outcome::Cut(reason), .. } => reason.status(),
        }
    }

    /// `phase` on the wire, while the session is open.
    pub fn phase(&self) -> Option<&'static str> {
        match self {
            Self::Active => Some("pairing"),
            Self::Fetched { phase: Phase::Shopping, .. } => Some("shopping"),
            Self::Fetched { phase: Phase::IdleWarning, .. } => Some("idle_warning"),
            Self::Fetched { phase: Phase::Checkout { .. }, .. } => Some("checkout"),
            Self::Ended { .. } => None,
        }
    }

    /// `reason` on the wire, once the session is over.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Ended { outcome: Outcome::Cut(reason), .. } => Some(*reason),
            _ => None,
        }
    }

    /// Whether it is still open.
    pub fn is_open(&self) -> bool {
        !matches!(self, Self::Ended { .. })
    }
}

/// A session with what it is read with.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The cart it is on.
    pub cart: CartNum,
    /// That cart's name.
    pub cart_id: CartId,
    /// What is written on that cart.
    pub cart_label: String,
    /// The store.
    pub store: StoreId,
    /// Whose it is; nobody's once it has been made anonymous.
    pub customer: Option<AccountId>,
    /// Two digits to compare on both screens.
    pub check_code: String,
    /// Where it stands.
    pub state: State,
    /// Counts the changes: the `id:` of a stream of states, and the `ETag`.
    pub version: i64,
    /// The scan.
    pub created_at: Timestamp,
    /// The pick-up, if it came to that.
    pub fetched_at: Option<Timestamp>,
    /// The latest checkout's start.
    pub checkout_at: Option<Timestamp>,
    /// The latest checkout.
    pub checkout_id: Option<String>,
    /// The latest sign of life.
    pub activity_at: Timestamp,
    /// The latest change.
    pub updated_at: Timestamp,
    /// The pairing epoch of the code that put it on its cart.
    pub scan_epoch: i64,
    /// The cart it is about to move to.
    pub transfer: Option<Transfer>,
    /// Since when its cart is silent, if it has been declared offline.
    pub silent_since: Option<Timestamp>,
    /// Its store's time-outs.
    pub limits: Limits,
}

/// A session on its way to another cart: that one is claimed too, until its screen has picked it up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The other cart.
    pub cart: CartNum,
    /// Its name.
    pub cart_id: CartId,
    /// What is written on it.
    pub cart_label: String,
    /// The pairing epoch of its code.
    pub epoch: i64,
    /// Since when.
    pub since: Timestamp,
}

impl Session {
    /// When it ended, if it did.
    pub fn ended_at(&self) -> Option<Timestamp> {
        match self.state {
            State::Ended { at, .. } => Some(at),
            _ => None,
        }
    }

    /// The session as the cart `num` sees it: to the one it is about to move to, it is one that waits to
    /// be picked up there.
    pub fn seen_from(self, num: CartNum) -> Self {
        match &self.transfer {
            Some(transfer) if transfer.cart == num && self.state.is_open() => {
                Self { state: State::Active, ..self.clone().on(transfer) }
            }
            _ => self,
        }
    }

    /// The session, on the cart it moves to.
    fn on(self, transfer: &Transfer) -> Self {
        Self {
            cart: transfer.cart,
            cart_id: transfer.cart_id.clone(),
            cart_label: transfer.cart_label.clone(),
            scan_epoch: transfer.epoch,
            ..self
        }
    }

    /// Whether it has a claim on the cart `num`.
    pub fn claims(&self, num: CartNum) -> bool {
        self.cart == num || self.transfer.as_ref().is_some_and(|transfer| transfer.cart == num)
    }
}

/// A store's time-outs. `None` switches one off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the scan to the pick-up.
    pub pickup: Option<Duration>,
    /// From the last activity to the warning.
    pub idle_warning: Option<Duration>,
    /// From the last activity to the end.
    pub idle_expiry: Option<Duration>,
    /// From the scan to the end, whatever happens.
    pub max_duration: Option<Duration>,
    /// From a checkout's start back to shopping.
    pub checkout: Option<Duration>,
    /// How long after the scan the cart may still say "not you?".
    pub release: Duration,
    /// How long the cart a session moves to has to pick it up.
    pub transfer: Duration,
    /// How long the cart says goodbye, and is not free, after the till has been paid.
    pub goodbye: Option<Duration>,
    /// From a cart's last sign of life until it is declared offline.
    pub cart_offline: Option<Duration>,
    /// From a cart's last sign of life until its session ends.
    pub cart_lost: Option<Duration>,
    /// Whether idle time-outs hold for sessions whose screen cannot tell of activity.
    pub idle_without_ack: bool,
}

impl Limits {
    /// How long a cart may be silent before anything follows from it.
    pub fn silence(&self) -> Option<Duration> {
        match (self.cart_offline, self.cart_lost) {
            (Some(offline), Some(lost)) => Some(offline.min(lost)),
            (offline, lost) => offline.or(lost),
        }
    }
}

/// What somebody, or the time, does to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Our screen says it has it.
    Ack,
    /// A screen in the field shows that it has it.
    PickUp,
    /// A sign of life.
    Activity,
    /// Nothing happened for a while.
    WarnIdle,
    /// The customer wants to pay; the id is the attempt's.
    StartCheckout(String),
    /// The payment did not work, or took too long.
    FailCheckout,
    /// The payment worked, be it in time or late. The till has never called this attempt failed.
    CompleteCheckout(String),
    /// Paid at once: the store asks no other back end.
    CheckoutAtOnce(String),
    /// "Not you?", at the cart.
    Release,
    /// The customer takes it to another cart.
    Move(Transfer),
    /// The other cart's screen has it, and said so or not.
    Arrive {
        /// Whether it said so.
        acked: bool,
    },
    /// The other cart did not pick it up.
    MoveBack,
    /// Any other end.
    End(Reason),
}

/// Why a step was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The session is over.
    Over,
    /// The cart has not picked it up yet.
    NotFetched,
    /// A checkout is under way.
    CheckoutOpen,
    /// No checkout, or another one, is under way.
    NoSuchCheckout,
    /// "Not you?" came too late.
    TooLate,
    /// It is on its way to another cart already.
    Moving,
}

/// What a step makes of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it is so already.
    Same,
    /// Somebody is there; nothing else changes.
    Touched,
    /// Another state, which is told as an event of this kind.
    Moved(State, Kind),
}

/// THE rule: where `step` leads `session` at `now`.
pub fn next(session: &Session, step: &Step, now: Timestamp) -> Result<Next, Refusal> {
    use Step as S;
    let (at, acked, phase) = match &session.state {
        State::Ended { outcome, .. } => return after_the_end(*outcome, step),
        State::Active => {
            return match step {
                S::Ack => Ok(fetched(now, true, Phase::Shopping, Kind::SessionFetched)),
                S::PickUp => Ok(fetched(now, false, Phase::Shopping, Kind::SessionFetched)),
                S::Release => release(session, now),
                S::End(reason) => Ok(ended(now, Outcome::Cut(*reason))),
                S::Activity => Ok(Next::Same),
                _ => Err(Refusal::NotFetched),
            };
        }
        State::Fetched { at, acked, phase } => (*at, *acked, phase),
    };
    match (step, phase) {
        (S::Ack | S::PickUp, _) => Ok(Next::Same),
        (S::Activity, Phase::IdleWarning) => Ok(fetched(at, acked, Phase::Shopping, Kind::SessionResumed)),
        (S::Activity, _) => Ok(Next::Touched),
        (S::WarnIdle, Phase::Shopping) => Ok(fetched(at, acked, Phase::IdleWarning, Kind::SessionIdleWarning)),
        (S::WarnIdle, _) => Ok(Next::Same),
        (S::StartCheckout(_), Phase::Checkout { .. }) => Ok(Next::Same),
        (S::StartCheckout(id), _) => {
            let phase = Phase::Checkout { id: id.clone(), since: now };
            Ok(fetched(at, acked, phase, Kind::CheckoutStarted))
        }
        (S::FailCheckout, Phase::Checkout { .. }) => Ok(fetched(at, acked, Phase::Shopping, Kind::CheckoutFailed)),
        (S::FailCheckout, _) => Err(Refusal::NoSuchCheckout),
        (S::CompleteCheckout(_) | S::CheckoutAtOnce(_), _) => Ok(ended(now, Outcome::Completed)),
        (S::Move(_), Phase::Checkout { .. }) => Err(Refusal::CheckoutOpen),
        (S::Move(_), _) if session.transfer.is_some() => Err(Refusal::Moving),
        (S::Move(_), _) => Ok(fetched(at, acked, Phase::Shopping, Kind::SessionStarted)),
        (S::Arrive { .. } | S::MoveBack, _) if session.transfer.is_none() => Ok(Next::Same),
        (S::Arrive { acked }, phase) => Ok(fetched(at, *acked, phase.clone(), Kind::SessionTransferred)),
        (S::MoveBack, phase) => Ok(fetched(at, acked, phase.clone(), Kind::SessionTransferred)),
        (S::Release | S::End(Reason::CancelledByCustomer), Phase::Checkout { .. }) => Err(Refusal::CheckoutOpen),
        (S::Release, _) => release(session, now),
        (S::End(reason), _) => Ok(ended(now, Outcome::Cut(*reason))),
    }
}

/// The same end once more is no error; anything else comes too late.
fn after_the_end(outcome: Outcome, step: &Step) -> Result<Next, Refusal> {
    let again = match step {
        Step::End(reason) => outcome == Outcome::Cut(*reason),
        Step::Release => outcome == Outcome::Cut(Reason::ReleasedAtCart),
        Step::CheckoutAtOnce(_) => outcome == Outcome::Completed,
        _ => false,
    };
    if again { Ok(Next::Same) } else { Err(Refusal::Over) }
}

fn release(session: &Session, now: Timestamp) -> Result<Next, Refusal> {
    if now.since(session.created_at) > session.limits.release {
        return Err(Refusal::TooLate);
    }
    Ok(ended(now, Outcome::Cut(Reason::ReleasedAtCart)))
}

fn fetched(at: Timestamp, acked: bool, phase: Phase, kind: Kind) -> Next {
    Next::Moved(State::Fetched { at, acked, phase }, kind)
}

fn ended(at: Timestamp, outcome: Outcome) -> Next {
    let kind = match outcome {
        Outcome::Completed => Kind::CheckoutCompleted,
        Outcome::Cut(reason) if reason.status() == Status::Expired => Kind::SessionExpired,
        Outcome::Cut(_) => Kind::SessionEnded,
    };
    Next::Moved(State::Ended { at, outcome }, kind)
}

/// When time itself takes the next step, and which: what the sweeper acts on.
pub fn due(session: &Session) -> Option<(Timestamp, Step)> {
    if !session.state.is_open() {
        return None;
    }
    let limits = &session.limits;
    let after = |span: Option<Duration>, at: Timestamp, step: Step| span.map(|span| (at + span, step));
    // The pick-up, too, was a sign of the cart's life.
    let heard = |since: Timestamp| since.max(session.created_at).max(session.fetched_at.unwrap_or(since));
    // Where two fall together, what ends the session comes first.
    let steps = [
        after(limits.max_duration, session.created_at, Step::End(Reason::MaxDuration)),
        session.silent_since.and_then(|since| after(limits.cart_lost, heard(since), Step::End(Reason::CartLost))),
        session.transfer.as_ref().map(|transfer| (transfer.since + limits.transfer, Step::MoveBack)),
        due_by_state(session),
    ];
    steps.into_iter().flatten().min_by_key(|(at, _)| *at)
}

fn due_by_state(session: &Session) -> Option<(Timestamp, Step)> {
    let limits = &session.limits;
    let idle = |span: Option<Duration>, step: Step| span.map(|span| (session.activity_at + span, step));
    match &session.state {
        State::Ended { .. } => None,
        State::Active => limits.pickup.map(|span| (session.created_at + span, Step::End(Reason::PickupTimeout))),
        State::Fetched { phase: Phase::Checkout { since, .. }, .. } => {
            limits.checkout.map(|span| (*since + span, Step::FailCheckout))
        }
        State::Fetched { acked: false, .. } if !limits.idle_without_ack => None,
        State::Fetched { phase: Phase::IdleWarning, .. } => idle(limits.idle_expiry, Step::End(Reason::IdleTimeout)),
        State::Fetched { phase: Phase::Shopping, .. } => idle(limits.idle_warning, Step::WarnIdle)
            .or_else(|| idle(limits.idle_expiry, Step::End(Reason::IdleTimeout))),
    }
}

#[cfg(test)]
mod tests;

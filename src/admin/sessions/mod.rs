//! Sessions as staff look for them: which ones, and where a page of them begins.

pub mod http;
pub mod service;
pub mod store;

use std::fmt;
use std::str::FromStr;

use serde_json::json;

use crate::clock::Timestamp;
use crate::event::Kind;
use crate::event::store::Step;
use crate::ids::{AccountId, CartId, SessionId, StoreId};
use crate::session::{Reason, Session, Status};

/// Which sessions. What is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// In this status.
    pub status: Option<Status>,
    /// Ended for this reason.
    pub reason: Option<Reason>,
    /// On this cart.
    pub cart: Option<CartId>,
    /// In this store.
    pub store: Option<StoreId>,
    /// Of this customer.
    pub customer: Option<AccountId>,
    /// Scanned then or later.
    pub from: Option<Timestamp>,
    /// Scanned before then.
    pub to: Option<Timestamp>,
    /// Somewhere in the cart's name or label.
    pub text: Option<String>,
}

/// What happened to a session: its events, and before the first that is still kept the steps its row remembers.
pub fn timeline(session: &Session, kept: Vec<Step>) -> Vec<Step> {
    let begins = kept.first().map(|step| step.at);
    if kept.first().is_some_and(|step| step.kind == Kind::SessionStarted) {
        return kept;
    }
    let ended = match session.state.status() {
        Status::Completed => Kind::CheckoutCompleted,
        Status::Expired => Kind::SessionExpired,
        _ => Kind::SessionEnded,
    };
    let last = (session.state.status().as_str(), None, session.state.reason().map(Reason::as_str));
    let remembered = [
        (Some(session.created_at), Kind::SessionStarted, ("active", Some("pairing"), None)),
        (session.fetched_at, Kind::SessionFetched, ("fetched", Some("shopping"), None)),
        (session.checkout_at, Kind::CheckoutStarted, ("fetched", Some("checkout"), None)),
        (session.ended_at(), ended, last),
    ];
    let steps = remembered.into_iter().filter_map(|(at, kind, (status, phase, reason))| {
        let data = json!({ "cart_id": session.cart_id, "status": status, "phase": phase, "reason": reason });
        Some(Step { kind, data: data.to_string(), at: at.filter(|at| begins.is_none_or(|begins| *at < begins))? })
    });
    steps.chain(kept).collect()
}

/// A session's place in the list, newest first: where a page ends, and the next one goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// When it was scanned.
    pub at: Timestamp,
    /// Its id, for those scanned in the same millisecond.
    pub id: SessionId,
}

impl From<&Session> for Place {
    fn from(session: &Session) -> Self {
        Self { at: session.created_at, id: session.id }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at.0, self.id)
    }
}

impl FromStr for Place {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (at, id) = text.split_once('.')?;
            Some(Self { at: Timestamp(at.parse().ok()?), id: id.parse().ok()? })
        };
        read().ok_or("take it from the page before")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_as_written() {
        let place = Place { at: Timestamp(1_900_000_000_000), id: SessionId(7) };
        assert_eq!(place.to_string().parse(), Ok(place));
        for odd in ["", "7", ".7", "7.", "a.b"] {
            assert!(odd.parse::<Place>().is_err(), "{odd}");
        }
    }
}

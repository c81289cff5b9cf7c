//! The words a session's end and state are written in: `reason` and `status` in rows and on the wire.

use serde::{Deserialize, Serialize};

/// Why a session ended without a checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The cart did not pick it up.
    PickupTimeout,
    /// Nobody did anything.
    IdleTimeout,
    /// It reached its absolute limit.
    MaxDuration,
    /// The customer ended it on the phone.
    CancelledByCustomer,
    /// Somebody at the cart said "not me".
    ReleasedAtCart,
    /// Staff ended it.
    ForceEnded,
    /// The cart fell silent for too long.
    CartLost,
    /// The checkout could not be carried out.
    CheckoutError,
    /// The customer's account was closed.
    AccountClosed,
}

/// `status` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The cart has not picked it up yet.
    Active,
    /// Shopping.
    Fetched,
    /// Paid. Final.
    Completed,
    /// Time ran out. Final.
    Expired,
    /// Ended any other way. Final.
    Failed,
}

impl Reason {
    const ALL: [(Reason, &str); 9] = [
        (Reason::PickupTimeout, "pickup_timeout"),
        (Reason::IdleTimeout, "idle_timeout"),
        (Reason::MaxDuration, "max_duration"),
        (Reason::CancelledByCustomer, "cancelled_by_customer"),
        (Reason::ReleasedAtCart, "released_at_cart"),
        (Reason::ForceEnded, "force_ended"),
        (Reason::CartLost, "cart_lost"),
        (Reason::CheckoutError, "checkout_error"),
        (Reason::AccountClosed, "account_closed"),
    ];

    /// As written on the wire and in the row.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(reason, _)| *reason == self).map_or("", |(_, text)| text)
    }

    /// Reads what [`as_str`](Self::as_str) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, spelled)| *spelled == text).map(|(reason, _)| *reason)
    }

    /// Which final status it makes.
    pub fn status(self) -> Status {
        match self {
            Self::PickupTimeout | Self::IdleTimeout | Self::MaxDuration => Status::Expired,
            _ => Status::Failed,
        }
    }
}

impl Status {
    const ALL: [(Status, &str); 5] = [
        (Status::Active, "active"),
        (Status::Fetched, "fetched"),
        (Status::Completed, "completed"),
        (Status::Expired, "expired"),
        (Status::Failed, "failed"),
    ];

    /// As written on the wire and in the row.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(status, _)| *status == self).map_or("", |(_, text)| text)
    }

    /// Reads what [`as_str`](Self::as_str) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, spelled)| *spelled == text).map(|(status, _)| *status)
    }

    /// Whether nothing follows it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Expired | Self::Failed)
    }
}

//! Carts: what one is, and when its code may be shown.

pub mod enrol;
pub mod http;
pub mod presence;
pub mod service;
pub mod store;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{CartId, CartNum, StoreId};

/// A cart on its own free will below this charge takes no new customer (percent).
pub const FLAT: i64 = 10;

/// A cart, as its row has it.
#[derive(Clone, Debug)]
pub struct Cart {
    /// Its number.
    pub num: CartNum,
    /// Its name on the wire.
    pub id: CartId,
    /// Its store.
    pub store: StoreId,
    /// What is written on it.
    pub label: String,
    /// Where it stands in its own life.
    pub lifecycle: Lifecycle,
    /// Codes of this epoch fit, all others do not.
    pub pairing_epoch: i64,
    /// Percent, as of its latest heartbeat.
    pub battery: Option<i64>,
    /// Whether it is on the charger.
    pub charging: bool,
    /// What its screen runs.
    pub app_version: Option<String>,
    /// Whether it has a device key.
    pub enrolled: bool,
    /// Its latest sign of life: a heartbeat, or a stream that was open.
    pub seen_at: Option<Timestamp>,
    /// Its latest heartbeat. A cart that never sent one is never declared offline.
    pub heartbeat_at: Option<Timestamp>,
    /// When its silence was noticed, while it lasts.
    pub offline_at: Option<Timestamp>,
    /// Whether a session has a claim on it.
    pub occupied: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its latest change.
    pub updated_at: Timestamp,
}

/// A cart's own life, apart from who uses it and whether it is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    /// Made, not enrolled yet.
    Pending,
    /// Out in the store.
    InService,
    /// Taken out by staff.
    Maintenance,
    /// Gone for good; its history stays.
    Retired,
}

impl Lifecycle {
    /// What staff may choose a cart to be. Into service a new cart comes by enrolment alone.
    pub fn may_become(self, next: Lifecycle) -> bool {
        use Lifecycle as L;
        self == next
            || matches!(
                (self, next),
                (L::InService, L::Maintenance)
                    | (L::Maintenance, L::InService)
                    | (L::Pending | L::InService | L::Maintenance, L::Retired)
            )
    }

    /// Every stage but the last: what a list of carts shows unless it is asked for more.
    pub const STANDING: [Lifecycle; 3] = [Lifecycle::Pending, Lifecycle::InService, Lifecycle::Maintenance];

    /// Carts that stand in the store: what customers may know of.
    pub const OUT: [Lifecycle; 2] = [Lifecycle::InService, Lifecycle::Maintenance];

    const ALL: [(Lifecycle, &str); 4] = [
        (Lifecycle::Pending, "pending"),
        (Lifecycle::InService, "in_service"),
        (Lifecycle::Maintenance, "maintenance"),
        (Lifecycle::Retired, "retired"),
    ];

    /// As in the row and on the wire.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(lifecycle, _)| *lifecycle == self).map_or("", |(_, text)| text)
    }

    /// Reads what [`as_str`](Self::as_str) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, spelled)| *spelled == text).map(|(lifecycle, _)| *lifecycle)
    }
}

/// `status` of a cart, in the words clients in the field know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CartStatus {
    /// May be scanned.
    Available,
    /// Has a customer.
    InUse,
    /// Not in service.
    Maintenance,
    /// Nearly flat, and not on the charger.
    BatteryLow,
}

impl CartStatus {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::InUse => "in use",
            Self::Maintenance => "maintenance",
            Self::BatteryLow => "battery low",
        }
    }
}

impl Cart {
    /// Whether it may be scanned, and if not, why.
    pub fn status(&self) -> CartStatus {
        if self.occupied {
            CartStatus::InUse
        } else if self.lifecycle != Lifecycle::InService {
            CartStatus::Maintenance
        } else if self.is_flat() {
            CartStatus::BatteryLow
        } else {
            CartStatus::Available
        }
    }

    /// Whether it is nearly flat, and not on the charger.
    pub fn is_flat(&self) -> bool {
        !self.charging && self.battery.is_some_and(|percent| percent < FLAT)
    }

    /// Whether who follows the cart has something new to know, between this and `after`.
    pub fn differs_from(&self, after: &Cart) -> bool {
        let shown =
            |cart: &Cart| (cart.status(), cart.lifecycle, cart.is_flat(), cart.enrolled, cart.offline_at.is_some());
        shown(self) != shown(after)
    }

    /// How well it is heard, given when it last was.
    pub fn link(&self, now: Timestamp) -> Link {
        Link::of(self.seen_at, now)
    }
}

/// How well a cart is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// Within 30 s.
    Online,
    /// Within 90 s.
    Stale,
    /// Not since.
    Offline,
}

impl Link {
    /// Of a cart that was last heard then.
    pub fn of(seen_at: Option<Timestamp>, now: Timestamp) -> Self {
        match seen_at.map(|at| now.since(at)) {
            Some(silence) if silence <= Duration::from_secs(30) => Self::Online,
            Some(silence) if silence <= Duration::from_secs(90) => Self::Stale,
            _ => Self::Offline,
        }
    }
}

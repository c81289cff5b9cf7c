//! What needs a look, and since when. Rules: facts and `now` come in.

pub mod http;

use std::time::Duration;

use serde::Serialize;

use crate::admin::floor::{Facts, FloorCart};
use crate::cart::{Lifecycle, Link};
use crate::clock::Timestamp;
use crate::ids::{CartId, SessionId, StoreId};
use crate::session::Status;

/// Below this charge (percent) a cart wants its charger.
pub const LOW: i64 = 15;

/// A screen takes a session up within a second or two; one that takes this long is stuck.
const STUCK: Duration = Duration::from_secs(15);

/// So many "not you?" on one cart, within [`RELEASES_WITHIN`], are no accident.
pub const RELEASES: i64 = 3;

/// How far back they are counted.
pub const RELEASES_WITHIN: Duration = Duration::from_secs(3600);

/// Items told at most: who has more of them has one problem, and it is another.
const MOST: usize = 100;

/// What kind of look a cart needs, the most pressing first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// Scanned, and its screen does not take the session up.
    StuckPairing,
    /// Somebody has it, and it is not heard any more.
    OfflineOccupied,
    /// "Not you?", again and again.
    RepeatedReleases,
    /// Somebody has it and does nothing.
    Idle,
    /// Nearly flat, and not on the charger.
    LowBattery,
}

/// A cart that needs a look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Item {
    /// `stuck_pairing`, `offline_occupied`, `repeated_releases`, `idle` or `low_battery`.
    #[schema(value_type = String)]
    pub kind: Need,
    /// Which cart.
    #[schema(value_type = String)]
    pub cart_id: CartId,
    /// What is written on it.
    pub label: String,
    /// Its store.
    #[schema(value_type = i64)]
    pub store_id: StoreId,
    /// Who has it.
    #[schema(value_type = Option<i64>)]
    pub session_id: Option<SessionId>,
    /// Since when, where that is known.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Percent, or how many times.
    pub value: Option<i64>,
}

/// How often somebody said "not you?" at a cart lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Releases {
    /// So many times.
    pub count: i64,
    /// The first of them.
    pub since: Timestamp,
}

/// Whether the cart wants its charger.
pub fn is_low(cart: &FloorCart) -> bool {
    let standing = matches!(cart.lifecycle, Lifecycle::InService | Lifecycle::Maintenance);
    standing && !cart.charging && cart.battery.is_some_and(|percent| percent < LOW)
}

/// What this cart needs, if anything.
pub fn of(facts: &Facts, releases: Option<&Releases>, now: Timestamp) -> Vec<Item> {
    let cart = &facts.shown;
    let mut items = Vec::new();
    let mut need = |kind: Need, since: Option<Timestamp>, value: Option<i64>| {
        let session_id = cart.session.as_ref().map(|session| session.session_id);
        items.push(Item {
            kind,
            cart_id: cart.cart_id.clone(),
            label: cart.label.clone(),
            store_id: cart.store_id,
            session_id,
            since,
            value,
        });
    };
    if let Some(session) = &cart.session {
        if session.status == Status::Active && now.since(session.created_at) >= STUCK {
            need(Need::StuckPairing, Some(session.created_at), None);
        }
        if session.phase == "idle_warning" {
            need(Need::Idle, facts.changed_at, None);
        }
        if cart.link == Link::Offline {
            need(Need::OfflineOccupied, facts.seen_at, None);
        }
    }
    if let Some(releases) = releases {
        need(Need::RepeatedReleases, Some(releases.since), Some(releases.count));
    }
    if is_low(cart) {
        need(Need::LowBattery, None, cart.battery);
    }
    items
}

/// The most pressing ones, in their order.
pub fn worst(mut items: Vec<Item>) -> Vec<Item> {
    items.sort_by_key(|item| item.kind);
    items.truncate(MOST);
    items
}

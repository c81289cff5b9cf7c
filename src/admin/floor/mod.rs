//! The live floor: every cart as staff see it now, what adds up, and what needs a look.
//!
//! One floor per node serves all who watch it. It counts the changes; a follower remembers how far it
//! has seen and asks for what is newer, so a slow one gets the latest state and never a queue.

pub mod http;
pub mod service;
pub mod store;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use crate::admin::attention::{self, Item, Releases};
use crate::broadcast::frame;
use crate::cart::{FLAT, Lifecycle, Link};
use crate::clock::Timestamp;
use crate::ids::{CartId, CartNum, SessionId, StoreId};
use crate::session::Status;

/// A cart as its rows have it.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its number.
    pub num: CartNum,
    /// Its latest sign of life.
    pub seen_at: Option<Timestamp>,
    /// Its latest heartbeat.
    pub heartbeat_at: Option<Timestamp>,
    /// When its session last changed.
    pub changed_at: Option<Timestamp>,
    /// What staff see of it.
    pub shown: FloorCart,
}

/// A cart as staff see it.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct FloorCart {
    /// Its name.
    #[schema(value_type = String)]
    pub cart_id: CartId,
    /// What is written on it.
    pub label: String,
    /// Its store.
    #[schema(value_type = i64)]
    pub store_id: StoreId,
    /// `pending`, `in_service`, `maintenance` or `retired`.
    #[schema(value_type = String)]
    pub lifecycle: Lifecycle,
    /// `free` or `in_use`.
    #[schema(value_type = String)]
    pub occupancy: Occupancy,
    /// `online`, `stale` or `offline`.
    #[schema(value_type = String)]
    pub link: Link,
    /// Percent.
    pub battery: Option<i64>,
    /// Whether it is on the charger.
    pub charging: bool,
    /// Whose it is now.
    pub session: Option<FloorSession>,
}

/// Whether somebody has the cart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Occupancy {
    /// Nobody.
    Free,
    /// Somebody.
    InUse,
}

/// A session as staff see it on the floor: an initial, and no name.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct FloorSession {
    /// Its id.
    #[schema(value_type = i64)]
    pub session_id: SessionId,
    /// `active` or `fetched`.
    #[schema(value_type = String)]
    pub status: Status,
    /// `pairing`, `shopping`, `checkout` or `idle_warning`.
    pub phase: String,
    /// Joined as it is shown, and stored nowhere.
    #[schema(value_type = Option<String>)]
    pub initial: Option<Arc<str>>,
    /// The scan.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The pick-up.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub fetched_at: Option<Timestamp>,
}

impl Facts {
    /// The link as it is now. A cart that never sends heartbeats is not called offline while it is in use.
    fn link(&self, now: Timestamp) -> Link {
        match Link::of(self.seen_at, now) {
            Link::Offline if self.shown.session.is_some() && self.heartbeat_at.is_none() => Link::Stale,
            link => link,
        }
    }
}

/// What adds up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Counters {
    /// All that are not retired.
    pub carts: u32,
    /// Somebody has them.
    pub in_use: u32,
    /// May be scanned now.
    pub free: u32,
    /// Scanned, and not picked up yet.
    pub pairing: u32,
    /// At a checkout.
    pub checkout: u32,
    /// Warned for doing nothing.
    pub idle: u32,
    /// Taken out by staff.
    pub maintenance: u32,
    /// Of those in service.
    pub offline: u32,
    /// In want of their charger.
    pub low_battery: u32,
}

impl Counters {
    fn count(&mut self, cart: &FloorCart) {
        let phase = cart.session.as_ref().map(|session| session.phase.as_str());
        let in_service = cart.lifecycle == Lifecycle::InService;
        let in_use = cart.occupancy == Occupancy::InUse;
        let flat = !cart.charging && cart.battery.is_some_and(|percent| percent < FLAT);
        for (counter, counts) in [
            (&mut self.carts, true),
            (&mut self.in_use, in_use),
            (&mut self.free, in_service && !in_use && !flat),
            (&mut self.pairing, phase == Some("pairing")),
            (&mut self.checkout, phase == Some("checkout")),
            (&mut self.idle, phase == Some("idle_warning")),
            (&mut self.maintenance, cart.lifecycle == Lifecycle::Maintenance),
            (&mut self.offline, in_service && cart.link == Link::Offline),
            (&mut self.low_battery, attention::is_low(cart)),
        ] {
            *counter += u32::from(counts);
        }
    }
}

/// All carts, with the count of changes.
#[derive(Default)]
pub struct Floor {
    version: u64,
    carts: BTreeMap<CartNum, Tracked>,
    /// Which cart changed last at which count: what is newer than a follower has seen.
    changes: BTreeMap<u64, CartNum>,
    /// A cart went away then: who has seen less starts over, with a snapshot.
    start_over: u64,
    releases: HashMap<CartNum, Releases>,
    sums: HashMap<Scope, Sums>,
}

/// One store, or all of them.
pub type Scope = Option<StoreId>;

struct Tracked {
    facts: Facts,
    version: u64,
    /// As JSON, made once for all who watch.
    json: String,
    frame: Bytes,
}

/// What is told of a whole scope, and since which count.
#[derive(Default)]
struct Sums {
    counters: (u64, Counters),
    attention: (u64, Vec<Item>),
}

impl Floor {
    /// Takes in carts as they are now. `whole`: there are no others.
    pub fn take(&mut self, all: Vec<Facts>, whole: bool, now: Timestamp) {
        if whole {
            let there: std::collections::HashSet<CartNum> = all.iter().map(|facts| facts.num).collect();
            let gone: Vec<CartNum> = self.carts.keys().filter(|num| !there.contains(num)).copied().collect();
            gone.into_iter().for_each(|num| self.remove(num));
        }
        for facts in all {
            let known = self.carts.get(&facts.num).map(|cart| cart.facts.shown.store_id);
            let retired = facts.shown.lifecycle == Lifecycle::Retired;
            // To staff of the store it was in, a cart that moved is gone.
            if known.is_some_and(|store| retired || store != facts.shown.store_id) {
                self.remove(facts.num);
            }
            if !retired {
                self.put(facts, now);
            }
        }
    }

    /// Looks at the clock: links that grew old.
    pub fn tick(&mut self, now: Timestamp) {
        let aged = self.carts.values().filter(|cart| cart.facts.link(now) != cart.facts.shown.link);
        let aged: Vec<Facts> = aged.map(|cart| cart.facts.clone()).collect();
        aged.into_iter().for_each(|facts| self.put(facts, now));
    }

    /// Takes in which carts said "not you?" again and again.
    pub fn releases(&mut self, releases: HashMap<CartNum, Releases>) {
        self.releases = releases;
    }

    fn put(&mut self, mut facts: Facts, now: Timestamp) {
        facts.shown.link = facts.link(now);
        if let Some(known) = self.carts.get_mut(&facts.num) {
            if known.facts.shown == facts.shown {
                known.facts = facts;
                return;
            }
            self.changes.remove(&known.version);
        }
        self.version += 1;
        let (num, version) = (facts.num, self.version);
        let json = json(&facts.shown);
        let data = format!("{{\"type\":\"cart\",\"event_type\":\"cart\",{}", &json[1..]);
        let frame = frame::frame(Some(&version), None, &data).into();
        self.changes.insert(version, num);
        self.carts.insert(num, Tracked { facts, version, json, frame });
    }

    fn remove(&mut self, num: CartNum) {
        if let Some(cart) = self.carts.remove(&num) {
            self.changes.remove(&cart.version);
            self.version += 1;
            self.start_over = self.version;
        }
    }

    /// Adds up anew, for all scopes at once.
    pub fn add_up(&mut self, now: Timestamp) {
        let mut fresh: HashMap<Scope, (Counters, Vec<Item>)> = HashMap::from([(None, Default::default())]);
        for Tracked { facts, .. } in self.carts.values() {
            let items = attention::of(facts, self.releases.get(&facts.num), now);
            for scope in [None, Some(facts.shown.store_id)] {
                let (counters, attention) = fresh.entry(scope).or_default();
                counters.count(&facts.shown);
                attention.extend(items.iter().cloned());
            }
        }
        // A store's last cart is gone: what was counted there is nothing now.
        self.sums.keys().for_each(|scope| {
            fresh.entry(*scope).or_default();
        });
        for (scope, (counters, attention)) in fresh {
            let attention = attention::worst(attention);
            let sums = self.sums.entry(scope).or_default();
            if sums.counters.1 != counters {
                self.version += 1;
                sums.counters = (self.version, counters);
            }
            if sums.attention.1 != attention {
                self.version += 1;
                sums.attention = (self.version, attention);
            }
        }
    }

    /// What somebody who has seen nothing yet is told, and how far they have seen then.
    pub fn snapshot(&self, scope: Scope) -> (u64, String) {
        let mut data = String::from("{\"type\":\"floor\",\"event_type\":\"floor\",\"carts\":[");
        let mut first = true;
        for cart in self.carts.values().filter(|cart| cart.is_in(scope)) {
            if !std::mem::take(&mut first) {
                data.push(',');
            }
            data.push_str(&cart.json);
        }
        let none = Sums::default();
        let sums = self.sums.get(&scope).unwrap_or(&none);
        let (counters, attention) = (json(&sums.counters.1), json(&sums.attention.1));
        write!(data, "],\"counters\":{counters},\"attention\":{attention}}}").expect("writing to a String cannot fail");
        (self.version, frame::frame(Some(&self.version), None, &data))
    }

    /// What is newer than `seen`, if anything is, and how far they have seen then.
    pub fn since(&self, scope: Scope, seen: u64) -> Option<(u64, Bytes)> {
        if seen >= self.version {
            return None;
        }
        if seen < self.start_over {
            let (version, snapshot) = self.snapshot(scope);
            return Some((version, snapshot.into()));
        }
        let mut frames = Vec::new();
        for num in self.changes.range(seen + 1..).map(|(_, num)| num) {
            if let Some(cart) = self.carts.get(num).filter(|cart| cart.is_in(scope)) {
                frames.extend_from_slice(&cart.frame);
            }
        }
        if let Some(sums) = self.sums.get(&scope) {
            let mut sum = |name: &str, version: u64, value: String| {
                if version > seen {
                    let data = format!("{{\"type\":\"{name}\",\"event_type\":\"{name}\",\"{name}\":{value}}}");
                    frames.extend_from_slice(frame::frame(Some(&version), None, &data).as_bytes());
                }
            };
            sum("counters", sums.counters.0, json(&sums.counters.1));
            sum("attention", sums.attention.0, json(&sums.attention.1));
        }
        Some((self.version, frames.into()))
    }
}

impl Tracked {
    fn is_in(&self, scope: Scope) -> bool {
        scope.is_none_or(|store| store == self.facts.shown.store_id)
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("what staff see is plain data")
}

#[cfg(test)]
mod tests;

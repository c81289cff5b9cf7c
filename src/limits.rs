//! Rate limits: who may do how much, by our own clock.
//!
//! Each node counts for itself. What has recovered is forgotten, so memory follows the number of
//! those who are busy right now.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::RateLimiter;
use governor::state::keyed::HashMapStateStore;

use crate::clock::{Clock, Timestamp};
use crate::config::{Config, Quota};
use crate::failure::{Failure, Result};
use crate::ids::{AccountId, CartNum};

/// After so many calls, what has recovered is swept out.
const SWEEP_EVERY: u32 = 1024;

/// Wrong passwords for one account from one address before there is a wait.
const FREE_MISSES: u32 = 5;

/// How long they count.
const MISS_WINDOW: Duration = Duration::from_secs(15 * 60);

/// The first wait; each further miss doubles it, up to [`MISS_WINDOW`].
const FIRST_WAIT: Duration = Duration::from_secs(30);

/// All limits of this node.
pub struct Limits {
    clock: Arc<dyn Clock>,
    mints: Bucket<CartNum>,
    scans: Bucket<AccountId>,
    streams: Bucket<()>,
    addresses: Mutex<Leaky>,
    misses: Mutex<Misses>,
}

/// A sign-in under way: counted as a failure until it [`succeeded`](Limits::succeeded), so that
/// many tries at once cannot slip in before the first of them has failed.
pub struct Attempt {
    target: Target,
    address: Option<Place>,
}

/// Whose password is tried, from where.
type Target = (String, Option<Place>);

impl Limits {
    /// As configured.
    pub fn new(config: &Config, clock: Arc<dyn Clock>) -> Self {
        Self {
            mints: Bucket::new(config.limit_mints, "QR codes for this cart", &clock),
            scans: Bucket::new(config.limit_scans, "scans", &clock),
            streams: Bucket::new(config.limit_streams, "new event streams on this node", &clock),
            addresses: Mutex::new(Leaky::new(config.limit_address)),
            misses: Mutex::new(Misses::default()),
            clock,
        }
    }

    /// A cart fetches a code.
    pub fn mint(&self, cart: CartNum) -> Result<()> {
        self.mints.take(&cart, self.clock.now())
    }

    /// A customer scans.
    pub fn scan(&self, customer: AccountId) -> Result<()> {
        self.scans.take(&customer, self.clock.now())
    }

    /// One more stream is opened.
    pub fn stream(&self) -> Result<()> {
        self.streams.take(&(), self.clock.now())
    }

    /// Somebody new, or somebody who fails, from this address. This machine itself is exempt.
    pub fn address(&self, address: Option<IpAddr>) -> Result<()> {
        match limited(address) {
            Some(place) => lock(&self.addresses).take(place, self.clock.now()),
            None => Ok(()),
        }
    }

    /// Somebody is about to try a password for `account` (any text that names it).
    pub fn attempt(&self, account: &str, address: Option<IpAddr>) -> Result<Attempt> {
        let now = self.clock.now();
        // Hashed: a limit needs to recognise an address, not to know it.
        let target = (crate::token::hash(account), address.map(Place::of));
        let address = limited(address);
        if let Some(place) = address {
            lock(&self.addresses).take(place, now)?;
        }
        lock(&self.misses).take(&target, now)?;
        Ok(Attempt { target, address })
    }

    /// The password was right: neither the attempt nor the misses before it count.
    pub fn succeeded(&self, attempt: Attempt) {
        lock(&self.misses).forget(&attempt.target);
        self.give_back(attempt.address);
    }

    /// The password was not even looked at: it is as if there had been no attempt.
    pub fn undone(&self, attempt: Attempt) {
        lock(&self.misses).give_back(&attempt.target);
        self.give_back(attempt.address);
    }

    fn give_back(&self, address: Option<Place>) {
        if let Some(place) = address {
            lock(&self.addresses).give_back(place);
        }
    }
}

/// A std mutex: never held across an await. What it guards is whole after any single step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a request came from, as far as limits care: IPv6 by /64, which is one household.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place(IpAddr);

impl Place {
    /// The place of an address.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => Self(IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into())),
            v4 => Self(v4),
        }
    }
}

/// The place that limits per address count for: none for this machine itself.
pub fn limited(address: Option<IpAddr>) -> Option<Place> {
    address.filter(|address| !address.to_canonical().is_loopback()).map(Place::of)
}

/// Our clock, as governor asks it.
#[derive(Clone)]
struct Ticks(Arc<dyn Clock>);

impl governor::clock::Clock for Ticks {
    type Instant = Duration;
    fn now(&self) -> Duration {
        since_1970(self.0.now())
    }
}

fn since_1970(now: Timestamp) -> Duration {
    now.since(Timestamp(0))
}

/// A quota per key (GCRA).
struct Bucket<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, HashMapStateStore<K>, Ticks, governor::middleware::NoOpMiddleware<Duration>>,
    quota: Quota,
    what: &'static str,
    calls: AtomicU32,
}

impl<K: Hash + Eq + Clone> Bucket<K> {
    fn new(quota: Quota, what: &'static str, clock: &Arc<dyn Clock>) -> Self {
        let burst = NonZeroU32::new(quota.burst).expect("a parsed quota is 1 or more");
        let rule = governor::Quota::with_period(quota.every).expect("a parsed span is 1ms or more");
        let limiter = RateLimiter::hashmap_with_clock(rule.allow_burst(burst), Ticks(Arc::clone(clock)));
        Self { limiter, quota, what, calls: AtomicU32::new(0) }
    }

    fn take(&self, key: &K, now: Timestamp) -> Result<()> {
        if self.calls.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        let taken = self.limiter.check_key(key);
        taken.map_err(|until| too_many(self.what, self.quota, until.wait_time_from(since_1970(now))))
    }
}

fn too_many(what: &'static str, quota: Quota, retry_after: Duration) -> Failure {
    Failure::TooMany { what, quota: quota.burst, window: quota.every * quota.burst, retry_after }
}

/// A leaky bucket per place. Ours, because a sign-in that succeeds gives its drop back.
struct Leaky {
    quota: Quota,
    levels: HashMap<Place, Level>,
    calls: u32,
}

#[derive(Clone, Copy)]
struct Level {
    drops: f64,
    at: Timestamp,
}

impl Leaky {
    fn new(quota: Quota) -> Self {
        Self { quota, levels: HashMap::new(), calls: 0 }
    }

    /// What is left of a level at `now`.
    fn drained(&self, level: Level, now: Timestamp) -> f64 {
        let gone = now.since(level.at).as_secs_f64() / self.quota.every.as_secs_f64();
        (level.drops - gone).max(0.0)
    }

    fn take(&mut self, place: Place, now: Timestamp) -> Result<()> {
        self.sweep(now);
        let level = self.levels.get(&place).map_or(0.0, |level| self.drained(*level, now));
        let over = level + 1.0 - f64::from(self.quota.burst);
        if over > 0.0 {
            return Err(too_many(
                "failures and new guests from this address",
                self.quota,
                self.quota.every.mul_f64(over),
            ));
        }
        self.levels.insert(place, Level { drops: level + 1.0, at: now });
        Ok(())
    }

    fn give_back(&mut self, place: Place) {
        if let Some(level) = self.levels.get_mut(&place) {
            level.drops -= 1.0;
        }
    }

    fn sweep(&mut self, now: Timestamp) {
        self.calls = (self.calls + 1) % SWEEP_EVERY;
        if self.calls == 0 {
            let empty_after = self.quota.every * self.quota.burst;
            self.levels.retain(|_, level| level.drops > 0.0 && now.since(level.at) < empty_after);
            self.levels.shrink_to_fit();
        }
    }
}

/// Wrong passwords in a row, per account and address.
#[derive(Default)]
struct Misses {
    rows: HashMap<Target, Miss>,
    calls: u32,
}

#[derive(Clone, Copy)]
struct Miss {
    count: u32,
    last: Timestamp,
}

impl Miss {
    /// How long after the last miss the next try is listened to.
    fn wait(self) -> Duration {
        match self.count.checked_sub(FREE_MISSES) {
            None => Duration::ZERO,
            Some(beyond) => FIRST_WAIT.saturating_mul(1 << beyond.min(16)).min(MISS_WINDOW),
        }
    }

    /// Misses count until nothing was tried for a window after the wait.
    fn counts(self, now: Timestamp) -> bool {
        now.since(self.last) < self.wait() + MISS_WINDOW
    }
}

impl Misses {
    fn take(&mut self, target: &Target, now: Timestamp) -> Result<()> {
        self.sweep(now);
        let miss = self.rows.get(target).copied().filter(|miss| miss.counts(now));
        if let Some(miss) = miss {
            let left = miss.wait().saturating_sub(now.since(miss.last));
            if !left.is_zero() {
                let (what, quota, window) = ("wrong passwords for this account", FREE_MISSES, MISS_WINDOW);
                return Err(Failure::TooMany { what, quota, window, retry_after: left });
            }
        }
        let count = miss.map_or(0, |miss| miss.count) + 1;
        self.rows.insert(target.clone(), Miss { count, last: now });
        Ok(())
    }

    fn forget(&mut self, target: &Target) {
        self.rows.remove(target);
    }

    fn give_back(&mut self, target: &Target) {
        if let Some(miss) = self.rows.get_mut(target) {
            miss.count = miss.count.saturating_sub(1);
        }
    }

    fn sweep(&mut self, now: Timestamp) {
        self.calls = (self.calls + 1) % SWEEP_EVERY;
        if self.calls == 0 {
            self.rows.retain(|_, miss| miss.counts(now));
            self.rows.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn limits() -> (Limits, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(Timestamp(1_768_478_400_000)));
        let config = Config::standard();
        (Limits::new(&config, Arc::clone(&clock) as Arc<dyn Clock>), clock)
    }

    fn wait(result: Result<impl Sized>) -> u64 {
        match result {
            Err(Failure::TooMany { retry_after, .. }) => retry_after.as_secs_f64().ceil() as u64,
            Err(other) => panic!("another failure: {other}"),
            Ok(_) => 0,
        }
    }

    #[test]
    fn a_cart_fetches_five_codes_at_once_and_then_one_every_ten_seconds() {
        let (limits, clock) = limits();
        for _ in 0..5 {
            limits.mint(CartNum(7)).unwrap();
        }
        assert_eq!(wait(limits.mint(CartNum(7))), 10);
        assert_eq!(wait(limits.mint(CartNum(8))), 0);
        clock.advance(Duration::from_secs(9));
        assert_eq!(wait(limits.mint(CartNum(7))), 1);
        clock.advance(Duration::from_secs(1));
        assert_eq!(wait(limits.mint(CartNum(7))), 0);
    }

    #[test]
    fn an_address_is_its_64_bit_network_and_this_machine_is_exempt() {
        let (limits, clock) = limits();
        let from = |text: &str| Some(text.parse().unwrap());
        for host in 0..30 {
            limits.address(from(&format!("2001:db8::{host:x}"))).unwrap();
        }
        assert_eq!(wait(limits.address(from("2001:db8::ffff"))), 2);
        assert_eq!(wait(limits.address(from("2001:db8:0:1::1"))), 0);
        clock.advance(Duration::from_secs(2));
        assert_eq!(wait(limits.address(from("2001:db8::1"))), 0);
        for _ in 0..1000 {
            limits.address(from("127.0.0.1")).unwrap();
            limits.address(from("::ffff:127.0.0.1")).unwrap();
        }
    }

    #[test]
    fn after_five_misses_each_further_one_costs_a_longer_wait() {
        let (limits, clock) = limits();
        let here = Some("127.0.0.1".parse().unwrap());
        for _ in 0..5 {
            limits.attempt("a@b.c", here).unwrap();
        }
        for seconds in [30, 60, 120, 240, 480, 900, 900] {
            assert_eq!(wait(limits.attempt("a@b.c", here)), seconds);
            clock.advance(Duration::from_secs(seconds));
            limits.attempt("a@b.c", here).unwrap();
        }
        assert_eq!(wait(limits.attempt("another@b.c", here)), 0);
        assert_eq!(wait(limits.attempt("a@b.c", Some("192.0.2.1".parse().unwrap()))), 0);
        clock.advance(Duration::from_secs(1800));
        assert_eq!(wait(limits.attempt("a@b.c", here)), 0);
    }

    #[test]
    fn who_signs_in_rightly_is_not_counted() {
        let (limits, _) = limits();
        let shop = Some("192.0.2.1".parse().unwrap());
        for _ in 0..1000 {
            let attempt = limits.attempt("a@b.c", shop).unwrap();
            limits.succeeded(attempt);
        }
    }

    #[test]
    fn what_has_recovered_is_forgotten() {
        let (limits, clock) = limits();
        for round in 0..20_u32 {
            for n in 0..SWEEP_EVERY {
                let address = IpAddr::from((0xC000_0000 | (round << 16) | n).to_be_bytes());
                limits.attempt(&format!("{n}@{round}.example"), Some(address)).unwrap();
                limits.mint(CartNum(i64::from(round * SWEEP_EVERY + n))).unwrap();
            }
            clock.advance(Duration::from_secs(3600));
        }
        let bound = SWEEP_EVERY as usize;
        assert!(lock(&limits.misses).rows.len() <= bound);
        assert!(lock(&limits.addresses).levels.len() <= bound);
        assert!(limits.mints.limiter.len() <= bound);
    }
}

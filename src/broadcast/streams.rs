//! Which streams are open and whose they are: for limits, and to end them when what opened them ends.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures_util::task::AtomicWaker;
use serde::{Deserialize, Serialize};
use slab::Slab;
use tokio::sync::Notify;

use super::bus::Bus;
use crate::clock::Timestamp;
use crate::ids::{CartNum, SignInId};

/// What a stream lives by: when it ends, so does the stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// A person's sign-in.
    SignIn(SignInId),
    /// A cart's device key.
    Cart(CartNum),
    /// A service.
    Service(String),
    /// A subscriber of emitted events, by `userId`.
    Subscriber(String),
}

/// Why a stream is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// What opened it was revoked.
    Revoked = 1,
    /// The server is stopping.
    Draining = 2,
    /// This node cannot reach the log.
    CutOff = 3,
}

/// An open stream, as others see it.
pub struct Handle {
    ending: AtomicU8,
    waker: AtomicWaker,
    opened_at: Timestamp,
    key: OnceLock<Box<str>>,
}

impl Handle {
    /// Whether it is to end, and why; else `waker` is woken once it is.
    pub fn ending(&self, waker: &std::task::Waker) -> Option<Ending> {
        self.waker.register(waker);
        match self.ending.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Ending::Revoked),
            2 => Some(Ending::Draining),
            _ => Some(Ending::CutOff),
        }
    }

    /// Since when it is open.
    pub fn since(&self) -> Timestamp {
        self.opened_at
    }

    /// The hash of the device key that opened it, if one did.
    pub fn key(&self) -> Option<&str> {
        self.key.get().map(AsRef::as_ref)
    }

    /// Ends it.
    pub fn end(&self, ending: Ending) {
        self.ending.store(ending as u8, Ordering::Release);
        self.waker.wake();
    }
}

/// An open stream, as what it lives by is checked.
#[derive(Clone)]
pub struct Open {
    /// What it lives by.
    pub owner: Owner,
    /// What ends this one, and no other of the same owner: of a cart's streams, say, those of an earlier key.
    pub handle: Arc<Handle>,
}

/// All open streams of this node.
pub struct Streams {
    bus: Arc<dyn Bus>,
    by_owner: Mutex<HashMap<Owner, Slab<Arc<Handle>>>>,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    open: AtomicUsize,
    draining: AtomicBool,
    stopping: Notify,
    emptied: Notify,
}

/// How many streams there may be.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// Of this owner.
    pub owner: usize,
    /// Of this address.
    pub address: usize,
    /// On this node.
    pub node: usize,
}

/// Which cap was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The owner's.
    Owner,
    /// The address's.
    Address,
    /// The node's.
    Node,
    /// The server is stopping.
    Draining,
}

/// A place among the open streams. Dropping it frees the place.
pub struct Place {
    app: Arc<crate::app::App>,
    owner: Owner,
    key: usize,
    address: Option<IpAddr>,
    handle: Arc<Handle>,
}

impl Place {
    /// What others end it by.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Notes the device key, hashed, that opened the stream: another key of the cart ends it.
    pub fn opened_with(&self, key_hash: &str) {
        self.handle.key.get_or_init(|| key_hash.into());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The address streams are counted by: an IPv6 customer has a whole /64, and this machine is exempt.
fn counted(address: Option<IpAddr>) -> Option<IpAddr> {
    match address?.to_canonical() {
        ip if ip.is_loopback() => None,
        IpAddr::V6(ip) => Some(IpAddr::V6((u128::from(ip) & (!0 << 64)).into())),
        ip => Some(ip),
    }
}

impl Streams {
    /// None yet.
    pub fn new(bus: Arc<dyn Bus>) -> Self {
        Self {
            bus,
            by_owner: Mutex::default(),
            by_address: Mutex::default(),
            open: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            stopping: Notify::new(),
            emptied: Notify::new(),
        }
    }

    /// Takes a place for one more stream.
    pub fn enter(
        &self,
        app: Arc<crate::app::App>,
        owner: Owner,
        address: Option<IpAddr>,
        caps: Caps,
    ) -> Result<Place, Full> {
        let address = counted(address);
        let opened_at = app.clock.now();
        let handle =
            Arc::new(Handle { ending: AtomicU8::new(0), waker: AtomicWaker::new(), opened_at, key: OnceLock::new() });
        let mut owners = lock(&self.by_owner);
        // Under the lock: whoever enters is seen by the drain that follows, or sees it.
        if self.draining.load(Ordering::Acquire) {
            return Err(Full::Draining);
        }
        if self.open.load(Ordering::Relaxed) >= caps.node {
            return Err(Full::Node);
        }
        if owners.get(&owner).map_or(0, Slab::len) >= caps.owner {
            return Err(Full::Owner);
        }
        if let Some(ip) = address {
            let mut addresses = lock(&self.by_address);
            let count = addresses.get(&ip).copied().unwrap_or_default();
            if count >= caps.address {
                return Err(Full::Address);
            }
            addresses.insert(ip, count + 1);
        }
        let key = owners.entry(owner.clone()).or_default().insert(Arc::clone(&handle));
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        metrics::gauge!("cartlink_streams").set(open as f64);
        Ok(Place { app, owner, key, address, handle })
    }

    /// Ends every stream that lives by `owner`, on every node.
    pub fn close(&self, owner: &Owner) {
        self.close_but(owner, None);
    }

    /// As [`close`](Self::close), but for those that the device key of this hash has opened: it is the new one, and
    /// may be in use on another node before that node hears of this.
    pub fn close_but(&self, owner: &Owner, key: Option<&str>) {
        self.close_here(owner, key);
        self.bus.revoke(owner, key);
    }

    /// As [`close_but`](Self::close_but), on this node.
    pub fn close_here(&self, owner: &Owner, but: Option<&str>) {
        for (_, handle) in lock(&self.by_owner).get(owner).into_iter().flatten() {
            if but.is_none() || handle.key() != but {
                handle.end(Ending::Revoked);
            }
        }
    }

    /// All that are open, to see whether what they live by still stands.
    pub fn all(&self) -> Vec<Open> {
        let mut all = Vec::new();
        for (owner, handles) in lock(&self.by_owner).iter() {
            all.extend(handles.iter().map(|(_, handle)| Open { owner: owner.clone(), handle: Arc::clone(handle) }));
        }
        all
    }

    /// Ends every stream because the log has been out of reach for too long.
    pub fn cut_off(&self) {
        for (_, handle) in lock(&self.by_owner).values().flatten() {
            handle.end(Ending::CutOff);
        }
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// The carts that have a stream of their own open.
    pub fn carts(&self) -> Vec<CartNum> {
        let cart = |owner: &Owner| if let Owner::Cart(cart) = owner { Some(*cart) } else { None };
        lock(&self.by_owner).keys().filter_map(cart).collect()
    }

    /// Whether the server is stopping.
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Waits until the server is stopping: whoever waits for news then answers without.
    pub async fn drained(&self) {
        let mut stopping = pin!(self.stopping.notified());
        // From here on it is heard; a drain before it is seen.
        stopping.as_mut().enable();
        if !self.draining() {
            stopping.await;
        }
    }

    /// Lets no further stream in, and gives out all handles, to be ended one by one.
    pub fn drain(&self) -> Vec<Arc<Handle>> {
        self.draining.store(true, Ordering::Release);
        self.stopping.notify_waiters();
        lock(&self.by_owner).values().flatten().map(|(_, handle)| Arc::clone(handle)).collect()
    }

    /// Waits until no stream is open any more. Of use only once no further one is let in.
    pub async fn emptied(&self) {
        let mut emptied = pin!(self.emptied.notified());
        emptied.as_mut().enable();
        if self.open() > 0 {
            emptied.await;
        }
    }

    /// Says goodbye to one stream because the server is stopping.
    pub fn say_goodbye(handle: &Handle) {
        handle.end(Ending::Draining);
    }

    /// Wakes every stream, so that it looks at the clock: after a test has moved it.
    pub fn wake_all(&self) {
        for (_, handle) in lock(&self.by_owner).values().flatten() {
            handle.waker.wake();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let streams = &self.app.streams;
        let mut owners = lock(&streams.by_owner);
        if let Some(own) = owners.get_mut(&self.owner) {
            own.remove(self.key);
            if own.is_empty() {
                owners.remove(&self.owner);
            }
        }
        drop(owners);
        if let Some(ip) = self.address {
            let mut addresses = lock(&streams.by_address);
            if let Some(count) = addresses.get_mut(&ip) {
                *count -= 1;
                if *count == 0 {
                    addresses.remove(&ip);
                }
            }
        }
        let open = streams.open.fetch_sub(1, Ordering::Relaxed) - 1;
        metrics::gauge!("cartlink_streams").set(open as f64);
        if open == 0 {
            streams.emptied.notify_waiters();
        }
    }
}

//! The broadcaster: per channel with listeners, the tail of its log and whom to wake.
//!
//! Publishing puts an event into the tail and wakes; it never waits for a listener, and nothing is
//! queued per listener. A follower asks for what comes after its own place; where the tail does not
//! reach back that far, the log does. A wake-up that gets lost delays; it never loses.

pub mod body;
pub mod bus;
pub mod codes;
pub mod follow;
pub mod frame;
pub mod http;
pub mod line;
pub mod pulse;
pub mod stirred;
pub mod streams;
pub mod tickets;
pub mod view;

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::sync::Semaphore;

use self::bus::{Bus, PARTITIONS};
use self::stirred::Stirred;
use crate::clock::Timestamp;
use crate::event::{Channel, Event};
use crate::ids::SessionId;

/// Events kept per channel with listeners: a second's burst, so that the usual read touches no database.
const TAIL: usize = 64;

/// Locks are per shard and held for a few instructions, never across an await.
const SHARDS: usize = 64;

/// Followers that read the log at once: a gap in all channels must leave the database to others too.
const LOG_READERS: usize = 4;

type Shard = Mutex<HashMap<Channel, Arc<Topic>>>;

/// All channels that somebody follows.
pub struct Broadcaster {
    shards: Box<[Shard]>,
    hasher: RandomState,
    bus: Arc<dyn Bus>,
    /// Channels followed per partition of the bus.
    partitions: Mutex<[u32; PARTITIONS]>,
    /// What a follower takes before it reads the log.
    pub(crate) log_readers: Semaphore,
    /// What the live floor has to look at again.
    pub stirred: Stirred,
}

/// A channel that somebody follows.
pub struct Topic {
    channel: Channel,
    tail: Mutex<Tail>,
}

#[derive(Default)]
struct Tail {
    events: VecDeque<Arc<Entry>>,
    /// The newest place heard of, be it in the tail or not.
    newest: i64,
    /// Sessions that ended while somebody followed: their events are not replayed for long.
    ended: VecDeque<(SessionId, Timestamp)>,
    wakers: slab::Slab<Option<Waker>>,
}

/// An event in a tail, with the bytes it is sent as: made once per audience, then shared.
pub struct Entry {
    /// The event.
    pub event: Event,
    /// As the customer and staff see it; as the cart sees it.
    pub(crate) frames: [OnceLock<Bytes>; 2],
}

impl Entry {
    /// An event not yet encoded.
    pub fn new(event: Event) -> Self {
        Self { event, frames: Default::default() }
    }
}

/// What the tail knows after a place.
pub enum After {
    /// Nothing has happened since.
    Nothing,
    /// What happened since, without a gap.
    Events(Vec<Arc<Entry>>),
    /// Something happened that is not in the tail: ask the log.
    Gap,
}

/// Nothing that holds these locks can panic half way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Broadcaster {
    /// Nobody follows anything yet.
    pub fn new(bus: Arc<dyn Bus>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            bus,
            partitions: Mutex::new([0; PARTITIONS]),
            log_readers: Semaphore::new(LOG_READERS),
            stirred: Stirred::default(),
        }
    }

    fn shard(&self, channel: &Channel) -> &Shard {
        let hash = usize::try_from(self.hasher.hash_one(channel) % SHARDS as u64).unwrap_or(0);
        &self.shards[hash]
    }

    /// Puts a committed event into its channel's tail and wakes the channel's followers. A channel
    /// nobody follows costs one look-up.
    pub fn publish(&self, event: Event) {
        self.stirred.note(&event.channel);
        let topic = lock(self.shard(&event.channel)).get(&event.channel).cloned();
        if let Some(topic) = topic {
            topic.publish(event);
        }
    }

    /// Says that a channel's log reaches at least to `seq`, as a head check found: wakes its followers
    /// if that is news.
    pub fn heard(&self, channel: &Channel, seq: i64) {
        self.stirred.note(channel);
        let topic = lock(self.shard(channel)).get(channel).cloned();
        if let Some(topic) = topic {
            topic.heard(seq);
        }
    }

    /// Starts following a channel. Everything committed from now on is in the tail, or makes a gap.
    pub fn follow(self: &Arc<Self>, channel: Channel) -> Following {
        let mut topics = lock(self.shard(&channel));
        let topic = topics
            .entry(channel.clone())
            .or_insert_with(|| {
                self.listen(&channel);
                Arc::new(Topic { channel, tail: Mutex::default() })
            })
            .clone();
        // Under the shard's lock, so that the topic cannot be dropped in between.
        let place = lock(&topic.tail).wakers.insert(None);
        Following { topic, place, broadcaster: Arc::clone(self) }
    }

    fn listen(&self, channel: &Channel) {
        let partition = bus::partition(channel);
        let mut partitions = lock(&self.partitions);
        partitions[usize::from(partition)] += 1;
        // Under the lock, so that the bus is told in the order in which it happened.
        if partitions[usize::from(partition)] == 1 {
            self.bus.listen(partition);
        }
    }

    fn leave(&self, channel: &Channel) {
        let partition = bus::partition(channel);
        let mut partitions = lock(&self.partitions);
        partitions[usize::from(partition)] -= 1;
        if partitions[usize::from(partition)] == 0 {
            self.bus.leave(partition);
        }
    }

    /// The channels somebody follows, with the newest place heard of on each.
    pub fn followed(&self) -> Vec<(Channel, i64)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            all.extend(lock(shard).values().map(|topic| (topic.channel.clone(), lock(&topic.tail).newest)));
        }
        all
    }
}

impl Topic {
    fn publish(&self, event: Event) {
        let wakers = {
            let mut tail = lock(&self.tail);
            tail.newest = tail.newest.max(event.seq);
            if event.kind.is_final()
                && let Some(session) = event.session
            {
                tail.ended.push_back((session, event.at));
                if tail.ended.len() > TAIL {
                    tail.ended.pop_front();
                }
            }
            // Commits of one channel are in order, but the tellings may overtake each other.
            let place = tail.events.iter().rposition(|entry| entry.event.seq < event.seq).map_or(0, |at| at + 1);
            if tail.events.get(place).is_none_or(|entry| entry.event.seq != event.seq) {
                tail.events.insert(place, Arc::new(Entry::new(event)));
            }
            if tail.events.len() > TAIL {
                tail.events.pop_front();
            }
            tail.take_wakers()
        };
        wake_all(wakers);
    }

    fn heard(&self, seq: i64) {
        let wakers = {
            let mut tail = lock(&self.tail);
            if tail.newest >= seq {
                return;
            }
            tail.newest = seq;
            tail.take_wakers()
        };
        wake_all(wakers);
    }
}

impl Tail {
    fn take_wakers(&mut self) -> Vec<Waker> {
        self.wakers.iter_mut().filter_map(|(_, waker)| waker.take()).collect()
    }
}

/// Outside of every lock: a waker may run anything.
fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}

/// A follower's hold on a channel. Dropping it lets go.
pub struct Following {
    topic: Arc<Topic>,
    place: usize,
    broadcaster: Arc<Broadcaster>,
}

impl Following {
    /// The channel.
    pub fn channel(&self) -> &Channel {
        &self.topic.channel
    }

    /// What came after `seq`, at most `limit` events; where that is nothing, `waker` is kept until
    /// something does.
    pub fn after(&self, seq: i64, limit: usize, waker: &Waker) -> After {
        let mut tail = lock(&self.topic.tail);
        if tail.newest <= seq {
            let place = &mut tail.wakers[self.place];
            if !place.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
                *place = Some(waker.clone());
            }
            return After::Nothing;
        }
        let start = tail.events.partition_point(|entry| entry.event.seq <= seq);
        let in_a_row = tail.events.iter().skip(start).take(limit).zip(seq + 1..);
        let events: Vec<_> =
            in_a_row.take_while(|(entry, next)| entry.event.seq == *next).map(|(entry, _)| Arc::clone(entry)).collect();
        if events.is_empty() { After::Gap } else { After::Events(events) }
    }

    /// The newest place heard of, once it is beyond `seen`.
    pub fn poll_newer(&self, seen: i64, cx: &mut Context<'_>) -> Poll<i64> {
        let mut tail = lock(&self.topic.tail);
        if tail.newest > seen && seen != i64::MIN {
            return Poll::Ready(tail.newest);
        }
        if seen == i64::MIN && tail.newest > 0 {
            return Poll::Ready(tail.newest);
        }
        tail.wakers[self.place] = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Notes where the log's head was found to be, so that what lies before is no news.
    pub fn starts_at(&self, seq: i64) {
        let mut tail = lock(&self.topic.tail);
        tail.newest = tail.newest.max(seq);
    }

    /// When a session ended, as far as the tail has heard.
    pub fn ended_at(&self, session: SessionId) -> Option<Timestamp> {
        lock(&self.topic.tail).ended.iter().find(|(id, _)| *id == session).map(|(_, at)| *at)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut topics = lock(self.broadcaster.shard(&self.topic.channel));
        let mut tail = lock(&self.topic.tail);
        tail.wakers.remove(self.place);
        if tail.wakers.is_empty() {
            topics.remove(&self.topic.channel);
            self.broadcaster.leave(&self.topic.channel);
        }
    }
}

#[cfg(test)]
mod tests;

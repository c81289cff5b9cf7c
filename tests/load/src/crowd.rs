//! A crowd of streams and a steady hand that publishes to them: what the rows about streams are made of.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::Events;

use crate::net::{Net, What};
use crate::peer::Peer;

/// Streams being opened at once; below any server's backlog.
const OPENING: usize = 200;
/// Keep-alive connections for publishing.
pub const PUBLISHERS: usize = 128;

/// Many open streams on one server.
pub struct Crowd<'a> {
    peer: &'a Peer,
    net: Net,
    events: Events,
    channels: u32,
    per_channel: u32,
    began: Instant,
    chance: u64,
    pub tally: Tally,
}

/// What was counted since the last `reset`.
pub struct Tally {
    pub opened: u64,
    pub refused: u64,
    pub ended: u64,
    pub published: u64,
    pub failed: u64,
    pub delivered: u64,
    /// Publish → receipt, in microseconds.
    pub delays: Histogram<u64>,
    from: u64,
}

impl Tally {
    fn new() -> Self {
        let delays = Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are sound");
        Self { opened: 0, refused: 0, ended: 0, published: 0, failed: 0, delivered: 0, delays, from: 0 }
    }

    /// Milliseconds below which this share of the deliveries stayed.
    pub fn delay_ms(&self, quantile: f64) -> f64 {
        self.delays.value_at_quantile(quantile) as f64 / 1000.0
    }

    fn hear(&mut self, what: &What<'_>, began: Instant) {
        match what {
            What::Opened { status: 200, .. } => self.opened += 1,
            What::Opened { .. } => self.refused += 1,
            What::Ended { .. } => self.ended += 1,
            What::Answered { status, .. } if (200..300).contains(status) => self.published += 1,
            What::Answered { .. } | What::Failed => self.failed += 1,
            What::Event { event, at, .. } => {
                if let Some(sent) = sent_at(event.data)
                    && sent >= self.from
                {
                    self.delivered += 1;
                    let now = at.duration_since(began).as_micros() as u64;
                    self.delays.saturating_record(now.saturating_sub(sent));
                }
            }
        }
    }
}

/// The send time, in microseconds since the run began, at the head of our payloads.
fn sent_at(data: &[u8]) -> Option<u64> {
    let digits = data.strip_prefix(b"{\"t\":")?;
    let end = memchr::memchr(b',', digits)?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

impl<'a> Crowd<'a> {
    /// Opens `channels` × `per_channel` streams and waits until all of them are answered.
    pub fn gather(peer: &'a Peer, channels: u32, per_channel: u32) -> Result<Self, String> {
        let net = Net::new().map_err(|why| why.to_string())?;
        let events = Events::with_capacity(4096);
        let mut crowd = Self {
            peer,
            net,
            events,
            channels,
            per_channel,
            began: Instant::now(),
            chance: 0x9e37_79b9_7f4a_7c15,
            tally: Tally::new(),
        };
        let total = u64::from(channels * per_channel);
        let deadline = Instant::now() + Duration::from_secs(120);
        let mut asked = 0;
        while crowd.tally.opened < total {
            while asked < total && asked - crowd.tally.opened - crowd.tally.refused < OPENING as u64 {
                let channel = (asked % u64::from(channels)) as u32;
                crowd
                    .net
                    .open(peer.stream_addr, &peer.stream(channel, b""), asked as u32)
                    .map_err(|why| format!("opening stream {asked}: {why}"))?;
                asked += 1;
            }
            crowd.turn(Duration::from_millis(100))?;
            if crowd.tally.refused + crowd.tally.ended > 0 || Instant::now() > deadline {
                let Tally { opened, refused, ended, .. } = crowd.tally;
                return Err(format!(
                    "{}: of {total} streams {opened} opened, {refused} were refused, {ended} ended",
                    peer.name
                ));
            }
        }
        Ok(crowd)
    }

    /// Listens for `time` without publishing.
    pub fn idle(&mut self, time: Duration) -> Result<(), String> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn(Duration::from_millis(50))?;
        }
        Ok(())
    }

    /// Forgets what was counted; deliveries of earlier publishes no longer count.
    pub fn reset(&mut self) {
        self.tally = Tally { from: self.now(), ..Tally::new() };
    }

    /// Publishes `rate` events a second to random channels for `time`, each stamped with the moment it was due.
    pub fn publish_at(&mut self, rate: f64, time: Duration) -> Result<(), String> {
        let start = Instant::now();
        let count = (rate * time.as_secs_f64()) as u64;
        let mut next = 0;
        while next < count {
            let due = start + Duration::from_secs_f64(next as f64 / rate);
            let wait = due.saturating_duration_since(Instant::now());
            if wait.is_zero() && self.net.capacity(PUBLISHERS) > 0 {
                self.publish(due)?;
                next += 1;
                if next % 16 != 0 {
                    continue;
                }
            }
            // epoll counts in milliseconds: what is due sooner is waited for awake.
            self.turn(if wait > Duration::from_millis(2) { wait - Duration::from_millis(1) } else { Duration::ZERO })?;
        }
        self.settle()
    }

    /// Publishes as fast as `at_once` requests in flight allow, for `time`.
    pub fn publish_most(&mut self, at_once: usize, time: Duration) -> Result<(), String> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            while self.net.capacity(at_once) > 0 {
                self.publish(Instant::now())?;
            }
            self.turn(Duration::from_millis(10))?;
        }
        Ok(())
    }

    /// Waits until everything published has been delivered, or five seconds have passed without.
    fn settle(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline && (self.net.busy() > 0 || self.tally.delivered < self.expected()) {
            self.turn(Duration::from_millis(1))?;
        }
        Ok(())
    }

    /// Deliveries that the answered publishes must lead to.
    pub fn expected(&self) -> u64 {
        self.tally.published * u64::from(self.per_channel)
    }

    fn publish(&mut self, due: Instant) -> Result<(), String> {
        // xorshift: which channel is hit need not be secret, only spread.
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        let channel = (self.chance % u64::from(self.channels)) as u32;
        let stamp = due.duration_since(self.began).as_micros();
        let data = format!(r#"{{"t":{stamp:012},"kind":"item-added","cart":"{channel}","text":"{:.<140}"}}"#, "");
        let request = self.peer.publish(channel, &data);
        self.net.ask(self.peer.publish_addr, &request, 0).map_err(|why| format!("publishing: {why}"))
    }

    fn turn(&mut self, wait: Duration) -> Result<(), String> {
        let Self { net, events, tally, began, .. } = self;
        net.turn(wait, events, &mut |what| tally.hear(&what, *began)).map_err(|why| why.to_string())
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }
}

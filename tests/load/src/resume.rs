//! P9: every stream cut by `kill -9`, back with its last event id, while events go on.

use std::time::{Duration, Instant};

use mio::Events;

use crate::fleet::Asker;
use crate::net::{Net, What};
use crate::ours;
use crate::peer::Peer;
use crate::report::Report;
use crate::stage::{Kind, Stage};

const PER_CHANNEL: u32 = 2;
const OPENING: usize = 500;
const PUBLISHERS: usize = 32;
/// Publishes a second, before, during and after the crash.
const RATE: f64 = 500.0;

/// One stream's view: the last id it saw, and what was wrong with the order.
#[derive(Clone, Default)]
struct Follower {
    last_id: Vec<u8>,
    seq: u64,
    open: bool,
    wrong: u64,
}

impl Follower {
    /// Ids are `<epoch>.<seq>`; each must be the one after the last, but for the place a stream is given at its start.
    fn hear(&mut self, id: &[u8], is_place: bool) {
        let text = String::from_utf8_lossy(id);
        let Some(seq) = text.rsplit_once('.').and_then(|(_, seq)| seq.parse().ok()) else {
            return;
        };
        if !is_place && seq != self.seq + 1 {
            self.wrong += 1;
        }
        self.seq = seq;
        self.last_id.clear();
        self.last_id.extend_from_slice(id);
    }
}

struct Crash<'a> {
    peer: &'a Peer,
    net: Net,
    events: Events,
    followers: Vec<Follower>,
    closed: Vec<u32>,
    opening: usize,
    refused: u64,
    channels: u32,
    sent: u64,
    /// Publishes answered with success, per channel: a promise that must be kept.
    promised: Vec<u64>,
    due: Instant,
}

/// Runs the row; only a server that writes its events down can pass it.
pub fn crash(stage: &Stage, report: &mut Report) -> Result<(), String> {
    let Kind::Cartlink { program } = &stage.kind else {
        return Ok(());
    };
    let first = ours::start(stage, program, &[])?;
    let peer = first.events_peer()?;
    let channels = stage.idle_streams / PER_CHANNEL;
    let mut crash = Crash::new(&peer, channels)?;
    // A channel has a place to come back to from its first event on.
    Asker::new(peer.publish_addr)?.wave(channels as usize, |n| peer.publish(n as u32, "first"))?;
    crash.promised.fill(1);
    crash.run_until(Duration::from_secs(120), |crash| crash.all_open())?;
    crash.due = Instant::now();
    let warm = Instant::now() + Duration::from_secs(3);
    crash.run_until(Duration::from_secs(60), |_| Instant::now() > warm)?;

    let cut = Instant::now();
    let again = first.crash_and_restart(stage, program, |_| Ok(()))?;
    let ready = Instant::now();
    crash.notice_the_cut()?;
    crash.run_until(Duration::from_secs(60), |crash| crash.all_open())?;
    let (from_cut, from_ready) = (cut.elapsed().as_secs_f64(), ready.elapsed().as_secs_f64());
    let after = Instant::now() + Duration::from_secs(3);
    crash.run_until(Duration::from_secs(60), |_| Instant::now() > after)?;
    crash.settle()?;

    let lost: u64 = crash.lost();
    let wrong: u64 = crash.followers.iter().map(|follower| follower.wrong).sum();
    drop(again);
    let streams = crash.followers.len();
    report.add("P9", format!("{streams} streams: s from kill -9 until all resumed"), "≤ 5", "cartlink", from_cut);
    report.add("P9", "s from ready again until all resumed", "", "cartlink", from_ready);
    report.add("P9", "promised events lost", "0", "cartlink", lost as f64);
    report.add("P9", "ids repeated, missing or out of order", "0", "cartlink", wrong as f64);
    Ok(())
}

impl<'a> Crash<'a> {
    fn new(peer: &'a Peer, channels: u32) -> Result<Self, String> {
        let streams = channels * PER_CHANNEL;
        Ok(Self {
            peer,
            net: Net::new().map_err(|why| why.to_string())?,
            events: Events::with_capacity(4096),
            followers: vec![Follower::default(); streams as usize],
            closed: (0..streams).collect(),
            opening: 0,
            refused: 0,
            channels,
            sent: 0,
            promised: vec![0; channels as usize],
            // Publishing begins when the caller says so.
            due: Instant::now() + Duration::from_secs(3600),
        })
    }

    fn all_open(&self) -> bool {
        self.closed.is_empty() && self.opening == 0
    }

    /// Opens what is closed, publishes what is due, listens; until `done`.
    fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> Result<(), String> {
        let deadline = Instant::now() + limit;
        while !done(self) {
            if Instant::now() > deadline {
                return Err(format!(
                    "{} streams were still closed after {limit:?} ({} refusals)",
                    self.closed.len() + self.opening,
                    self.refused
                ));
            }
            self.open_some()?;
            self.publish_due()?;
            self.turn(Duration::from_millis(1))?;
        }
        Ok(())
    }

    fn open_some(&mut self) -> Result<(), String> {
        while self.opening < OPENING
            && let Some(stream) = self.closed.pop()
        {
            let request = self.peer.stream(stream % self.channels, &self.followers[stream as usize].last_id);
            self.net
                .open(self.peer.stream_addr, &request, stream)
                .map_err(|why| format!("opening stream {stream}: {why}"))?;
            self.opening += 1;
        }
        Ok(())
    }

    fn publish_due(&mut self) -> Result<(), String> {
        while self.due <= Instant::now() && self.net.capacity(PUBLISHERS) > 0 {
            let channel = (self.sent * 7919 % u64::from(self.channels)) as u32;
            let request = self.peer.publish(channel, &format!(r#"{{"n":{}}}"#, self.sent));
            self.net
                .ask(self.peer.publish_addr, &request, u64::from(channel))
                .map_err(|why| format!("publishing: {why}"))?;
            self.sent += 1;
            self.due += Duration::from_secs_f64(1.0 / RATE);
        }
        Ok(())
    }

    /// The server is gone: reads until every stream has been told.
    fn notice_the_cut(&mut self) -> Result<(), String> {
        let streams = self.followers.len();
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.closed.len() < streams && Instant::now() < deadline {
            self.turn(Duration::from_millis(1))?;
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<(), String> {
        self.due = Instant::now() + Duration::from_secs(3600);
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline && (self.net.busy() > 0 || self.lost() > 0) {
            self.turn(Duration::from_millis(10))?;
        }
        Ok(())
    }

    /// Promised events that some follower has not seen.
    fn lost(&self) -> u64 {
        let missing = |(at, follower): (usize, &Follower)| {
            self.promised[at % self.channels as usize].saturating_sub(follower.seq)
        };
        self.followers.iter().enumerate().map(missing).sum()
    }

    fn turn(&mut self, wait: Duration) -> Result<(), String> {
        let Self { net, events, followers, closed, opening, refused, promised, .. } = self;
        net.turn(wait, events, &mut |what| match what {
            What::Opened { stream, status } => {
                *opening -= 1;
                let follower = &mut followers[stream as usize];
                follower.open = status == 200;
                *refused += u64::from(status != 200);
            }
            What::Event { stream, event, .. } => followers[stream as usize].hear(event.id, event.data.is_empty()),
            What::Ended { stream } => {
                let follower = &mut followers[stream as usize];
                if !std::mem::take(&mut follower.open) {
                    *opening = opening.saturating_sub(1);
                }
                closed.push(stream);
            }
            What::Answered { tag, status, .. } => promised[tag as usize] += u64::from((200..300).contains(&status)),
            What::Failed => {}
        })
        .map_err(|why| why.to_string())
    }
}

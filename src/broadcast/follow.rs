//! Following a channel: the log after my last id, for as long as I read.
//!
//! The tail answers; on a gap the log does. Either way events come once each, in commit order.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::{After, Entry, Following};
use crate::app::App;
use crate::event::Epoch;
use crate::event::store::{self, Head, Read};
use crate::store::Settings;

/// Events per look: what a socket's buffer takes at a time.
const BATCH: usize = 64;

/// What belongs to a session that ended longer ago is not replayed: the id just moves on.
const REPLAY_AFTER_END: Duration = Duration::from_secs(60);

/// How long the log may stay out of reach before the stream ends, so that its client looks elsewhere.
const PATIENCE: Duration = Duration::from_secs(30);

/// A follower that has to start over: its place is from another life, or the log is out of reach.
#[derive(Debug, PartialEq, Eq)]
pub struct Lost;

type Reading = Pin<Box<dyn Future<Output = Result<Vec<Read>, sea_orm::DbErr>>>>;

/// One follower of one channel.
pub struct Follower {
    app: Arc<App>,
    following: Following,
    epoch: Option<Epoch>,
    seq: i64,
    reading: Option<Reading>,
    failing_since: Option<Instant>,
}

impl Follower {
    /// Goes on after `seq` of the life that `head` is of; of a channel yet to be born, whichever it will have.
    pub fn new(app: Arc<App>, following: Following, head: Head, seq: i64) -> Self {
        // What lies between `seq` and `head` is known to be there, and in no tail for certain.
        following.starts_at(head.seq);
        let epoch = Some(head.epoch).filter(|epoch| *epoch != Epoch::unborn());
        Self { app, following, epoch, seq, reading: None, failing_since: None }
    }

    /// The next events, as soon as there are any.
    pub fn poll_events(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<Arc<Entry>>, Lost>> {
        loop {
            if let Some(reading) = &mut self.reading {
                let Poll::Ready(read) = reading.as_mut().poll(cx) else {
                    return Poll::Pending;
                };
                self.reading = None;
                let Ok(read) = read else {
                    return self.log_is_silent();
                };
                self.failing_since = None;
                if read.is_empty() {
                    // Heard of, but not to be seen yet, or dropped: either way not a place to wait at.
                    return Poll::Ready(Err(Lost));
                }
                match self.take_read(read) {
                    Ok(events) if events.is_empty() => continue,
                    taken => return Poll::Ready(taken),
                }
            }
            match self.following.after(self.seq, BATCH, cx.waker()) {
                After::Nothing => return Poll::Pending,
                After::Gap => self.reading = Some(self.read_log()),
                After::Events(events) => match self.take_tail(events) {
                    Ok(events) if events.is_empty() => continue,
                    taken => return Poll::Ready(taken),
                },
            }
        }
    }

    fn read_log(&self) -> Reading {
        let (app, channel, seq) = (Arc::clone(&self.app), self.following.channel().clone(), self.seq);
        Box::pin(async move {
            let _turn = app.broadcaster.log_readers.acquire().await;
            let latest = |settings: &str| Settings::parse(settings).limits().max_duration;
            store::since(app.db.read(), &channel, seq, BATCH as u32, latest).await
        })
    }

    /// Not lost yet: the stream tries again in a moment ([`is_failing`](Self::is_failing)).
    fn log_is_silent<T>(&mut self) -> Poll<Result<T, Lost>> {
        let since = self.failing_since.get_or_insert_with(Instant::now);
        if since.elapsed() > PATIENCE { Poll::Ready(Err(Lost)) } else { Poll::Pending }
    }

    /// Whether the log did not answer last time: somebody should ask again soon.
    pub fn is_failing(&self) -> bool {
        self.failing_since.is_some()
    }

    /// Whether it waits for the log, rather than for news.
    #[cfg(test)]
    pub(super) fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    fn take_read(&mut self, read: Vec<Read>) -> Result<Vec<Arc<Entry>>, Lost> {
        let now = self.app.clock.now();
        let mut events = Vec::with_capacity(read.len());
        for Read { event, session_ended_at } in read {
            self.advance(&event.epoch, event.seq)?;
            if session_ended_at.is_none_or(|at| now.since(at) <= REPLAY_AFTER_END) {
                events.push(Arc::new(Entry::new(event)));
            }
        }
        Ok(events)
    }

    fn take_tail(&mut self, mut events: Vec<Arc<Entry>>) -> Result<Vec<Arc<Entry>>, Lost> {
        let now = self.app.clock.now();
        for entry in &events {
            self.advance(&entry.event.epoch, entry.event.seq)?;
        }
        events.retain(|entry| {
            let event = &entry.event;
            let old = now.since(event.at) > REPLAY_AFTER_END;
            let ended = event.session.filter(|_| old).and_then(|id| self.following.ended_at(id));
            ended.is_none_or(|at| now.since(at) <= REPLAY_AFTER_END)
        });
        Ok(events)
    }

    /// Moves to the next place; a gap or another life is no place to go on from.
    fn advance(&mut self, epoch: &Epoch, seq: i64) -> Result<(), Lost> {
        if *self.epoch.get_or_insert_with(|| epoch.clone()) != *epoch || seq != self.seq + 1 {
            return Err(Lost);
        }
        self.seq = seq;
        Ok(())
    }
}

//! Keeping the floor up to date while somebody watches, and not at all while nobody does.
//!
//! What this node's events stir is looked at within a tenth of a second; what other nodes and
//! heartbeats changed, once a second; everything, once a minute. A look reads rows: whatever was
//! missed, the next look makes good.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;

use super::store::{self, Which};
use super::{Floor, Scope};
use crate::app::App;
use crate::clock::Timestamp;
use crate::failure::{Failure, Result};

/// Between two looks, however much happens.
const PACE: Duration = Duration::from_millis(100);

/// How often the clock and the other nodes' doings are looked at.
const TICK: Duration = Duration::from_secs(1);

/// How often everything is.
const WHOLE: Duration = Duration::from_secs(60);

/// How often "not you?" is counted.
const RELEASES: Duration = Duration::from_secs(5);

/// How far the nodes' clocks and a slow commit may lie behind.
const SLACK: Duration = Duration::from_secs(3);

/// How long whoever opens the floor waits for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The node's floor, and who watches it.
#[derive(Default)]
pub struct Watched {
    inner: Mutex<Inner>,
    somebody: Notify,
}

#[derive(Default)]
struct Inner {
    floor: Option<Floor>,
    watchers: slab::Slab<Option<Waker>>,
}

impl Watched {
    /// Never held across an await, and nothing that holds it can panic half way.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the floor and wakes who watches it.
    fn change(&self, change: impl FnOnce(&mut Floor)) {
        let wakers: Vec<Waker> = {
            let mut inner = self.lock();
            change(inner.floor.get_or_insert_default());
            inner.watchers.iter_mut().filter_map(|(_, waker)| waker.take()).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Forgets the floor if nobody watches it any more.
    fn forget(&self) -> bool {
        let mut inner = self.lock();
        let nobody = inner.watchers.is_empty();
        if nobody {
            inner.floor = None;
        }
        nobody
    }
}

/// Somebody who watches the floor. Dropping it looks away.
pub struct Watcher {
    app: Arc<App>,
    place: usize,
    scope: Scope,
    seen: u64,
}

impl Watcher {
    /// Starts to watch, with the floor as it is now.
    pub async fn start(app: Arc<App>, scope: Scope) -> Result<(Self, String)> {
        let place = app.floor.lock().watchers.insert(None);
        app.floor.somebody.notify_one();
        let mut watcher = Self { app, place, scope, seen: 0 };
        let first = std::future::poll_fn(|cx| watcher.poll_first(cx));
        let first = tokio::time::timeout(PATIENCE, first)
            .await
            .map_err(|_| Failure::Unavailable("the floor cannot be read"))?;
        Ok((watcher, first))
    }

    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<String> {
        let mut inner = self.app.floor.lock();
        let Some(floor) = &inner.floor else {
            inner.watchers[self.place] = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let (seen, snapshot) = floor.snapshot(self.scope);
        self.seen = seen;
        Poll::Ready(snapshot)
    }

    /// What is new since it last looked.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        let mut inner = self.app.floor.lock();
        if let Some((seen, frames)) = inner.floor.as_ref().and_then(|floor| floor.since(self.scope, self.seen)) {
            self.seen = seen;
            // News of other stores only is none.
            if !frames.is_empty() {
                return Poll::Ready(frames);
            }
        }
        inner.watchers[self.place] = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.app.floor.lock().watchers.remove(self.place);
    }
}

/// Keeps the floor for as long as the server runs.
pub async fn run(app: Arc<App>) {
    loop {
        app.floor.somebody.notified().await;
        app.broadcaster.stirred.listen(true);
        let mut look = Look::default();
        while !app.floor.forget() {
            let moved = app.clock.moved();
            if let Err(error) = look.again(&app).await {
                tracing::warn!(error = error.code(), "the floor could not be read");
            }
            tokio::select! {
                // At once after a quiet time, and at a steady pace when much happens.
                () = async { app.broadcaster.stirred.news().await; tokio::time::sleep_until((look.at + PACE).into()).await } => {}
                () = tokio::time::sleep_until((look.ticked + TICK).max(look.at + PACE).into()) => {}
                () = moved => look.clock_moved = true,
            }
        }
        app.broadcaster.stirred.listen(false);
    }
}

/// When what was last looked at.
struct Look {
    at: Instant,
    ticked: Instant,
    whole: Option<Instant>,
    counted: Option<Instant>,
    /// Rows before then have been seen.
    since: Timestamp,
    clock_moved: bool,
}

impl Default for Look {
    fn default() -> Self {
        let now = Instant::now();
        Self { at: now, ticked: now, whole: None, counted: None, since: Timestamp(0), clock_moved: false }
    }
}

impl Look {
    /// Looks at whatever is due to be looked at.
    async fn again(&mut self, app: &App) -> Result<()> {
        let (conn, now) = (app.db.read(), app.clock.now());
        self.at = Instant::now();
        let due = |last: Option<Instant>, span: Duration| last.is_none_or(|last| last.elapsed() >= span);
        let tick = std::mem::take(&mut self.clock_moved) || due(Some(self.ticked), TICK) || self.whole.is_none();
        if tick {
            self.ticked = self.at;
        }
        let whole = due(self.whole, WHOLE);
        let stirred = app.broadcaster.stirred.take();
        let mut facts = Vec::new();
        if whole {
            facts = store::carts(conn, Which::Standing(None), now).await?;
            self.whole = Some(self.at);
        } else if tick {
            facts = store::carts(conn, Which::ChangedSince(self.since - SLACK), now).await?;
        }
        if tick {
            self.since = now;
        }
        if !whole && !stirred.is_empty() {
            facts.extend(store::carts(conn, Which::These(&stirred), now).await?);
        }
        let mut releases = None;
        if tick && due(self.counted, RELEASES) {
            releases = Some(store::releases(conn, now).await?);
            self.counted = Some(self.at);
        }
        app.floor.change(|floor| {
            floor.take(facts, whole, now);
            if tick {
                floor.tick(now);
            }
            if let Some(releases) = releases {
                floor.releases(releases);
            }
            floor.add_up(now);
        });
        Ok(())
    }
}

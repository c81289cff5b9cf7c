//! Healing: what the bus did not bring, the log knows.
//!
//! After any hiccup, once per heartbeat, and twice a second while the bus is not whole, a node compares
//! the heads of its followed channels with the log and reads what it missed, for all followers of a
//! channel at once. It also looks whether what its streams live by still stands, and what time the
//! database has. So a lost message costs time, bounded by a heartbeat, and nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::RngExt;
use sea_orm::DbErr;
use tokio::sync::Notify;

use super::store::{self, CHUNK};
use crate::app::App;
use crate::broadcast::streams::Ending;
use crate::clock::Timestamp;
use crate::db;
use crate::event::{self, Channel};
use crate::store::Settings;

/// How often the log is looked at while the bus is not whole.
const POLL: Duration = Duration::from_millis(500);

/// Doubts that come together are settled together.
const GATHER: Duration = Duration::from_millis(20);

/// How long one look may take: a connection that is cut says nothing for many minutes.
const LOOK: Duration = Duration::from_secs(5);

/// How long the log may be out of reach before streams end, so that their clients look elsewhere.
const PATIENCE: Duration = Duration::from_secs(30);

/// How far this node's clock may be from the database's.
const CLOCKS_APART: Duration = Duration::from_secs(1);

/// What is told of a session that ended longer ago is none of the tail's business: who reads the log leaves it out.
const ENDED: Duration = Duration::from_secs(60);

/// How this node stands to the log and to the others.
#[derive(Default)]
pub struct Heal {
    doubt: Arc<Notify>,
    clock_is_off: AtomicBool,
}

impl Heal {
    /// Woken by `doubt`.
    pub fn new(doubt: Arc<Notify>) -> Self {
        Self { doubt, clock_is_off: AtomicBool::new(false) }
    }

    /// Whether this node's clock is near enough to the database's to decide what is due.
    pub fn clock_is_right(&self) -> bool {
        !self.clock_is_off.load(Ordering::Relaxed)
    }

    /// Has the log looked at now.
    pub fn doubt(&self) {
        self.doubt.notify_one();
    }
}

/// Heals for as long as the server runs.
pub async fn run(app: Arc<App>) {
    let (mut log_seen, mut lost_since) = (Instant::now(), None::<Instant>);
    let mut next_look = Instant::now();
    loop {
        let doubted = tokio::select! {
            () = tokio::time::sleep(POLL) => false,
            () = app.heal.doubt.notified() => true,
        };
        if doubted {
            tokio::time::sleep(GATHER).await;
        }
        let due = Instant::now() >= next_look;
        // Whether the log answers at all is asked more often: that is one small query.
        let comparing = doubted || due || !app.bus.is_whole();
        if !comparing && log_seen.elapsed() <= LOOK {
            continue;
        }
        if comparing {
            let why = if doubted { "doubt" } else { "time" };
            metrics::counter!("cartlink_looks_into_the_log_total", "why" => why).increment(1);
        }
        let asked = Instant::now();
        let left = lost_since.map_or(PATIENCE, |since| PATIENCE.saturating_sub(since.elapsed()));
        // Streams end when their time is up, not when one more look has taken its own.
        let span = if left.is_zero() { LOOK } else { left.min(LOOK) };
        let looked = tokio::time::timeout(span, look(&app, comparing)).await;
        app.db.note_silence(looked.as_ref().map_or(true, |looked| looked.as_ref().is_err_and(db::is_passing)));
        match looked {
            Ok(Ok(())) => (log_seen, lost_since) = (Instant::now(), None),
            Ok(Err(error)) => tracing::warn!(%error, "the log cannot be compared with"),
            Err(_) => tracing::warn!("the log does not answer"),
        }
        if log_seen < asked {
            lost_since.get_or_insert(asked);
        }
        if due {
            next_look = Instant::now() + app.config.heartbeat.0.mul_f64(rand::rng().random_range(0.8..1.0));
        }
        if lost_since.is_some_and(|since| since.elapsed() >= PATIENCE) && app.streams.open() > 0 {
            tracing::error!(
                streams = app.streams.open(),
                "the log has been out of reach for too long: ending all streams"
            );
            app.streams.cut_off();
        }
    }
}

async fn look(app: &App, comparing: bool) -> Result<(), DbErr> {
    compare_clocks(app).await?;
    if !comparing {
        return Ok(());
    }
    catch_up(app).await?;
    let open = app.streams.all();
    for some in open.chunks(CHUNK) {
        for stream in store::ended(app.db.probe(), some).await? {
            app.standings.forget(&stream.owner);
            stream.handle.end(Ending::Revoked);
        }
    }
    Ok(())
}

/// Compares heads, and puts what was missed into the tails.
async fn catch_up(app: &App) -> Result<(), DbErr> {
    let followed = app.broadcaster.followed();
    for some in followed.chunks(CHUNK) {
        let known: HashMap<&Channel, i64> = some.iter().map(|(channel, newest)| (channel, *newest)).collect();
        let channels: Vec<Channel> = some.iter().map(|(channel, _)| channel.clone()).collect();
        let heads = store::heads(app.db.probe(), &channels).await?;
        let behind = |(channel, head): &(Channel, i64)| known.get(channel).is_some_and(|newest| newest < head);
        let behind: Vec<(Channel, i64)> = heads.into_iter().filter(behind).collect();
        if behind.is_empty() {
            continue;
        }
        metrics::counter!("cartlink_healed_channels").increment(behind.len() as u64);
        // A follower that is just starting has no newest yet, and reads for itself.
        let missed: Vec<(Channel, i64)> = behind
            .iter()
            .filter_map(|(channel, _)| Some((channel.clone(), *known.get(channel)?)))
            .filter(|(_, newest)| *newest > 0)
            .collect();
        tell_missed(app, &missed).await?;
        for (channel, head) in behind {
            app.broadcaster.heard(&channel, head);
        }
    }
    Ok(())
}

async fn tell_missed(app: &App, after: &[(Channel, i64)]) -> Result<(), DbErr> {
    let latest = |settings: &str| Settings::parse(settings).limits().max_duration;
    let now = app.clock.now();
    for read in event::store::since_each(app.db.probe(), after, latest).await? {
        if read.session_ended_at.is_none_or(|at| now.since(at) < ENDED) {
            app.broadcaster.publish(read.event);
        }
    }
    Ok(())
}

/// A node whose clock is off would end sessions too early or take codes too long: it is not ready, and does not sweep.
async fn compare_clocks(app: &App) -> Result<(), DbErr> {
    let before = app.clock.now();
    let theirs = store::now(app.db.probe()).await?;
    // A node that is alone is right by definition, and a test's clock is its own.
    if app.config.bus.0 == "local" {
        return Ok(());
    }
    let off = is_off(before, theirs, app.clock.now());
    if off != app.heal.clock_is_off.swap(off, Ordering::Relaxed) {
        if off {
            tracing::error!(%theirs, ours = %before, "this machine's clock is more than a second off the database's: set it right (NTP); not ready until then");
        } else {
            tracing::info!("this machine's clock agrees with the database's");
        }
    }
    Ok(())
}

/// Whether `theirs` lies more than a second outside of the time the question took.
fn is_off(before: Timestamp, theirs: Timestamp, after: Timestamp) -> bool {
    theirs + CLOCKS_APART < before || theirs > after + CLOCKS_APART
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_off_by_more_than_a_second_however_long_the_question_took() {
        let at = |millis: i64| Timestamp(1_768_478_400_000 + millis);
        assert!(!is_off(at(0), at(3), at(5)));
        assert!(!is_off(at(0), at(4_900), at(5_000)));
        assert!(!is_off(at(0), at(-1_000), at(5)));
        assert!(is_off(at(0), at(-1_001), at(5)));
        assert!(is_off(at(0), at(1_006), at(5)));
    }
}

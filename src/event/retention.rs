//! Retention: the only delete of the log. By age, in batches, and never from below an open session.
//!
//! What goes is always a channel's beginning, and its head remembers up to where: whoever comes back
//! with an id from before that gets a marked reset, never a partial tail.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr};

use super::Channel;
use super::store::{self, head};
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::{Db, Txn};

/// How often it looks at all channels: days are what is kept, and a look is a seek in the log for each.
const EVERY: Duration = Duration::from_secs(15 * 60);

/// Events per transaction: short enough that nobody who writes waits for it.
const BATCH: i64 = 1000;

/// Channels per look.
const CHANNELS: u32 = 500;

/// Drops what is too old for as long as the server runs; at once when a test moves the clock.
pub async fn run(app: Arc<App>) {
    loop {
        let moved = app.clock.moved();
        match drop_before(&app.db, app.clock.now() - app.config.keep_events.0).await {
            Ok(0) => {}
            Ok(dropped) => tracing::info!(dropped, "old events were dropped from the log"),
            Err(error) => tracing::warn!(%error, "old events could not be dropped"),
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = moved => {}
        }
    }
}

/// Drops the events before `cutoff`. Returns how many.
pub async fn drop_before(db: &Db, cutoff: Timestamp) -> Result<i64, DbErr> {
    let (mut dropped, mut after) = (0, String::new());
    loop {
        let channels = store::with_oldest_before(db.read(), cutoff, &after, CHANNELS, BATCH).await?;
        let Some((last, _)) = channels.last() else {
            return Ok(dropped);
        };
        let last = last.clone();
        let mut more = false;
        for (name, newest) in channels {
            if let (Some(newest), Ok(channel)) = (newest, Channel::try_from(name)) {
                let batch = db.write(async move |txn: &Txn<'_>| drop_batch(&**txn, &channel, newest).await).await?;
                more |= batch == BATCH;
                dropped += batch;
            }
        }
        // A channel with more of the kind is looked at again, beside its neighbours.
        if !more {
            after = last;
        }
    }
}

/// Drops a channel's events up to `newest`, as far as no open session needs them.
async fn drop_batch(conn: &impl ConnectionTrait, channel: &Channel, newest: i64) -> Result<i64, DbErr> {
    store::lock_head(conn, channel).await?;
    let Some(head) = head(conn, channel).await? else {
        return Ok(0);
    };
    let needed = match channel {
        Channel::Cart(_) => store::first_of_open_session(conn, channel, newest).await?,
        Channel::Emitted(_) => None,
    };
    let upto = newest.min(head.dropped + BATCH).min(needed.map_or(i64::MAX, |seq| seq - 1));
    if upto <= head.dropped {
        return Ok(0);
    }
    store::drop_upto(conn, channel, upto).await?;
    Ok(upto - head.dropped)
}

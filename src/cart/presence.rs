//! A cart whose own stream is open is heard, though it says nothing; so is one that sends heartbeats with no news.
//!
//! Its row is told in batches every second or so: a write per heartbeat would cost more than everything else that carts
//! do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sea_orm::DbErr;

use super::{service, store};
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::Txn;
use crate::failure::Result;
use crate::ids::CartNum;

/// How soon a stream that has just opened counts.
const LOOK: Duration = Duration::from_secs(1);

/// How often one that stays open is noted again: well within the time after which a cart's link is stale.
const AGAIN: Duration = Duration::from_secs(10);

/// Carts per write.
const BATCH: usize = 500;

/// Carts that sent a heartbeat since the last batch, and when.
#[derive(Default)]
pub struct Beats(Mutex<HashMap<CartNum, Timestamp>>);

impl Beats {
    /// This cart sent one.
    pub fn note(&self, cart: CartNum, at: Timestamp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(cart, at);
    }

    fn take(&self) -> Vec<(CartNum, Timestamp)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect()
    }

    /// These could not be written down: the next batch has them too, unless it has later ones.
    fn put_back(&self, beats: &[(CartNum, Timestamp)]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (cart, at) in beats {
            kept.entry(*cart).or_insert(*at);
        }
    }
}

/// Notes carts' open streams for as long as the server runs; at once when a test moves the clock.
pub async fn run(app: Arc<App>) {
    let mut noted = HashMap::new();
    loop {
        let moved = app.clock.moved();
        if let Err(error) = note(&app, &mut noted).await {
            tracing::warn!(error = error.code(), "open streams were not noted");
        }
        note_beats(&app).await;
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = moved => {}
        }
    }
}

/// Notes the carts whose stream has opened, or has been open for a while. `noted`: when each was last.
async fn note(app: &App, noted: &mut HashMap<CartNum, Timestamp>) -> Result<()> {
    let now = app.clock.now();
    let open = app.streams.carts();
    let mut before = std::mem::take(noted);
    let mut due = Vec::new();
    for cart in open {
        match before.remove(&cart).filter(|at| now.since(*at) < AGAIN) {
            Some(at) => {
                noted.insert(cart, at);
            }
            None => due.push(cart),
        }
    }
    for carts in due.chunks(BATCH) {
        let batch = carts.to_vec();
        let back = app.db.write(async move |txn: &Txn<'_>| {
            let back = store::offline(&**txn, &batch).await?;
            store::heard(&**txn, &batch, now).await?;
            Ok::<_, DbErr>(back)
        });
        for cart in back.await? {
            service::back(app, cart).await?;
        }
        noted.extend(carts.iter().map(|cart| (*cart, now)));
    }
    Ok(())
}

/// Writes heartbeats down, each batch as of its first: a second's difference is none.
async fn note_beats(app: &App) {
    let mut beats = app.beats.take();
    beats.sort_unstable_by_key(|(_, at)| *at);
    for some in beats.chunks(BATCH) {
        let (carts, at): (Vec<CartNum>, _) = (some.iter().map(|(cart, _)| *cart).collect(), some[0].1);
        let written = app.db.write(async move |txn: &Txn<'_>| store::beaten(&**txn, &carts, at).await).await;
        match written {
            Ok(written) => {
                let busy: Vec<_> = some.iter().copied().filter(|(cart, _)| !written.contains(cart)).collect();
                app.beats.put_back(&busy);
            }
            Err(error) => {
                tracing::warn!(%error, carts = some.len(), "heartbeats were not noted");
                app.beats.put_back(some);
            }
        }
    }
}

//! Writing emitted events down: whatever waits goes into the log as one transaction.
//!
//! The first emission finds nobody waiting and asks for a transaction; those that come before it has
//! begun ride along. So each is on disk before it is answered, and a burst costs one COMMIT and a
//! handful of statements.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::app::App;
use crate::clock::Timestamp;
use crate::db::Txn;
use crate::event::store::append_all;
use crate::event::{Draft, EventId};
use crate::failure::{Failure, Result};

/// Emissions that wait for the next transaction.
#[derive(Default)]
pub struct Emitting {
    // A std mutex: never held across an await.
    waiting: Mutex<Vec<Waiting>>,
}

struct Waiting {
    drafts: Vec<Draft>,
    answer: oneshot::Sender<EventId>,
}

impl Emitting {
    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is the first to wait, and has to ask for the transaction.
    fn join(&self, waiting: Waiting) -> bool {
        let mut queue = self.lock();
        queue.push(waiting);
        queue.len() == 1
    }

    fn take(&self) -> Vec<Waiting> {
        std::mem::take(&mut self.lock())
    }
}

/// Appends `drafts`, all of one channel, and returns the last one's id once they are on disk.
pub async fn emit(app: &Arc<App>, drafts: Vec<Draft>) -> Result<EventId> {
    let (answer, answered) = oneshot::channel();
    if app.emitting.join(Waiting { drafts, answer }) {
        // A task of its own: others ride along, whether this caller stays or not.
        tokio::task::spawn_local(write_waiting(Arc::clone(app)));
    }
    answered.await.map_err(|_| Failure::Unavailable("the database does not answer"))
}

async fn write_waiting(app: Arc<App>) {
    let now = app.clock.now();
    let begun = Arc::new(AtomicBool::new(false));
    let (emitting, begins) = (Arc::clone(&app.emitting), Arc::clone(&begun));
    let written = app
        .db
        .write(async move |txn: &Txn<'_>| {
            let waiting = emitting.take();
            begins.store(true, Ordering::Release);
            append_each(txn, waiting, now).await
        })
        .await;
    match written {
        Ok(answers) => {
            for (answer, id) in answers {
                // Whoever asked may be gone; the event stands all the same.
                let _gone = answer.send(id);
            }
        }
        Err(error) => {
            tracing::error!(%error, "emitted events were not written");
            // The transaction may not even have begun: nobody must wait for it for ever.
            if !begun.load(Ordering::Acquire) {
                drop(app.emitting.take());
            }
        }
    }
}

/// One after the other in the order they came, and the last id of each.
async fn append_each(
    txn: &Txn<'_>,
    waiting: Vec<Waiting>,
    now: Timestamp,
) -> Result<Vec<(oneshot::Sender<EventId>, EventId)>, sea_orm::DbErr> {
    let mut drafts = Vec::with_capacity(waiting.len());
    let mut lasts = Vec::with_capacity(waiting.len());
    for Waiting { drafts: own, answer } in waiting {
        drafts.extend(own);
        lasts.push((answer, drafts.len() - 1));
    }
    let ids = append_all(txn, drafts, now).await?;
    Ok(lasts.into_iter().map(|(answer, last)| (answer, ids[last].clone())).collect())
}

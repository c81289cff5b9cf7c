//! Writing emitted events down: whatever waits goes into the log as one transaction.
//!
//! The first emission finds nobody waiting and asks for a transaction; those that come before it has
//! begun ride along. So each is on disk before it is answered, and a burst costs one COMMIT and one
//! way to the database.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::oneshot;

use crate::app::App;
use crate::event::store::append_all;
use crate::event::{Draft, EventId};
use crate::failure::{Failure, Result};

/// Whom to tell the id of the last event, or that nobody knows; dropped where nothing was done.
type Answer = oneshot::Sender<Result<EventId>>;

/// Emissions that wait for the next transaction.
#[derive(Default)]
pub struct Emitting {
    // A std mutex: never held across an await.
    waiting: Mutex<Vec<Waiting>>,
}

struct Waiting {
    drafts: Vec<Draft>,
    answer: Answer,
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
    answered.await.map_err(|_| Failure::Unavailable("the database does not answer"))?
}

async fn write_waiting(app: Arc<App>) {
    let now = app.clock.now();
    // Taken once, when the transaction begins: where it has to be tried again, it is the same ones'.
    let riding: Arc<OnceLock<Riding>> = Arc::default();
    let (emitting, board) = (Arc::clone(&app.emitting), Arc::clone(&riding));
    let drafts = move || board.get_or_init(|| Riding::of(emitting.take())).drafts.clone();
    let written: Result<Vec<EventId>> = append_all(&app.db, drafts, now).await;
    match written {
        Ok(ids) => {
            for (answer, last) in riding.get().map(Riding::answers).unwrap_or_default() {
                // Whoever asked may be gone; the event stands all the same.
                let _gone = answer.send(Ok(ids[last].clone()));
            }
        }
        Err(error) => {
            tracing::error!(%error, "emitted events were not written");
            match riding.get() {
                Some(riding) if matches!(error, Failure::InDoubt) => {
                    for (answer, _) in riding.answers() {
                        let _gone = answer.send(Err(Failure::InDoubt));
                    }
                }
                Some(_) => {}
                // The transaction has not even begun: nobody must wait for it for ever.
                None => drop(app.emitting.take()),
            }
        }
    }
}

/// Emissions that share a transaction: one after the other in the order they came, and where each ends.
struct Riding {
    drafts: Vec<Draft>,
    answers: Mutex<Vec<(Answer, usize)>>,
}

impl Riding {
    fn of(waiting: Vec<Waiting>) -> Self {
        let mut drafts = Vec::with_capacity(waiting.len());
        let mut answers = Vec::with_capacity(waiting.len());
        for Waiting { drafts: own, answer } in waiting {
            drafts.extend(own);
            answers.push((answer, drafts.len() - 1));
        }
        Self { drafts, answers: Mutex::new(answers) }
    }

    fn answers(&self) -> Vec<(Answer, usize)> {
        std::mem::take(&mut self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

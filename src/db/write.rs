//! Writing: each write is a transaction, whose events are told after its COMMIT.

use std::cell::RefCell;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbErr, RuntimeErr, SqliteTransactionMode, TransactionOptions,
    TransactionTrait,
};
use tokio::sync::{mpsc, oneshot};

use super::direct::{Direct, DirectTxn};
use super::failing::{AT_ONCE, is_broken, is_passing, lost_a_race, soon};
use super::{Db, Fate, Told};
use crate::event::Event;
use crate::failure::Failure;

/// How often a transaction begins anew where the connection turns out to be broken. Nothing is written before that.
const BEGINNINGS: u32 = 3;

/// How often a write is tried that the database undoes.
const TRIES: u32 = 3;

/// From here on the one who asked has waited long enough, and is refused.
const TRYING: Duration = Duration::from_secs(3);

/// The longest pause before a write is tried again; at random, so that two that clashed do not meet again.
const PAUSE: Duration = Duration::from_millis(30);

/// How many writes share one COMMIT at most: bounds how long the first of them waits.
const GROUP: usize = 64;

/// From the beginning of one group to that of the next, at least: where writes come thick and fast, more of them share
/// a COMMIT, which costs more than all else. A write that comes alone does not wait.
const PACE: Duration = Duration::from_millis(1);

#[derive(Clone)]
pub(super) enum Writer {
    /// SQLite: the thread that owns the writing connection.
    Thread(mpsc::UnboundedSender<Job>),
    /// PostgreSQL: any connection of the pool.
    Pool(DatabaseConnection),
}

impl Writer {
    /// Starts the thread that writes through these connections, and nobody else.
    pub(super) fn thread(connection: DatabaseConnection, direct: Direct, told: Told) -> Result<Self, DbErr> {
        let (sender, jobs) = mpsc::unbounded_channel();
        std::thread::Builder::new()
            .name("sqlite-writer".into())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a current-thread runtime needs nothing that can be missing");
                runtime.block_on(write_in_groups(connection, direct, jobs, told));
            })
            .map_err(|error| DbErr::Custom(format!("no thread for the writer: {error}")))?;
        Ok(Self::Thread(sender))
    }
}

/// What a write may fail with.
pub trait WriteError: From<DbErr> {
    /// Whether the database has undone all of it for reasons that may be gone at once.
    fn is_undone(&self) -> bool;

    /// The connection was lost while it committed: it may stand or not.
    fn in_doubt(cause: DbErr) -> Self;
}

impl WriteError for DbErr {
    fn is_undone(&self) -> bool {
        lost_a_race(self) || is_broken(self)
    }

    fn in_doubt(cause: DbErr) -> Self {
        Self::Conn(RuntimeErr::Internal(format!("no answer to COMMIT: {cause}")))
    }
}

impl WriteError for Failure {
    fn is_undone(&self) -> bool {
        matches!(self, Self::Undone)
    }

    fn in_doubt(cause: DbErr) -> Self {
        tracing::error!(%cause, "the database did not answer to COMMIT");
        Self::InDoubt
    }
}

/// A transaction being written, and the events born in it.
pub struct Txn<'t> {
    inner: &'t DatabaseTransaction,
    outbox: RefCell<Vec<Event>>,
}

impl Txn<'_> {
    /// Has `event`, whose row this transaction wrote, told after COMMIT.
    pub fn tell_after_commit(&self, event: Event) {
        self.outbox.borrow_mut().push(event);
    }
}

impl Deref for Txn<'_> {
    type Target = DatabaseTransaction;
    fn deref(&self) -> &DatabaseTransaction {
        self.inner
    }
}

/// A write on its way to the writer's thread.
pub(super) enum Job {
    /// One among others in a transaction.
    Shared(Shared),
    /// One that is a transaction by itself, and answers by itself.
    Direct(Alone),
}

/// A write that shares its transaction. What it returns waits for the COMMIT.
type Shared =
    Box<dyn for<'t> FnOnce(&'t DatabaseTransaction, bool) -> Pin<Box<dyn Future<Output = Settled> + 't>> + Send>;

/// A write that has its transaction, its telling and its answer to itself.
type Alone = Box<dyn FnOnce(&mut Direct, &Told) + Send>;

/// What a job left behind: whether its part stands, its events, and whom to answer.
pub(super) struct Settled {
    stands: bool,
    events: Vec<Event>,
    answer: Box<dyn FnOnce(Result<(), DbErr>)>,
}

impl Db {
    /// Runs `work` in one transaction: all of it stands after an `Ok`, nothing after an `Err`, unless that says that it is
    /// [in doubt](WriteError::in_doubt). Where the database undoes it, a copy of `work` is run again from the beginning: it
    /// must do nothing but write to this transaction.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: AsyncFnOnce(&Txn<'_>) -> Result<T, E> + Clone + Send + 'static,
        T: Send + 'static,
        E: WriteError + Send + 'static,
    {
        match &self.writer {
            Writer::Thread(jobs) => {
                let (answer, answered) = oneshot::channel();
                jobs.send(Job::Shared(shared(work, answer))).map_err(|_| stopped())?;
                answered.await.map_err(|_| stopped())?
            }
            // A task of its own: a caller that goes away must not part COMMIT from telling.
            Writer::Pool(pool) => {
                let pool = if self.is_silent() { &self.nobody } else { pool }.clone();
                let told = Arc::clone(&self.told);
                let written = tokio::task::spawn_local(write_alone(pool, told, work)).await;
                written.map_err(|_| stopped())?
            }
        }
    }

    /// As [`write`](Self::write), on the writer's thread itself and by statements that are answered at once. SQLite only.
    pub async fn write_directly<T: Send + 'static>(
        &self,
        work: impl FnOnce(&DirectTxn<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DbErr> {
        let Writer::Thread(jobs) = &self.writer else {
            return Err(DbErr::BackendNotSupported { db: "PostgreSQL", ctx: "writing directly" });
        };
        let (answer, answered) = oneshot::channel();
        let job = Job::Direct(Box::new(move |direct, told| {
            let written = direct.write(work).map(|(result, events)| {
                // Told from here, and not by whoever asked: what another thread wakes stands behind what a worker has to do
                // anyway, so that requests do not wait for the followers of a hot channel.
                if !events.is_empty() {
                    told(Fate::Committed(events));
                }
                result
            });
            // Whoever asked may be gone; the write stands all the same.
            let _gone = answer.send(written);
        }));
        jobs.send(job).map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

fn stopped() -> DbErr {
    DbErr::Conn(RuntimeErr::Internal("the database's writer has stopped".into()))
}

/// Wraps `work` so that its result reaches `answer` once the group's fate is known.
fn shared<T, E, F>(work: F, answer: oneshot::Sender<Result<T, E>>) -> Shared
where
    F: AsyncFnOnce(&Txn<'_>) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<DbErr> + Send + 'static,
{
    Box::new(move |group, saved| {
        Box::pin(async move {
            let (result, events) = if saved { in_savepoint(group, work).await } else { directly(group, work).await };
            let stands = result.is_ok();
            let answer = Box::new(move |committed: Result<(), DbErr>| {
                let result = match committed {
                    Err(error) if result.is_ok() => Err(E::from(error)),
                    _ => result,
                };
                // Whoever asked may be gone; the write stands all the same.
                let _gone = answer.send(result);
            });
            Settled { stands, events, answer }
        })
    })
}

async fn directly<T, E>(
    group: &DatabaseTransaction,
    work: impl AsyncFnOnce(&Txn<'_>) -> Result<T, E>,
) -> (Result<T, E>, Vec<Event>) {
    let txn = Txn { inner: group, outbox: RefCell::default() };
    let result = work(&txn).await;
    (result, txn.outbox.into_inner())
}

async fn in_savepoint<T, E: From<DbErr>>(
    group: &DatabaseTransaction,
    work: impl AsyncFnOnce(&Txn<'_>) -> Result<T, E>,
) -> (Result<T, E>, Vec<Event>) {
    let savepoint = match savepoint(group).await {
        Ok(savepoint) => savepoint,
        Err(error) => return (Err(error.into()), Vec::new()),
    };
    let (result, events) = directly(&savepoint, work).await;
    let closed = if result.is_ok() { savepoint.commit().await } else { savepoint.rollback().await };
    match closed {
        Ok(()) => (result, events),
        Err(error) => (result.and(Err(error.into())), Vec::new()),
    }
}

#[expect(clippy::disallowed_methods, reason = "a savepoint inside a transaction that is IMMEDIATE already")]
async fn savepoint(group: &DatabaseTransaction) -> Result<DatabaseTransaction, DbErr> {
    group.begin().await
}

/// The writer's life: take what waits, write it as one transaction, tell, answer.
async fn write_in_groups(
    writer: DatabaseConnection,
    mut direct: Direct,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    told: Told,
) {
    let (mut begun, mut put_back): (Option<Instant>, _) = (None, None);
    while let Some(first) = if put_back.is_some() { put_back.take() } else { jobs.recv().await } {
        if let Some(early) = begun.and_then(|begun| PACE.checked_sub(begun.elapsed())) {
            // The thread is this loop's own, and the runtime's timer knows milliseconds only.
            std::thread::sleep(early);
        }
        begun = Some(Instant::now());
        match first {
            Job::Direct(job) => job(&mut direct, &told),
            Job::Shared(first) => put_back = write_group(&writer, first, &mut jobs, &told).await,
        }
    }
}

/// Writes `first` and what waits behind it, up to a job that does not share. Returns that.
async fn write_group(
    writer: &DatabaseConnection,
    first: Shared,
    jobs: &mut mpsc::UnboundedReceiver<Job>,
    told: &Told,
) -> Option<Job> {
    let immediate = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let group = match writer.begin_with_options(immediate).await {
        Ok(group) => group,
        Err(error) => {
            tracing::error!(%error, "cannot begin a transaction");
            // Dropping the job tells its caller that the writer could not.
            return None;
        }
    };
    let alone = jobs.is_empty();
    let mut put_back = None;
    let mut settled = vec![first(&group, !alone).await];
    while !alone
        && settled.len() < GROUP
        && let Ok(next) = jobs.try_recv()
    {
        match next {
            Job::Shared(next) => settled.push(next(&group, true).await),
            direct @ Job::Direct(_) => {
                put_back = Some(direct);
                break;
            }
        }
    }
    let stands = settled.iter().any(|job| job.stands);
    let committed = if stands { group.commit().await } else { group.rollback().await };
    if let Err(error) = &committed {
        tracing::error!(%error, writes = settled.len(), "a group of writes did not commit");
    }
    for job in settled {
        if job.stands && committed.is_ok() && !job.events.is_empty() {
            told(Fate::Committed(job.events));
        }
        (job.answer)(committed.clone());
    }
    put_back
}

/// Tries until the write stands, is refused, is in doubt, or has been undone too often.
async fn write_alone<T, E: WriteError>(
    pool: DatabaseConnection,
    told: Told,
    work: impl AsyncFnOnce(&Txn<'_>) -> Result<T, E> + Clone,
) -> Result<T, E> {
    let began = Instant::now();
    for _ in 1..TRIES {
        match try_alone(&pool, &told, work.clone()).await {
            Err(error) if error.is_undone() && began.elapsed() < TRYING => {}
            done => return done,
        }
        metrics::counter!("cartlink_writes_repeated_total").increment(1);
        tokio::time::sleep(PAUSE.mul_f64(rand::rng().random_range(0.1..1.0))).await;
    }
    try_alone(&pool, &told, work).await
}

async fn try_alone<T, E: WriteError>(
    pool: &DatabaseConnection,
    told: &Told,
    work: impl AsyncFnOnce(&Txn<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let txn = begin(pool).await?;
    let (result, events) = directly(&txn, work).await;
    if result.is_err() {
        // Where it cannot be rolled back, the server has lost it, and the rollback with it: what was refused stays so.
        let _lost = tokio::time::timeout(AT_ONCE, txn.rollback()).await;
        return result;
    }
    match soon(txn.commit()).await {
        Ok(()) => {
            if !events.is_empty() {
                told(Fate::Committed(events));
            }
            result
        }
        // The server says so itself: nothing stands.
        Err(error) if lost_a_race(&error) => Err(error.into()),
        Err(error) => {
            if !events.is_empty() {
                told(Fate::Unknown);
            }
            Err(E::in_doubt(error))
        }
    }
}

async fn begin(pool: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let mut tries = 1;
    loop {
        let asked = Instant::now();
        match soon(pool.begin_with_options(TransactionOptions::default())).await {
            Err(error) if tries < BEGINNINGS && is_passing(&error) && asked.elapsed() < AT_ONCE => tries += 1,
            begun => return begun,
        }
    }
}

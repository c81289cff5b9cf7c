//! The database: one way to read, one way to write, on SQLite and PostgreSQL alike.
//!
//! [`Db::write`] is a transaction whose events are told only after COMMIT, and always then: what a
//! caller does after it, or whether the caller still exists, makes no difference. On SQLite one
//! thread owns the writing connection and commits all that waits as one transaction, each write in
//! a savepoint of its own; PostgreSQL groups commits by itself. What PostgreSQL undoes, because two
//! transactions waited for each other or a connection was lost before COMMIT, is done once more; what
//! was lost while it committed is not, for it may stand.

use std::cell::RefCell;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cartlink_migrations::{Migrator, MigratorTrait};
use rand::RngExt;
pub use sea_orm::ConnectionTrait as Connection;
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult,
    FromQueryResult, QueryResult, RuntimeErr, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
    Value,
};
use tokio::sync::{mpsc, oneshot};

use crate::event::Event;
use crate::failure::Failure;

/// What became of a transaction in which events were born.
pub enum Fate {
    /// It stands; these are its events.
    Committed(Vec<Event>),
    /// The connection was lost while it committed: the log knows.
    Unknown,
}

/// Told of each such transaction, after its COMMIT.
pub type Told = Arc<dyn Fn(Fate) + Send + Sync>;

/// How long PostgreSQL may say nothing at all. `--statement-timeout` is shorter, so this bites only where the link
/// is cut: TCP alone would wait for a quarter of an hour.
pub const SILENCE: Duration = Duration::from_secs(12);

/// A connection that was unused for this long is tried before it is relied on: the server may have been restarted.
const STALE: Duration = Duration::from_secs(1);

/// How often a transaction begins anew where the connection turns out to be broken. Nothing is written before that.
const BEGINNINGS: u32 = 3;

/// A broken connection shows at once. What has been waited for longer is silence, and waiting for it again would keep
/// whoever asks from an honest refusal.
const AT_ONCE: Duration = Duration::from_secs(1);

/// How often a write is tried that the database undoes.
const TRIES: u32 = 3;

/// From here on the one who asked has waited long enough, and is refused.
const TRYING: Duration = Duration::from_secs(3);

/// The longest pause before a write is tried again; at random, so that two that clashed do not meet again.
const PAUSE: Duration = Duration::from_millis(30);

/// Where the data lives and how many connections may go there.
#[derive(Clone, Debug)]
pub struct Location {
    /// `sqlite://path/to/file` or `postgres://…`.
    pub url: String,
    /// Connections at most (SQLite: for reading).
    pub connections: u32,
    /// How long a statement may take on PostgreSQL.
    pub statement_timeout: Duration,
}

/// An open database.
#[derive(Clone)]
pub struct Db {
    location: Location,
    read: DatabaseConnection,
    writer: Writer,
    told: Told,
    silent: Arc<AtomicBool>,
    /// What is asked instead of a database that is silent: refuses at once.
    nobody: DatabaseConnection,
}

#[derive(Clone)]
enum Writer {
    /// SQLite: the thread that owns the writing connection.
    Thread(mpsc::UnboundedSender<Job>),
    /// PostgreSQL: any connection of the pool.
    Pool(DatabaseConnection),
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

/// A write on its way to the writer's thread. What it returns waits for the COMMIT.
type Job = Box<dyn for<'t> FnOnce(&'t DatabaseTransaction, bool) -> Pin<Box<dyn Future<Output = Settled> + 't>> + Send>;

/// What a job left behind: whether its part stands, its events, and whom to answer.
struct Settled {
    stands: bool,
    events: Vec<Event>,
    answer: Box<dyn FnOnce(Result<(), DbErr>)>,
}

/// How many writes share one COMMIT at most: bounds how long the first of them waits.
const GROUP: usize = 64;

/// From the beginning of one group to that of the next, at least: where writes come thick and fast, more of them share
/// a COMMIT, which costs more than all else. A write that comes alone does not wait.
const PACE: Duration = Duration::from_micros(750);

impl Db {
    /// Connects. The schema is [`migrate`](Self::migrate)'s business.
    pub async fn open(location: &Location, told: Told) -> Result<Self, DbErr> {
        let (location, silent) = (location.clone(), Arc::<AtomicBool>::default());
        if !location.url.starts_with("sqlite:") {
            let pool = Database::connect(postgres(&location, &silent)).await?;
            let nobody = Database::connect(postgres(&location, &silent).connect_lazy(true).to_owned()).await?;
            nobody.close_by_ref().await?;
            return Ok(Self { location, read: pool.clone(), writer: Writer::Pool(pool), told, silent, nobody });
        }
        // The writer first: it makes the file and puts it into WAL mode.
        let writer = Database::connect(sqlite(&location, false)).await?;
        let read = Database::connect(sqlite(&location, true)).await?;
        let (sender, jobs) = mpsc::unbounded_channel();
        let tell = Arc::clone(&told);
        std::thread::Builder::new()
            .name("sqlite-writer".into())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a current-thread runtime needs nothing that can be missing");
                runtime.block_on(write_in_groups(writer, jobs, tell));
            })
            .map_err(|error| DbErr::Custom(format!("no thread for the writer: {error}")))?;
        Ok(Self { location, nobody: read.clone(), read, writer: Writer::Thread(sender), told, silent })
    }

    /// For reading outside a transaction.
    pub fn read(&self) -> &DatabaseConnection {
        if self.is_silent() { &self.nobody } else { &self.read }
    }

    /// For asking whether the database is there: also while it is silent.
    pub fn probe(&self) -> &DatabaseConnection {
        &self.read
    }

    /// Notes whether PostgreSQL was silent when it was last asked. While it is, whoever asks for something is refused at
    /// once, and a connection that was left in mid-sentence is closed: giving it back to the pool would wait for an
    /// answer, and hold its place as long.
    pub fn note_silence(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }

    fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// Which dialect is spoken.
    pub fn is_postgres(&self) -> bool {
        matches!(self.writer, Writer::Pool(_))
    }

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
                jobs.send(job(work, answer)).map_err(|_| stopped())?;
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

    /// Brings the schema up to date, under a lock where several nodes may try at once. A step may take as long as it
    /// needs, and so may waiting for the node that takes it: no time-out holds on these connections.
    pub async fn migrate(&self) -> Result<(), DbErr> {
        match &self.writer {
            Writer::Pool(_) => {
                let patient = Location { connections: 2, statement_timeout: Duration::ZERO, ..self.location.clone() };
                let pool = Database::connect(postgres(&patient, &self.silent)).await?;
                let lock = pool.begin_with_options(TransactionOptions::default()).await?;
                // Any constant will do, as long as every node takes the same one.
                lock.execute_unprepared("SELECT pg_advisory_xact_lock(7250226)").await?;
                Migrator::up(&pool, None).await?;
                lock.commit().await?;
                pool.close().await
            }
            Writer::Thread(_) => self.write(async |txn: &Txn<'_>| Migrator::up(txn.inner, None).await).await,
        }
    }

    /// How many steps of the schema are missing.
    pub async fn pending_migrations(&self) -> Result<usize, DbErr> {
        Migrator::get_pending_migrations(&self.read).await.map(|steps| steps.len())
    }
}

fn stopped() -> DbErr {
    DbErr::Conn(RuntimeErr::Internal("the database's writer has stopped".into()))
}

fn sqlite(location: &Location, read_only: bool) -> ConnectOptions {
    let mut options = ConnectOptions::new(location.url.clone());
    options
        .sqlx_logging(false)
        .test_before_acquire(false)
        .max_connections(if read_only { location.connections.clamp(1, 8) } else { 1 })
        .min_connections(1)
        .map_sqlx_sqlite_opts(move |options| {
            options
                .create_if_missing(true)
                .read_only(read_only)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .foreign_keys(true)
                .busy_timeout(Duration::from_secs(10))
                .pragma("temp_store", "memory")
                .pragma("cache_size", "-32000")
        });
    options
}

fn postgres(location: &Location, silent: &Arc<AtomicBool>) -> ConnectOptions {
    let mut options = ConnectOptions::new(location.url.clone());
    let timeout = location.statement_timeout.as_millis();
    let silent = Arc::clone(silent);
    options
        .sqlx_logging(false)
        .max_connections(location.connections)
        .min_connections(1)
        .test_before_acquire_if_idle_for(STALE)
        .acquire_timeout(Duration::from_secs(5))
        .connect_timeout(Duration::from_secs(5))
        .map_sqlx_postgres_opts(move |options| {
            options
                .application_name("cartlink")
                .options([("statement_timeout", timeout.to_string()), ("lock_timeout", timeout.to_string())])
        })
        .map_sqlx_postgres_pool_opts(move |pool| {
            let silent = Arc::clone(&silent);
            pool.after_release(move |_, _| {
                let keep = !silent.load(Ordering::Relaxed);
                Box::pin(async move { Ok(keep) })
            })
        });
    options
}

/// Wraps `work` so that its result reaches `answer` once the group's fate is known.
fn job<T, E, F>(work: F, answer: oneshot::Sender<Result<T, E>>) -> Job
where
    F: AsyncFnOnce(&Txn<'_>) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<DbErr> + Send + 'static,
{
    Box::new(move |group, shared| {
        Box::pin(async move {
            let (result, events) = if shared { in_savepoint(group, work).await } else { directly(group, work).await };
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
async fn write_in_groups(writer: DatabaseConnection, mut jobs: mpsc::UnboundedReceiver<Job>, told: Told) {
    let immediate = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let mut begun: Option<Instant> = None;
    while let Some(first) = jobs.recv().await {
        if let Some(early) = begun.and_then(|begun| PACE.checked_sub(begun.elapsed())) {
            // The thread is this loop's own, and the runtime's timer knows milliseconds only.
            std::thread::sleep(early);
        }
        begun = Some(Instant::now());
        let group = match writer.begin_with_options(immediate).await {
            Ok(group) => group,
            Err(error) => {
                tracing::error!(%error, "cannot begin a transaction");
                // Dropping the job tells its caller that the writer could not.
                continue;
            }
        };
        let alone = jobs.is_empty();
        let mut settled = vec![first(&group, !alone).await];
        while !alone
            && settled.len() < GROUP
            && let Ok(next) = jobs.try_recv()
        {
            settled.push(next(&group, true).await);
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
    }
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

/// The answer, or that there was none for too long.
async fn soon<T>(answer: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
    let silent = |_| DbErr::Conn(RuntimeErr::Internal(format!("PostgreSQL has said nothing for {SILENCE:?}")));
    tokio::time::timeout(SILENCE, answer).await.map_err(silent)?
}

/// As [`soon`], where there is a link that can be cut.
async fn answered<T>(conn: &impl ConnectionTrait, answer: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
    match conn.get_database_backend() {
        DbBackend::Postgres => soon(answer).await,
        _ => answer.await,
    }
}

/// Asks once more where the connection turns out to be broken, on another one. A transaction has but one, and fails with
/// it: nothing is written twice.
async fn asked<T>(
    conn: &impl ConnectionTrait,
    statement: Statement,
    ask: impl AsyncFn(Statement) -> Result<T, DbErr>,
) -> Result<T, DbErr> {
    if conn.get_database_backend() != DbBackend::Postgres {
        return ask(statement).await;
    }
    let began = Instant::now();
    match soon(ask(statement.clone())).await {
        Err(error) if is_broken(&error) && began.elapsed() < AT_ONCE => soon(ask(statement)).await,
        answer => answer,
    }
}

/// Whether the server undid a transaction in favour of another: two waited for each other, or it could not be serialised.
fn lost_a_race(error: &DbErr) -> bool {
    const SERIALIZATION_FAILURE: &str = "40001";
    const DEADLOCK_DETECTED: &str = "40P01";
    let (DbErr::Conn(cause) | DbErr::Exec(cause) | DbErr::Query(cause)) = error else { return false };
    let RuntimeErr::SqlxError(cause) = cause else { return false };
    let state = cause.as_database_error().and_then(|error| error.code());
    state.is_some_and(|state| [SERIALIZATION_FAILURE, DEADLOCK_DETECTED].contains(&state.as_ref()))
}

/// Whether the connection is gone, by the server's or the network's doing.
fn is_broken(error: &DbErr) -> bool {
    const SIGNS: &[&str] =
        &["terminating connection", "Connection reset", "expected to read", "error communicating", "Broken pipe"];
    let text = error.to_string();
    SIGNS.iter().any(|sign| text.contains(sign))
}

/// Whether it is worth another try: a database that is down, starting or stopping, a full disk, a lost race.
pub fn is_passing(error: &DbErr) -> bool {
    const SIGNS: &[&str] = &[
        "disk is full",
        "disk I/O error",
        "database is locked",
        "timeout",
        "timed out",
        "terminating connection",
        "Connection refused",
        "Connection reset",
        "connection closed",
        "expected to read",
        "error communicating",
        "shutting down",
        "starting up",
        "recovery mode",
        "too many clients",
        "No space left",
        "Broken pipe",
    ];
    let text = error.to_string();
    // Said in one breath with what may pass: somebody else answers, or the authority is another.
    !text.contains("invalid peer certificate")
        && (matches!(error, DbErr::ConnectionAcquire(_))
            || lost_a_race(error)
            || SIGNS.iter().any(|sign| text.contains(sign))
            || matches!(error, DbErr::Conn(RuntimeErr::Internal(_))))
}

/// One statement with its values; `$1`-style places in both dialects. Each one made is counted.
pub fn sql(conn: &impl ConnectionTrait, text: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    metrics::counter!("cartlink_database_statements_total").increment(1);
    Statement::from_sql_and_values(conn.get_database_backend(), text, values)
}

/// Executes a statement.
pub async fn execute(
    conn: &impl ConnectionTrait,
    text: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<ExecResult, DbErr> {
    answered(conn, conn.execute_raw(sql(conn, text, values))).await
}

/// At most one row, as `R`.
pub async fn one<R: FromQueryResult>(
    conn: &impl ConnectionTrait,
    text: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Option<R>, DbErr> {
    row(conn, text, values).await?.map(|row| R::from_query_result(&row, "")).transpose()
}

/// At most one row, as it is.
pub async fn row(
    conn: &impl ConnectionTrait,
    text: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Option<QueryResult>, DbErr> {
    let statement = sql(conn, text, values);
    asked(conn, statement, async |statement| conn.query_one_raw(statement).await).await
}

/// All rows, as `R`.
pub async fn all<R: FromQueryResult>(
    conn: &impl ConnectionTrait,
    text: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Vec<R>, DbErr> {
    let statement = sql(conn, text, values);
    let rows = asked(conn, statement, async |statement| conn.query_all_raw(statement).await).await?;
    rows.iter().map(|row| R::from_query_result(row, "")).collect()
}

/// ` FOR UPDATE` where the database has row locks; SQLite's one writer needs none.
pub fn for_update(conn: &impl ConnectionTrait) -> &'static str {
    match conn.get_database_backend() {
        DbBackend::Sqlite => "",
        _ => " FOR UPDATE",
    }
}

/// Locks the row that `text` selects until the transaction ends. What is read together with other tables is locked first and
/// read then: on PostgreSQL a joined read that had to wait shows this row as it is now, and the others as they were before.
pub async fn lock(conn: &impl ConnectionTrait, text: &str, value: Value) -> Result<(), DbErr> {
    match for_update(conn) {
        "" => Ok(()),
        clause => row(conn, &format!("{text}{clause}"), [value]).await.map(drop),
    }
}

/// Whether one statement may hold several writes (`WITH a AS (INSERT …) INSERT …`): each that is saved is a trip to the
/// server and back. SQLite has no such statement, and no trips.
pub fn writes_in_with(conn: &impl ConnectionTrait) -> bool {
    conn.get_database_backend() == DbBackend::Postgres
}

/// A table `w` of the elements (`value`) of the JSON array that is the statement's first value: any number of rows by one
/// text. `w.value ->> 0` reads an element's first member in both dialects.
pub fn json_rows(conn: &impl ConnectionTrait) -> &'static str {
    match conn.get_database_backend() {
        DbBackend::Sqlite => "json_each($1) w",
        _ => "json_array_elements($1::text::json) AS w (value)",
    }
}

impl From<DbErr> for Failure {
    fn from(error: DbErr) -> Self {
        let text = error.to_string();
        if error.is_undone() {
            tracing::warn!(cause = text, "the database undid a transaction, or lost a connection");
            return Self::Undone;
        }
        // Honest, and worth another try.
        if is_passing(&error) {
            tracing::error!(cause = text, "the database did not answer");
            Self::Unavailable("the database does not answer")
        } else {
            Self::Internal(text)
        }
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

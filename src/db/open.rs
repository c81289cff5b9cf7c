//! Opening a database, and bringing its schema up to date.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cartlink_migrations::{Migrator, MigratorTrait};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DbErr, RuntimeErr, TransactionOptions, TransactionTrait};

use super::direct::Direct;
use super::write::{Txn, Writer};
use super::{Db, Told};

/// A connection that was unused for this long is tried before it is relied on: the server may have been restarted.
const STALE: Duration = Duration::from_secs(1);

/// Pages SQLite writes ahead before it copies them to their places, 16 MiB: a page that changes again meanwhile is copied
/// once. Four times its default, for nearly each event changes a page of the log's index.
pub(super) const CHECKPOINT: &str = "4000";

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
        let direct = Direct::open(sqlite_file(&location.url)?.get_filename())?;
        let writer = Writer::thread(writer, direct, Arc::clone(&told))?;
        Ok(Self { location, nobody: read.clone(), read, writer, told, silent })
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
            Writer::Thread(_) => self.write(async |txn: &Txn<'_>| Migrator::up(&**txn, None).await).await,
        }
    }

    /// How many steps of the schema are missing.
    pub async fn pending_migrations(&self) -> Result<usize, DbErr> {
        Migrator::get_pending_migrations(&self.read).await.map(|steps| steps.len())
    }
}

fn sqlite_file(url: &str) -> Result<SqliteConnectOptions, DbErr> {
    url.parse().map_err(|error: sea_orm::sqlx::Error| DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error))))
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
                .pragma("wal_autocheckpoint", CHECKPOINT)
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

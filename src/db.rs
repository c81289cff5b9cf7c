//! The database: one way to read, one way to write, on SQLite and PostgreSQL alike.
//!
//! [`Db::write`] is a transaction whose events are told only after COMMIT, and always then: what a
//! caller does after it, or whether the caller still exists, makes no difference. On SQLite one
//! thread does all the writing and commits what waits as one transaction, each write in a savepoint
//! of its own; what comes in great numbers has a transaction to itself there, without sea-orm's trips
//! ([`Db::write_directly`]). PostgreSQL groups commits by itself. What PostgreSQL undoes, because two
//! transactions waited for each other or a connection was lost before COMMIT, is done once more; what
//! was lost while it committed is not, for it may stand.

mod direct;
mod failing;
mod open;
mod sql;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use sea_orm::ConnectionTrait as Connection;
use sea_orm::DatabaseConnection;

pub use self::direct::DirectTxn;
pub use self::failing::is_passing;
pub use self::open::Location;
pub use self::sql::{all, execute, for_update, is_postgres, lock, one, row, sql};
use self::write::Writer;
pub use self::write::{Txn, WriteError};
use crate::event::Event;

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

impl Db {
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
}

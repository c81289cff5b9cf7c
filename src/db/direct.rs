//! SQLite without a trip for each statement: for what is written in great numbers.
//!
//! A statement through sqlx goes to a thread of its own and back, which costs several times what it does for one event.
//! So the writer's thread has a second connection beside sqlx's, of the very same SQLite, and calls it itself. It uses one
//! or the other, never both at once: there is still one writer.

use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

use rusqlite::{CachedStatement, Connection};
use sea_orm::{DbErr, RuntimeErr};

use super::open::CHECKPOINT;
use super::sql::count;
use crate::event::Event;

/// The writer's connection for this.
pub(super) struct Direct(Connection);

/// A transaction, as [`Txn`](super::Txn) is one, of statements that are answered at once.
pub struct DirectTxn<'t> {
    inner: &'t Connection,
    outbox: RefCell<Vec<Event>>,
}

impl Direct {
    /// Opens the file that [`Txn`](super::Txn)s are written to as well, with the same settings.
    pub(super) fn open(file: &Path) -> Result<Self, DbErr> {
        let opened = || {
            let connection = Connection::open(file)?;
            connection.busy_timeout(Duration::from_secs(10))?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "foreign_keys", true)?;
            connection.pragma_update(None, "temp_store", "memory")?;
            connection.pragma_update(None, "cache_size", -32_000)?;
            connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT)?;
            Ok(connection)
        };
        opened().map(Self).map_err(failed)
    }

    /// Runs `work` in one transaction, and returns the events born in it once they stand.
    pub(super) fn write<T>(
        &mut self,
        work: impl FnOnce(&DirectTxn<'_>) -> rusqlite::Result<T>,
    ) -> Result<(T, Vec<Event>), DbErr> {
        let written = self.try_write(work);
        if written.is_err() && !self.0.is_autocommit() {
            // Where SQLite cannot even undo it, the next BEGIN says so.
            let _undone = self.0.execute_batch("ROLLBACK");
        }
        written.map_err(failed)
    }

    fn try_write<T>(
        &self,
        work: impl FnOnce(&DirectTxn<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<(T, Vec<Event>)> {
        self.0.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let txn = DirectTxn { inner: &self.0, outbox: RefCell::default() };
        let result = work(&txn)?;
        let events = txn.outbox.into_inner();
        self.0.prepare_cached("COMMIT")?.execute([])?;
        Ok((result, events))
    }
}

impl DirectTxn<'_> {
    /// A statement, prepared once and counted each time.
    pub fn prepared(&self, text: &str) -> rusqlite::Result<CachedStatement<'_>> {
        count();
        self.inner.prepare_cached(text)
    }

    /// Has `event`, whose row this transaction wrote, told after COMMIT.
    pub fn tell_after_commit(&self, event: Event) {
        self.outbox.borrow_mut().push(event);
    }
}

/// In the words in which sqlx says it.
fn failed(error: rusqlite::Error) -> DbErr {
    DbErr::Exec(RuntimeErr::Internal(error.to_string()))
}

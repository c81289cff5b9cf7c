//! SQLite's event log in the order in which it is written. In the order of its channels, each event was a page to read, to
//! write to the log ahead and to copy from there, and its channel's head another: now it joins the last page, and only
//! the index says which channel's it is. Where a log ends it says itself.
//!
//! PostgreSQL keeps tables in that order anyway, and locks heads.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        match manager.get_database_backend() {
            DbBackend::Sqlite => super::run(manager, SQLITE).await,
            _ => Ok(()),
        }
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

const SQLITE: &str = "
ALTER TABLE events RENAME TO events_by_channel;
CREATE TABLE events (
    channel TEXT NOT NULL,
    seq BIGINT NOT NULL,
    session_id BIGINT,
    audience TEXT NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
INSERT INTO events (channel, seq, session_id, audience, kind, data, created_at)
    SELECT channel, seq, session_id, audience, kind, data, created_at FROM events_by_channel ORDER BY created_at, channel, seq;
DROP TABLE events_by_channel;
CREATE UNIQUE INDEX events_by_place ON events (channel, seq);
CREATE INDEX events_by_session ON events (session_id) WHERE session_id IS NOT NULL;
ALTER TABLE channel_heads DROP COLUMN seq
";

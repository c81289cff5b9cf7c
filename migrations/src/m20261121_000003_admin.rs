//! What staff's lists and figures walk along: sessions by time, and ended ones by their reason.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run(manager, UP).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

const UP: &str = "
CREATE INDEX sessions_by_time ON sessions (created_at, id);
CREATE INDEX sessions_by_reason ON sessions (reason, created_at) WHERE reason IS NOT NULL
";

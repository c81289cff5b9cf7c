//! A session's whole life: moving to another cart, checkouts and their results, the goodbye, silent carts, webhooks, and
//! the indexes that retention goes by.

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
ALTER TABLE sessions ADD COLUMN transfer_cart BIGINT;
ALTER TABLE sessions ADD COLUMN transfer_epoch BIGINT;
ALTER TABLE sessions ADD COLUMN transfer_at BIGINT;
CREATE INDEX sessions_to_forget ON sessions (ended_at) WHERE customer_id IS NOT NULL;

ALTER TABLE cart_claims ADD COLUMN until BIGINT;
CREATE INDEX cart_claims_until ON cart_claims (until) WHERE until IS NOT NULL;

ALTER TABLE carts ADD COLUMN offline_at BIGINT;
CREATE INDEX carts_heard ON carts (seen_at) WHERE heartbeat_at IS NOT NULL AND offline_at IS NULL;

CREATE TABLE checkouts (
    checkout_id TEXT PRIMARY KEY,
    session_id BIGINT NOT NULL REFERENCES sessions (id),
    started_at BIGINT NOT NULL,
    result TEXT,
    settled_at BIGINT,
    receipt TEXT
);
CREATE INDEX checkouts_by_session ON checkouts (session_id);
CREATE INDEX checkouts_by_age ON checkouts (started_at);

ALTER TABLE idempotency ADD COLUMN account_id BIGINT;
CREATE INDEX idempotency_by_account ON idempotency (account_id);

CREATE TABLE webhooks (
    id TEXT PRIMARY KEY,
    store_id BIGINT REFERENCES stores (id),
    url TEXT NOT NULL,
    kinds TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    removed_at BIGINT
);

CREATE TABLE webhook_deliveries (
    id :id,
    webhook_id TEXT NOT NULL REFERENCES webhooks (id),
    session_id BIGINT NOT NULL,
    message_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    next_at BIGINT,
    delivered_at BIGINT,
    dead_at BIGINT,
    failure TEXT,
    created_at BIGINT NOT NULL
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX webhook_deliveries_open ON webhook_deliveries (webhook_id, session_id, id) WHERE next_at IS NOT NULL;
CREATE INDEX webhook_deliveries_dead ON webhook_deliveries (webhook_id, id) WHERE dead_at IS NOT NULL;
CREATE INDEX webhook_deliveries_by_age ON webhook_deliveries (created_at)
";

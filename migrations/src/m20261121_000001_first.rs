//! Stores, accounts, carts, sessions and the event log.
//!
//! Moments are milliseconds since 1970. Secrets are stored as hashes only. Two rules of the domain
//! are keys here: one open session per cart (`cart_claims`) and one per customer.

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
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE stores (
    id :id,
    name TEXT NOT NULL,
    settings TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE accounts (
    id :id,
    email TEXT UNIQUE,
    full_name TEXT,
    password_hash TEXT,
    role TEXT,
    store_id BIGINT REFERENCES stores (id),
    is_active BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE sign_ins (
    id :id,
    account_id BIGINT NOT NULL REFERENCES accounts (id),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE INDEX sign_ins_by_account ON sign_ins (account_id);
CREATE INDEX sign_ins_by_expiry ON sign_ins (expires_at);

CREATE TABLE refresh_tokens (
    hash TEXT PRIMARY KEY,
    sign_in_id BIGINT NOT NULL REFERENCES sign_ins (id),
    created_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX refresh_tokens_by_sign_in ON refresh_tokens (sign_in_id);

CREATE TABLE services (
    client_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    secret_hash TEXT NOT NULL,
    scopes TEXT NOT NULL,
    store_id BIGINT REFERENCES stores (id),
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);

CREATE TABLE carts (
    num :id,
    id TEXT NOT NULL UNIQUE,
    store_id BIGINT NOT NULL REFERENCES stores (id),
    label TEXT NOT NULL,
    lifecycle TEXT NOT NULL,
    pairing_epoch BIGINT NOT NULL,
    key_hash TEXT UNIQUE,
    battery BIGINT,
    charging BOOLEAN,
    app_version TEXT,
    seen_at BIGINT,
    heartbeat_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX carts_by_store ON carts (store_id);

CREATE TABLE enrolments (
    selector TEXT PRIMARY KEY,
    cart_num BIGINT NOT NULL REFERENCES carts (num),
    secret_hash TEXT NOT NULL,
    tries BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX enrolments_by_cart ON enrolments (cart_num);

CREATE TABLE sessions (
    id :id,
    cart_num BIGINT NOT NULL REFERENCES carts (num),
    store_id BIGINT NOT NULL,
    customer_id BIGINT,
    scan_epoch BIGINT NOT NULL,
    check_code TEXT NOT NULL,
    status TEXT NOT NULL,
    phase TEXT,
    reason TEXT,
    acked BOOLEAN NOT NULL,
    checkout_id TEXT,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    fetched_at BIGINT,
    checkout_at BIGINT,
    ended_at BIGINT,
    activity_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    due_at BIGINT
);
CREATE UNIQUE INDEX one_open_session_per_customer ON sessions (customer_id) WHERE ended_at IS NULL;
CREATE INDEX sessions_due ON sessions (due_at) WHERE ended_at IS NULL;
CREATE INDEX sessions_by_customer ON sessions (customer_id, id);
CREATE INDEX sessions_by_cart ON sessions (cart_num, scan_epoch);
CREATE INDEX sessions_by_store ON sessions (store_id, created_at);

CREATE TABLE cart_claims (
    cart_num BIGINT PRIMARY KEY REFERENCES carts (num),
    session_id BIGINT NOT NULL REFERENCES sessions (id)
);
CREATE INDEX cart_claims_by_session ON cart_claims (session_id);

CREATE TABLE receipts (
    session_id BIGINT PRIMARY KEY REFERENCES sessions (id),
    checkout_id TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE channel_heads (
    channel TEXT PRIMARY KEY,
    epoch TEXT NOT NULL,
    seq BIGINT NOT NULL,
    dropped BIGINT NOT NULL
) :clustered;

CREATE TABLE events (
    channel TEXT NOT NULL,
    seq BIGINT NOT NULL,
    session_id BIGINT,
    audience TEXT NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (channel, seq)
) :clustered;
CREATE INDEX events_by_session ON events (session_id) WHERE session_id IS NOT NULL;

CREATE TABLE idempotency (
    principal TEXT NOT NULL,
    route TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    body_hash TEXT NOT NULL,
    status BIGINT NOT NULL,
    answer TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (principal, route, idempotency_key)
);
CREATE INDEX idempotency_by_age ON idempotency (created_at);

CREATE TABLE audit (
    seq BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    store_id BIGINT,
    detail TEXT NOT NULL,
    hash TEXT NOT NULL
)
";

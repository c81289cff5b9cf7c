//! Rows of answers that may be asked for again.

use sea_orm::{ConnectionTrait, DbBackend, DbErr, FromQueryResult};

use super::{Answer, KEPT, Key};
use crate::clock::Timestamp;
use crate::db;
use crate::ids::AccountId;

/// What is kept under a key.
pub(super) struct Kept {
    /// What the request said, hashed.
    pub body_hash: String,
    /// How it was answered.
    pub answer: Answer,
}

/// How long the same request is waited for that is under way elsewhere. SQLite's one writer makes each wait its turn.
const PATIENCE: [&str; 2] = ["SET LOCAL lock_timeout = '5s'", "SET LOCAL statement_timeout = '10s'"];

/// From here on the usual time-outs hold again.
const USUAL: [&str; 2] = ["SET LOCAL lock_timeout TO DEFAULT", "SET LOCAL statement_timeout TO DEFAULT"];

/// Takes the key for this transaction. `false`: it has been used, and its answer is there.
pub(super) async fn take(conn: &impl ConnectionTrait, key: &Key, now: Timestamp) -> Result<bool, DbErr> {
    let postgres = conn.get_database_backend() == DbBackend::Postgres;
    for text in PATIENCE.into_iter().filter(|_| postgres) {
        conn.execute_unprepared(text).await?;
    }
    let row = db::row(
        conn,
        "INSERT INTO idempotency (principal, route, idempotency_key, body_hash, status, answer, created_at) \
         VALUES ($1, $2, $3, $4, 0, '', $5) ON CONFLICT (principal, route, idempotency_key) DO UPDATE \
         SET body_hash = excluded.body_hash, status = 0, answer = '', account_id = NULL, created_at = excluded.created_at \
         WHERE idempotency.created_at <= $6 RETURNING 1 AS taken",
        [
            key.principal.as_str().into(),
            key.route.as_str().into(),
            key.text.as_str().into(),
            key.body_hash.as_str().into(),
            now.0.into(),
            (now - KEPT).0.into(),
        ],
    )
    .await?;
    for text in USUAL.into_iter().filter(|_| postgres) {
        conn.execute_unprepared(text).await?;
    }
    Ok(row.is_some())
}

/// What is kept under the key.
pub(super) async fn kept(conn: &impl ConnectionTrait, key: &Key) -> Result<Option<Kept>, DbErr> {
    #[derive(FromQueryResult)]
    struct Row {
        body_hash: String,
        status: i64,
        answer: String,
        account_id: Option<i64>,
    }
    let text = "SELECT body_hash, status, answer, account_id FROM idempotency \
        WHERE principal = $1 AND route = $2 AND idempotency_key = $3";
    let values = [key.principal.as_str().into(), key.route.as_str().into(), key.text.as_str().into()];
    let row: Option<Row> = db::one(conn, text, values).await?;
    Ok(row.map(|row| Kept {
        body_hash: row.body_hash,
        answer: Answer {
            status: u16::try_from(row.status).unwrap_or(500),
            body: row.answer,
            about: row.account_id.map(AccountId),
            replayed: true,
        },
    }))
}

/// Gives the key back: nothing has come of the request.
pub(super) async fn forget(conn: &impl ConnectionTrait, key: &Key) -> Result<(), DbErr> {
    let text = "DELETE FROM idempotency WHERE principal = $1 AND route = $2 AND idempotency_key = $3";
    let values = [key.principal.as_str().into(), key.route.as_str().into(), key.text.as_str().into()];
    db::execute(conn, text, values).await.map(drop)
}

/// Keeps the answer.
pub(super) async fn keep(conn: &impl ConnectionTrait, key: &Key, answer: &Answer) -> Result<(), DbErr> {
    let text = "UPDATE idempotency SET status = $4, answer = $5, account_id = $6 \
        WHERE principal = $1 AND route = $2 AND idempotency_key = $3";
    let values = [
        key.principal.as_str().into(),
        key.route.as_str().into(),
        key.text.as_str().into(),
        i64::from(answer.status).into(),
        answer.body.as_str().into(),
        answer.about.map(|id| id.0).into(),
    ];
    db::execute(conn, text, values).await.map(drop)
}

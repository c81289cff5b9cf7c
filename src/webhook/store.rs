//! Rows of webhooks and of the messages on their way to them.

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use serde_json::value::RawValue;

use super::{Delivery, Webhook};
use crate::clock::Timestamp;
use crate::db;
use crate::ids::{SessionId, StoreId};

#[derive(FromQueryResult)]
struct Row {
    id: String,
    store_id: Option<i64>,
    url: String,
    kinds: String,
    created_at: i64,
}

impl From<Row> for Webhook {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            store: row.store_id.map(StoreId),
            url: row.url,
            kinds: row.kinds.split(' ').map(str::to_owned).collect(),
            created_at: Timestamp(row.created_at),
        }
    }
}

/// The webhooks of a store; all where `None`.
pub async fn all(conn: &impl ConnectionTrait, store: Option<StoreId>) -> Result<Vec<Webhook>, DbErr> {
    // PostgreSQL cannot tell the type of a parameter that is only compared with NULL.
    let text = "SELECT * FROM webhooks WHERE removed_at IS NULL \
        AND (CAST($1 AS BIGINT) IS NULL OR store_id = $1) ORDER BY created_at, id";
    let rows: Vec<Row> = db::all(conn, text, [store.map(|store| store.0).into()]).await?;
    Ok(rows.into_iter().map(Webhook::from).collect())
}

/// The webhook, if it has not been removed.
pub async fn find(conn: &impl ConnectionTrait, id: &str) -> Result<Option<Webhook>, DbErr> {
    let text = "SELECT * FROM webhooks WHERE id = $1 AND removed_at IS NULL";
    let row: Option<Row> = db::one(conn, text, [id.into()]).await?;
    Ok(row.map(Webhook::from))
}

/// A new webhook.
pub async fn insert(conn: &impl ConnectionTrait, webhook: &Webhook) -> Result<(), DbErr> {
    let text = "INSERT INTO webhooks (id, store_id, url, kinds, created_at) VALUES ($1, $2, $3, $4, $5)";
    let values = [
        webhook.id.as_str().into(),
        webhook.store.map(|store| store.0).into(),
        webhook.url.as_str().into(),
        webhook.kinds.join(" ").into(),
        webhook.created_at.0.into(),
    ];
    db::execute(conn, text, values).await.map(drop)
}

/// It is told nothing more, not even what is on its way.
pub async fn remove(conn: &impl ConnectionTrait, id: &str, now: Timestamp) -> Result<(), DbErr> {
    db::execute(conn, "UPDATE webhooks SET removed_at = $2 WHERE id = $1", [id.into(), now.0.into()]).await?;
    db::execute(conn, "DELETE FROM webhook_deliveries WHERE webhook_id = $1", [id.into()]).await.map(drop)
}

/// A message for every webhook that wants to hear of this.
pub async fn enqueue(
    conn: &impl ConnectionTrait,
    (session, store): (SessionId, StoreId),
    (message_id, kind, data): (&str, &str, &str),
    now: Timestamp,
) -> Result<(), DbErr> {
    let text = "INSERT INTO webhook_deliveries (webhook_id, session_id, message_id, kind, data, attempts, next_at, created_at) \
        SELECT w.id, CAST($1 AS BIGINT), $2, $3, $4, 0, CAST($5 AS BIGINT), CAST($5 AS BIGINT) FROM webhooks w \
        WHERE w.removed_at IS NULL AND (w.store_id IS NULL OR w.store_id = $6) AND ' ' || w.kinds || ' ' LIKE $7";
    let values = [
        session.0.into(),
        message_id.into(),
        kind.into(),
        data.into(),
        now.0.into(),
        store.0.into(),
        format!("% {kind} %").into(),
    ];
    db::execute(conn, text, values).await.map(drop)
}

#[derive(FromQueryResult)]
struct Due {
    id: i64,
    webhook_id: String,
    url: String,
    message_id: String,
    kind: String,
    data: String,
    receipt: Option<String>,
    attempts: i64,
    next_at: i64,
    created_at: i64,
}

impl From<Due> for Delivery {
    fn from(row: Due) -> Self {
        #[derive(serde::Serialize)]
        struct Message<'m> {
            r#type: &'m str,
            timestamp: Timestamp,
            data: Option<&'m RawValue>,
            #[serde(skip_serializing_if = "Option::is_none")]
            receipt: Option<Box<RawValue>>,
        }
        let message = Message {
            r#type: &row.kind,
            timestamp: Timestamp(row.created_at),
            data: serde_json::from_str(&row.data).ok(),
            receipt: row.receipt.and_then(|receipt| RawValue::from_string(receipt).ok()),
        };
        Self {
            body: serde_json::to_string(&message).expect("a message is plain data"),
            id: row.id,
            webhook: row.webhook_id,
            url: row.url,
            message_id: row.message_id,
            attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            due_at: Timestamp(row.next_at),
        }
    }
}

/// Messages that are due, the earlier first; of each session only the first that has not got through.
pub async fn due(conn: &impl ConnectionTrait, now: Timestamp, limit: u32) -> Result<Vec<Delivery>, DbErr> {
    let text = "SELECT d.id, d.webhook_id, w.url, d.message_id, d.kind, d.data, d.attempts, d.next_at, d.created_at, \
          CASE d.kind WHEN 'checkout-completed' THEN r.body END AS receipt \
        FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id LEFT JOIN receipts r ON r.session_id = d.session_id \
        WHERE d.next_at <= $1 AND NOT EXISTS (SELECT 1 FROM webhook_deliveries e WHERE e.webhook_id = d.webhook_id \
          AND e.session_id = d.session_id AND e.next_at IS NOT NULL AND e.id < d.id) \
        ORDER BY d.next_at, d.id LIMIT $2";
    let rows: Vec<Due> = db::all(conn, text, [now.0.into(), i64::from(limit).into()]).await?;
    Ok(rows.into_iter().map(Delivery::from).collect())
}

/// Takes a message to deliver it. `false`: another node was faster. One that is not heard of again is due anew at `until`.
pub async fn take(conn: &impl ConnectionTrait, delivery: &Delivery, until: Timestamp) -> Result<bool, DbErr> {
    let text = "UPDATE webhook_deliveries SET next_at = $3 WHERE id = $1 AND next_at = $2";
    let values = [delivery.id.into(), delivery.due_at.0.into(), until.0.into()];
    Ok(db::execute(conn, text, values).await?.rows_affected() == 1)
}

/// It got through.
pub async fn delivered(conn: &impl ConnectionTrait, id: i64, now: Timestamp) -> Result<(), DbErr> {
    let text = "UPDATE webhook_deliveries SET next_at = NULL, delivered_at = $2, attempts = attempts + 1, failure = NULL WHERE id = $1";
    db::execute(conn, text, [id.into(), now.0.into()]).await.map(drop)
}

/// It did not get through: it is tried again, and what comes after it in its session waits as long; or it is a dead letter.
pub async fn failed(
    conn: &impl ConnectionTrait,
    id: i64,
    failure: &str,
    again_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), DbErr> {
    let text =
        "UPDATE webhook_deliveries SET next_at = $2, dead_at = $3, attempts = attempts + 1, failure = $4 WHERE id = $1";
    let dead_at = again_at.is_none().then_some(now.0);
    db::execute(conn, text, [id.into(), again_at.map(|at| at.0).into(), dead_at.into(), failure.into()]).await?;
    let Some(again_at) = again_at else { return Ok(()) };
    let text = "UPDATE webhook_deliveries SET next_at = $2 WHERE next_at < $2 AND id > $1 \
        AND (webhook_id, session_id) = (SELECT f.webhook_id, f.session_id FROM webhook_deliveries f WHERE f.id = $1)";
    db::execute(conn, text, [id.into(), again_at.0.into()]).await.map(drop)
}

/// A message nobody took for a day.
#[derive(Debug, FromQueryResult)]
pub struct DeadLetter {
    /// The row's.
    pub id: i64,
    /// The message's.
    pub message_id: String,
    /// Of which session.
    pub session_id: i64,
    /// What it tells of.
    pub kind: String,
    /// How often it was tried.
    pub attempts: i64,
    /// What went wrong the last time.
    pub failure: Option<String>,
    /// When it was written.
    pub created_at: i64,
    /// When it was given up.
    pub dead_at: i64,
}

/// A webhook's dead letters after the row `after`, the oldest first.
pub async fn dead_letters(
    conn: &impl ConnectionTrait,
    webhook: &str,
    after: i64,
    limit: u32,
) -> Result<Vec<DeadLetter>, DbErr> {
    let text = "SELECT id, message_id, session_id, kind, attempts, failure, created_at, dead_at FROM webhook_deliveries \
        WHERE webhook_id = $1 AND dead_at IS NOT NULL AND id > $2 ORDER BY id LIMIT $3";
    db::all(conn, text, [webhook.into(), after.into(), i64::from(limit).into()]).await
}

/// Has messages delivered once more: all dead letters, or the one of this id, be it dead or delivered.
pub async fn replay(
    conn: &impl ConnectionTrait,
    webhook: &str,
    message_id: Option<&str>,
    now: Timestamp,
) -> Result<u64, DbErr> {
    let set = "UPDATE webhook_deliveries SET next_at = $2, dead_at = NULL, delivered_at = NULL, attempts = 0 \
        WHERE webhook_id = $1 AND next_at IS NULL AND";
    let result = match message_id {
        None => db::execute(conn, &format!("{set} dead_at IS NOT NULL"), [webhook.into(), now.0.into()]).await?,
        Some(id) => {
            db::execute(conn, &format!("{set} message_id = $3"), [webhook.into(), now.0.into(), id.into()]).await?
        }
    };
    Ok(result.rows_affected())
}

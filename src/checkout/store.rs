//! Rows of attempts to pay.

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};

use super::{Attempt, Outcome};
use crate::clock::Timestamp;
use crate::db;
use crate::ids::SessionId;

#[derive(FromQueryResult)]
struct Row {
    session_id: i64,
    result: Option<String>,
    receipt: Option<String>,
}

impl TryFrom<Row> for Attempt {
    type Error = DbErr;
    fn try_from(row: Row) -> Result<Self, DbErr> {
        let outcome = match (row.result.as_deref(), row.receipt) {
            (None, None) => None,
            (Some("completed"), None) => Some(Outcome::Completed),
            (Some("failed"), None) => Some(Outcome::Failed),
            (Some("refund"), Some(receipt)) => Some(Outcome::Refund(receipt)),
            (result, _) => return Err(DbErr::Custom(format!("a checkout has an impossible row: result {result:?}"))),
        };
        Ok(Self { session: SessionId(row.session_id), outcome })
    }
}

/// A new attempt.
pub async fn insert(
    conn: &impl ConnectionTrait,
    checkout_id: &str,
    session: SessionId,
    now: Timestamp,
) -> Result<(), DbErr> {
    let text = "INSERT INTO checkouts (checkout_id, session_id, started_at) VALUES ($1, $2, $3)";
    db::execute(conn, text, [checkout_id.into(), session.0.into(), now.0.into()]).await.map(drop)
}

/// The attempt of this id. Its session's lock is what guards it.
pub async fn find(conn: &impl ConnectionTrait, checkout_id: &str) -> Result<Option<Attempt>, DbErr> {
    let text = "SELECT session_id, result, receipt FROM checkouts WHERE checkout_id = $1";
    let row: Option<Row> = db::one(conn, text, [checkout_id.into()]).await?;
    row.map(Attempt::try_from).transpose()
}

/// Writes down what came of an attempt.
pub async fn settle(
    conn: &impl ConnectionTrait,
    checkout_id: &str,
    outcome: &Outcome,
    now: Timestamp,
) -> Result<(), DbErr> {
    let (result, receipt) = match outcome {
        Outcome::Completed => ("completed", None),
        Outcome::Failed => ("failed", None),
        Outcome::Refund(receipt) => ("refund", Some(receipt.as_str())),
    };
    let text = "UPDATE checkouts SET result = $2, receipt = $3, settled_at = $4 WHERE checkout_id = $1";
    db::execute(conn, text, [checkout_id.into(), result.into(), receipt.into(), now.0.into()]).await.map(drop)
}

/// Receipts of a session whose money is to be paid back.
pub async fn refunds(conn: &impl ConnectionTrait, session: SessionId) -> Result<Vec<String>, DbErr> {
    let text = "SELECT receipt FROM checkouts WHERE session_id = $1 AND receipt IS NOT NULL ORDER BY settled_at";
    let rows = conn.query_all_raw(db::sql(conn, text, [session.0.into()])).await?;
    rows.iter().map(|row| row.try_get("", "receipt")).collect()
}

//! Sums over sessions' rows, along their index by time.

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, Value};

use super::{HOUR, Span, Tally};
use crate::clock::Timestamp;
use crate::db;
use crate::ids::StoreId;
use crate::session::Status;

/// Waits for the pick-up are told apart by the millisecond up to here; longer ones are as long as this.
const LONGEST_WAIT: i64 = 60_000;

/// The condition for a span, whose values are `$1` to `$3`.
fn within(span: &Span) -> (&'static str, Vec<Value>) {
    let mut values: Vec<Value> = vec![span.from.0.into(), span.to.0.into()];
    match span.store {
        // A condition of its own: an index is chosen for it.
        Some(store) => {
            values.push(store.0.into());
            ("created_at >= $1 AND created_at < $2 AND store_id = $3", values)
        }
        None => ("created_at >= $1 AND created_at < $2", values),
    }
}

#[derive(FromQueryResult)]
struct Counted {
    value: i64,
    times: i64,
}

async fn tally(conn: &impl ConnectionTrait, value: &str, condition: &str, span: &Span) -> Result<Tally, DbErr> {
    let (within, values) = within(span);
    let text = format!(
        "SELECT {value} AS value, COUNT(*) AS times FROM sessions WHERE {within} {condition} GROUP BY 1 ORDER BY 1"
    );
    let counted: Vec<Counted> = db::all(conn, &text, values).await?;
    Ok(counted.into_iter().map(|row| (row.value, row.times)).collect())
}

/// Sessions by the hour they were scanned in.
pub async fn per_hour(conn: &impl ConnectionTrait, span: &Span) -> Result<Tally, DbErr> {
    tally(conn, &format!("created_at / {HOUR} * {HOUR}"), "", span).await
}

/// Milliseconds from the scan to the pick-up.
pub async fn pick_ups(conn: &impl ConnectionTrait, span: &Span) -> Result<Tally, DbErr> {
    let wait = format!(
        "CASE WHEN fetched_at - created_at > {LONGEST_WAIT} THEN {LONGEST_WAIT} ELSE fetched_at - created_at END"
    );
    tally(conn, &wait, "AND fetched_at IS NOT NULL", span).await
}

/// Seconds that sessions which are over lasted, of those a cart had picked up.
pub async fn durations(conn: &impl ConnectionTrait, span: &Span) -> Result<Tally, DbErr> {
    tally(conn, "(ended_at - created_at) / 1000", "AND ended_at IS NOT NULL AND fetched_at IS NOT NULL", span).await
}

/// How sessions stand, or ended.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Outcome {
    /// `status`.
    pub status: String,
    /// `reason`.
    pub reason: Option<String>,
    /// Whether a cart had picked them up.
    pub fetched: bool,
    /// So many.
    pub times: i64,
}

impl Outcome {
    /// Whether these are over.
    pub fn is_over(&self) -> bool {
        Status::parse(&self.status).is_some_and(Status::is_final)
    }

    /// The word for it: the reason, or `completed`.
    pub fn word(&self) -> &str {
        self.reason.as_deref().unwrap_or(&self.status)
    }
}

/// How sessions stand, or ended, with how many of each.
pub async fn outcomes(conn: &impl ConnectionTrait, span: &Span) -> Result<Vec<Outcome>, DbErr> {
    let (within, values) = within(span);
    let text = format!(
        "SELECT status, reason, fetched_at IS NOT NULL AS fetched, COUNT(*) AS times FROM sessions WHERE {within} \
         GROUP BY status, reason, fetched_at IS NOT NULL"
    );
    db::all(conn, &text, values).await
}

/// Milliseconds within the span, all carts together, in which somebody had one. Sessions scanned up to `before` ahead of
/// it are looked at too: they may reach into it.
pub async fn in_use(conn: &impl ConnectionTrait, span: &Span, before: std::time::Duration) -> Result<i64, DbErr> {
    let reaching = Span { from: span.from - before, ..*span };
    let (within, mut values) = within(&reaching);
    values.push(span.from.0.into());
    let from = values.len();
    let text = format!(
        "SELECT CAST(COALESCE(SUM( \
           CASE WHEN ended_at IS NULL OR ended_at > $2 THEN $2 ELSE ended_at END - CASE WHEN created_at < ${from} THEN ${from} ELSE created_at END \
         ), 0) AS BIGINT) AS total FROM sessions WHERE {within} AND (ended_at IS NULL OR ended_at > ${from})"
    );
    let row = db::row(conn, &text, values).await?;
    row.map_or(Ok(0), |row| row.try_get("", "total"))
}

/// Carts that stand in the store, and were made before then.
pub async fn carts(conn: &impl ConnectionTrait, store: Option<StoreId>, made_before: Timestamp) -> Result<i64, DbErr> {
    let text = "SELECT COUNT(*) AS carts FROM carts WHERE lifecycle IN ('in_service', 'maintenance') AND created_at < $1 \
        AND (CAST($2 AS BIGINT) IS NULL OR store_id = $2)";
    let row = db::row(conn, text, [made_before.0.into(), store.map(|store| store.0).into()]).await?;
    row.map_or(Ok(0), |row| row.try_get("", "carts"))
}

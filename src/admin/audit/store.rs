//! The audit log's rows. No update, and no delete but retention's.

use sea_orm::{ConnectionTrait, DbBackend, DbErr, FromQueryResult};

use super::{BEGINNING, Entry, Verdict, chained};
use crate::clock::Timestamp;
use crate::db::{self, Txn};
use crate::ids::StoreId;

/// How many rows are read at a time.
const BATCH: i64 = 1000;

/// Where `meta` keeps the last hash that retention took away.
const FORGOTTEN: &str = "audit-forgotten";

#[derive(FromQueryResult)]
struct Row {
    seq: i64,
    at: i64,
    actor: String,
    action: String,
    target: String,
    store_id: Option<i64>,
    detail: String,
    hash: String,
}

impl From<Row> for Entry {
    fn from(row: Row) -> Self {
        Self {
            seq: row.seq,
            at: Timestamp(row.at),
            actor: row.actor,
            action: row.action,
            target: row.target,
            store: row.store_id.map(StoreId),
            detail: row.detail,
        }
    }
}

/// Adds a row at the end of the chain. Everybody else who adds one waits until this transaction ends:
/// make it the transaction's last step.
pub async fn append(
    txn: &Txn<'_>,
    actor: &str,
    action: &str,
    target: &str,
    store: Option<StoreId>,
    detail: &str,
    now: Timestamp,
) -> Result<(), DbErr> {
    if txn.get_database_backend() != DbBackend::Sqlite {
        // Any constant will do, as long as it is this log's own. SQLite has one writer anyway.
        db::row(&**txn, "SELECT pg_advisory_xact_lock(7250227)", []).await?;
    }
    let last: Option<Row> = db::one(&**txn, "SELECT * FROM audit ORDER BY seq DESC LIMIT 1", []).await?;
    let (seq, before) = match last {
        Some(last) => (last.seq, last.hash),
        None => forgotten(&**txn).await?,
    };
    let entry = Entry {
        seq: seq + 1,
        at: now,
        actor: actor.into(),
        action: action.into(),
        target: target.into(),
        store,
        detail: detail.into(),
    };
    let hash = chained(&before, &entry);
    let text = "INSERT INTO audit (seq, at, actor, action, target, store_id, detail, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let values = [
        entry.seq.into(),
        now.0.into(),
        entry.actor.into(),
        entry.action.into(),
        entry.target.into(),
        store.map(|store| store.0).into(),
        entry.detail.into(),
        hash.into(),
    ];
    db::execute(&**txn, text, values).await.map(drop)
}

/// The place and the hash of the last row that retention took away.
async fn forgotten(conn: &impl ConnectionTrait) -> Result<(i64, String), DbErr> {
    let row = db::row(conn, "SELECT value FROM meta WHERE name = $1", [FORGOTTEN.into()]).await?;
    let Some(row) = row else { return Ok((0, BEGINNING.into())) };
    let value: String = row.try_get("", "value")?;
    let read = value.split_once(' ').and_then(|(seq, hash)| Some((seq.parse().ok()?, hash.to_owned())));
    read.ok_or_else(|| DbErr::Custom(format!("{FORGOTTEN} in meta is {value:?}")))
}

/// Walks the whole chain.
pub async fn verify(conn: &impl ConnectionTrait) -> Result<Verdict, DbErr> {
    let (mut seq, mut hash) = forgotten(conn).await?;
    let mut rows = 0;
    loop {
        let batch: Vec<Row> =
            db::all(conn, "SELECT * FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2", [seq.into(), BATCH.into()])
                .await?;
        if batch.is_empty() {
            return Ok(Verdict::Whole(rows));
        }
        for mut row in batch {
            let written = std::mem::take(&mut row.hash);
            let entry = Entry::from(row);
            if entry.seq != seq + 1 || chained(&hash, &entry) != written {
                return Ok(Verdict::Broken(seq + 1));
            }
            (seq, hash, rows) = (entry.seq, written, rows + 1);
        }
    }
}

/// Retention: drops the oldest rows before `before`, up to a batch, and keeps the last dropped hash for the
/// chain to begin at. `false`: there was nothing left to drop.
pub async fn forget_before(txn: &Txn<'_>, before: Timestamp) -> Result<bool, DbErr> {
    let text =
        "SELECT * FROM (SELECT * FROM audit WHERE at < $1 ORDER BY seq LIMIT $2) AS batch ORDER BY seq DESC LIMIT 1";
    let Some(last): Option<Row> = db::one(&**txn, text, [before.0.into(), BATCH.into()]).await? else {
        return Ok(false);
    };
    let text = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    db::execute(&**txn, text, [FORGOTTEN.into(), format!("{} {}", last.seq, last.hash).into()]).await?;
    db::execute(&**txn, "DELETE FROM audit WHERE seq <= $1", [last.seq.into()]).await?;
    Ok(true)
}

/// Which rows are asked for.
pub(super) struct Filter {
    /// Only this store's; all where `None`.
    pub store: Option<StoreId>,
    /// Only what was done to this.
    pub target: Option<String>,
    /// Only what this one did.
    pub actor: Option<String>,
    /// Only before this place.
    pub before: i64,
    /// So many.
    pub limit: u32,
}

/// Rows of the log, the latest first.
pub(super) async fn latest(conn: &impl ConnectionTrait, filter: Filter) -> Result<Vec<Entry>, DbErr> {
    // PostgreSQL cannot tell the type of a parameter that is only compared with NULL.
    let text = "SELECT * FROM audit WHERE seq < $1 AND (CAST($2 AS BIGINT) IS NULL OR store_id = $2) \
        AND (CAST($3 AS TEXT) IS NULL OR target = $3) AND (CAST($4 AS TEXT) IS NULL OR actor = $4) \
        ORDER BY seq DESC LIMIT $5";
    let values = [
        filter.before.into(),
        filter.store.map(|store| store.0).into(),
        filter.target.into(),
        filter.actor.into(),
        i64::from(filter.limit).into(),
    ];
    let rows: Vec<Row> = db::all(conn, text, values).await?;
    Ok(rows.into_iter().map(Entry::from).collect())
}

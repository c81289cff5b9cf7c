//! What healing asks the database: heads, missed events, what streams live by, and what time it is.
//!
//! Each is one statement for up to a thousand of its kind, and asks the primary: a replica that lags
//! would pass off old news as all there is. Only PostgreSQL is asked: where the database is a file,
//! there is one node.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use serde_json::json;

use crate::broadcast::streams::{Open, Owner};
use crate::clock::Timestamp;
use crate::db::{self, Txn};
use crate::event::Channel;
use crate::ids::{CartNum, SignInId};

/// How many are asked about at once.
pub const CHUNK: usize = 1000;

/// The name under which this database's nodes find each other on the bus: made by the first of them.
pub async fn cluster(txn: &Txn<'_>) -> Result<String, DbErr> {
    let made = crate::token::hex(&crate::token::random::<6>());
    let text = "INSERT INTO meta (name, value) VALUES ('cluster', $1) ON CONFLICT (name) DO NOTHING";
    db::execute(&**txn, text, [made.into()]).await?;
    let row = db::row(&**txn, "SELECT value FROM meta WHERE name = 'cluster'", []).await?;
    row.ok_or_else(|| DbErr::RecordNotFound("the cluster's name".into()))?.try_get("", "value")
}

/// Where the logs of these channels end.
pub async fn heads(conn: &impl ConnectionTrait, channels: &[Channel]) -> Result<Vec<(Channel, i64)>, DbErr> {
    #[derive(FromQueryResult)]
    struct Row {
        channel: String,
        seq: i64,
    }
    let text =
        "SELECT channel, seq FROM channel_heads WHERE channel IN (SELECT json_array_elements_text($1::text::json))";
    let names: Vec<String> = channels.iter().map(Channel::to_string).collect();
    let rows: Vec<Row> = db::all(conn, text, [json!(names).to_string().into()]).await?;
    Ok(rows.into_iter().filter_map(|row| Some((row.channel.try_into().ok()?, row.seq))).collect())
}

/// Those among the open streams whose credentials have ended, or are no longer what they were, since they were opened.
pub async fn ended<'o>(conn: &impl ConnectionTrait, open: &'o [Open]) -> Result<Vec<&'o Open>, DbErr> {
    #[derive(FromQueryResult)]
    struct Row {
        at: i64,
    }
    let mut asked: HashMap<&str, Vec<serde_json::Value>> = HashMap::new();
    for (at, stream) in open.iter().enumerate() {
        let (text, id) = match &stream.owner {
            Owner::SignIn(SignInId(id)) => (SIGN_INS, id.to_string()),
            Owner::Cart(CartNum(num)) => (CARTS, num.to_string()),
            Owner::Service(client_id) => (SERVICES, client_id.clone()),
            Owner::Subscriber(_) => continue,
        };
        asked
            .entry(text)
            .or_default()
            .push(json!({ "at": at, "id": id, "since": stream.handle.since().0, "key": stream.handle.key() }));
    }
    let mut ended = Vec::new();
    for (text, about) in asked {
        let text = text
            .replace(":asked", "json_to_recordset($1::text::json) AS w (at BIGINT, id TEXT, since BIGINT, key TEXT)");
        let rows: Vec<Row> = db::all(conn, &text, [json!(about).to_string().into()]).await?;
        ended.extend(rows.into_iter().filter_map(|row| open.get(usize::try_from(row.at).ok()?)));
    }
    Ok(ended)
}

/// A staff member's post may have changed; a customer has none.
const SIGN_INS: &str = "SELECT w.at FROM :asked \
    LEFT JOIN sign_ins s ON s.id = w.id::bigint LEFT JOIN accounts a ON a.id = s.account_id \
    WHERE s.id IS NULL OR s.ended_at IS NOT NULL OR NOT a.is_active OR (a.role IS NOT NULL AND a.updated_at > w.since)";

/// A cart has one key at a time, and none once it is revoked.
const CARTS: &str = "SELECT w.at FROM :asked LEFT JOIN carts c ON c.num = w.id::bigint \
    WHERE c.key_hash IS NULL OR c.key_hash <> w.key";

const SERVICES: &str = "SELECT w.at FROM :asked LEFT JOIN services s ON s.client_id = w.id \
    WHERE s.client_id IS NULL OR s.revoked_at IS NOT NULL";

/// What time the database has: the one clock all nodes can see.
pub async fn now(conn: &impl ConnectionTrait) -> Result<Timestamp, DbErr> {
    let text = "SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint AS now";
    let row = db::row(conn, text, []).await?.ok_or_else(|| DbErr::RecordNotFound("the time".into()))?;
    row.try_get("", "now").map(Timestamp)
}

/// Renews the life of every channel, ends every sign-in and voids every cart's key: after the database was put
/// back to an earlier state, no id, token or key handed out since may be taken for one of now.
pub async fn restored(txn: &Txn<'_>, now: Timestamp) -> Result<(), DbErr> {
    let random = if db::for_update(&**txn).is_empty() {
        "lower(hex(randomblob(5)))"
    } else {
        "left(md5(random()::text || channel), 10)"
    };
    db::execute(&**txn, &format!("UPDATE channel_heads SET epoch = {random}"), []).await?;
    db::execute(&**txn, "UPDATE sign_ins SET ended_at = $1 WHERE ended_at IS NULL", [now.0.into()]).await?;
    let carts = "UPDATE carts SET key_hash = NULL, pairing_epoch = pairing_epoch + 1, updated_at = $1, \
        lifecycle = CASE lifecycle WHEN 'retired' THEN lifecycle ELSE 'pending' END";
    db::execute(&**txn, carts, [now.0.into()]).await?;
    db::execute(&**txn, "DELETE FROM enrolments", []).await.map(drop)
}

//! The event log's rows: append, since, head. No update, and no delete but retention's.

use std::collections::{BTreeMap, HashMap};

use rusqlite::OptionalExtension;
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, QueryResult, Value};
use serde_json::json;

use super::{Channel, Draft, Epoch, Event, EventId, Joined, Kind, display_name};
use crate::clock::Timestamp;
use crate::db::{self, Db, DirectTxn, Txn, WriteError};
use crate::ids::{AccountId, SessionId};

/// The end of a channel's log, and how far its beginning has been dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The channel's life.
    pub epoch: Epoch,
    /// The last event's place; 0 before the first.
    pub seq: i64,
    /// Events up to here are no longer kept.
    pub dropped: i64,
}

impl Head {
    /// Of a channel that nothing was ever written to.
    pub fn unborn() -> Self {
        Self { epoch: Epoch::unborn(), seq: 0, dropped: 0 }
    }

    /// The place it is.
    pub fn id(&self) -> EventId {
        EventId { epoch: self.epoch.clone(), seq: self.seq }
    }
}

impl Event {
    /// What becomes of a draft at this place.
    fn of(draft: Draft, EventId { epoch, seq }: EventId, now: Timestamp) -> Self {
        let Draft { channel, session, audience, kind, data, joined } = draft;
        Self { epoch, seq, channel, session, audience, kind, data, at: now, joined }
    }
}

/// Writes `draft` at the end of its channel's log, and has it told after COMMIT.
///
/// On PostgreSQL the next seq is taken under the head row's lock, on SQLite by the one who writes, inside the business
/// transaction: seq is gap-free and in commit order per channel.
pub async fn append(txn: &Txn<'_>, draft: Draft, now: Timestamp) -> Result<Event, DbErr> {
    let name = Value::from(draft.channel.to_string());
    let row = row_of(&draft, now);
    let place = if db::is_postgres(&**txn) {
        let text = format!(
            "WITH h AS ({ADVANCE}), e AS ({INSERT} SELECT $1, h.seq, $3, $4, $5, $6, $7 FROM h) SELECT epoch, seq FROM h"
        );
        let head = [name, Epoch::random().0.as_ref().into()];
        db::row(&**txn, &text, head.into_iter().chain(row)).await?
    } else {
        let text = format!(
            "{INSERT} SELECT h.channel, {LAST} + 1, $2, $3, $4, $5, $6 FROM channel_heads h WHERE h.channel = $1 \
             RETURNING seq, (SELECT h.epoch FROM channel_heads h WHERE h.channel = events.channel) AS epoch"
        );
        let values = || [name.clone()].into_iter().chain(row.clone());
        match db::row(&**txn, &text, values()).await? {
            None => {
                create_channel(&**txn, &draft.channel).await?;
                db::row(&**txn, &text, values()).await?
            }
            place => place,
        }
    };
    let place = place.ok_or_else(|| DbErr::RecordNotFound("an insert returns its row".into()))?;
    let epoch = Epoch(place.try_get::<String>("", "epoch")?.into());
    let event = Event::of(draft, EventId { epoch, seq: place.try_get("", "seq")? }, now);
    txn.tell_after_commit(event.clone());
    Ok(event)
}

/// Moves a channel's head on by one, or makes it. On PostgreSQL.
const ADVANCE: &str = "INSERT INTO channel_heads (channel, epoch, seq, dropped) VALUES ($1, $2, 1, 0) \
    ON CONFLICT (channel) DO UPDATE SET seq = channel_heads.seq + 1 RETURNING epoch, seq";

/// The last seq of a head `h` on SQLite, where the log itself says it: a head that follows each event would be one more
/// page to write for it.
const LAST: &str = "COALESCE((SELECT MAX(e.seq) FROM events e WHERE e.channel = h.channel), h.dropped)";

/// The columns of a [`Head`], of a row `h` of `channel_heads`.
pub fn head_columns(conn: &impl ConnectionTrait) -> String {
    let seq = if db::is_postgres(conn) { "h.seq" } else { LAST };
    format!("h.epoch, {seq} AS seq, h.dropped")
}

/// Adds events; [`row_of`] has their columns' order behind the place.
const INSERT: &str = "INSERT INTO events (channel, seq, session_id, audience, kind, data, created_at)";

/// Something that happened to a session, as its timeline tells it.
#[derive(Clone, Debug)]
pub struct Step {
    /// What.
    pub kind: Kind,
    /// As [`Event::data`].
    pub data: String,
    /// When.
    pub at: Timestamp,
}

/// What happened to a session, in its order. A session that moved left its trace on two carts' channels.
pub async fn of_session(conn: &impl ConnectionTrait, session: SessionId) -> Result<Vec<Step>, DbErr> {
    #[derive(FromQueryResult)]
    struct Told {
        kind: String,
        data: String,
        created_at: i64,
    }
    let text = "SELECT kind, data, created_at FROM events WHERE session_id = $1 ORDER BY created_at, seq";
    let told: Vec<Told> = db::all(conn, text, [session.0.into()]).await?;
    Ok(told
        .into_iter()
        .map(|row| Step { kind: row.kind.into(), data: row.data, at: Timestamp(row.created_at) })
        .collect())
}

/// Appends all of what `drafts` gives once the transaction has begun. Where that is undone and begins again, it is asked
/// again. Returns the events' ids.
pub async fn append_all<E>(
    db: &Db,
    drafts: impl Fn() -> Vec<Draft> + Clone + Send + 'static,
    now: Timestamp,
) -> Result<Vec<EventId>, E>
where
    E: WriteError + Send + 'static,
{
    if db.is_postgres() {
        db.write(async move |txn: &Txn<'_>| Ok(append_together(txn, drafts(), now).await?)).await
    } else {
        Ok(db
            .write_directly(move |txn| drafts().into_iter().map(|draft| append_directly(txn, draft, now)).collect())
            .await?)
    }
}

/// As [`append`], on SQLite and without a trip.
fn append_directly(txn: &DirectTxn<'_>, draft: Draft, now: Timestamp) -> rusqlite::Result<EventId> {
    let name = draft.channel.to_string();
    let head: Option<(String, i64)> = txn
        .prepared(&format!("SELECT h.epoch, {LAST} FROM channel_heads h WHERE h.channel = ?1"))?
        .query_row([&name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let place = if let Some((epoch, last)) = head {
        EventId { epoch: Epoch(epoch.into()), seq: last + 1 }
    } else {
        let epoch = Epoch::random();
        txn.prepared("INSERT INTO channel_heads (channel, epoch, dropped) VALUES (?1, ?2, 0)")?
            .execute((&name, epoch.0.as_ref()))?;
        EventId { epoch, seq: 1 }
    };
    let (session, audience) = (draft.session.map(|id| id.0), draft.audience.to_string());
    let data: &str = &draft.data;
    txn.prepared(&format!("{INSERT} VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"))?.execute((
        name,
        place.seq,
        session,
        audience,
        draft.kind.as_str(),
        data,
        now.0,
    ))?;
    txn.tell_after_commit(Event::of(draft, place.clone(), now));
    Ok(place)
}

/// As [`append`] for each of `drafts`, on PostgreSQL and with two statements for all of them.
async fn append_together(txn: &Txn<'_>, drafts: Vec<Draft>, now: Timestamp) -> Result<Vec<EventId>, DbErr> {
    let names: Vec<String> = drafts.iter().map(|draft| draft.channel.to_string()).collect();
    // In the order of their names: two transactions that lock several heads never wait in a ring.
    let mut counts = BTreeMap::<&str, i64>::new();
    for name in &names {
        *counts.entry(name).or_default() += 1;
    }
    let mut places = advance_heads(txn, counts).await?;
    let mut events = Vec::with_capacity(drafts.len());
    for (draft, name) in drafts.into_iter().zip(&names) {
        let (epoch, seq) =
            places.get_mut(name).ok_or_else(|| DbErr::RecordNotFound("an upsert returns its rows".into()))?;
        *seq += 1;
        events.push(Event::of(draft, EventId { epoch: epoch.clone(), seq: *seq }, now));
    }
    insert_all(txn, &names, &events).await?;
    let ids = events.iter().map(Event::id).collect();
    for event in events {
        txn.tell_after_commit(event);
    }
    Ok(ids)
}

/// Moves each head on by its count. Returns each channel's life, and its seq as it was before.
async fn advance_heads(txn: &Txn<'_>, counts: BTreeMap<&str, i64>) -> Result<HashMap<String, (Epoch, i64)>, DbErr> {
    let text = "INSERT INTO channel_heads (channel, epoch, seq, dropped) \
        SELECT w.value ->> 0, w.value ->> 1, (w.value ->> 2)::bigint, 0 FROM json_array_elements($1::text::json) AS w (value) \
        ON CONFLICT (channel) DO UPDATE SET seq = channel_heads.seq + excluded.seq RETURNING channel, epoch, seq";
    let rows: Vec<_> = counts.iter().map(|(name, count)| json!([name, Epoch::random().0, count])).collect();
    let mut places = HashMap::with_capacity(counts.len());
    for row in txn.query_all_raw(db::sql(&**txn, text, [json!(rows).to_string().into()])).await? {
        let name: String = row.try_get("", "channel")?;
        let before = row.try_get::<i64>("", "seq")? - counts.get(name.as_str()).copied().unwrap_or_default();
        places.insert(name, (Epoch(row.try_get::<String>("", "epoch")?.into()), before));
    }
    Ok(places)
}

/// All of them by one statement, whatever their number: it is prepared once, and sent once.
async fn insert_all(txn: &Txn<'_>, names: &[String], events: &[Event]) -> Result<(), DbErr> {
    let text = format!(
        "{INSERT} SELECT w.value ->> 0, (w.value ->> 1)::bigint, (w.value ->> 2)::bigint, w.value ->> 3, w.value ->> 4, \
           w.value ->> 5, (w.value ->> 6)::bigint FROM json_array_elements($1::text::json) AS w (value)"
    );
    let rows: Vec<_> = events
        .iter()
        .zip(names)
        .map(|(event, name)| {
            let session = event.session.map(|id| id.0);
            let data: &str = &event.data;
            json!([name, event.seq, session, event.audience.to_string(), event.kind.as_str(), data, event.at.0])
        })
        .collect();
    db::execute(&**txn, &text, [json!(rows).to_string().into()]).await.map(drop)
}

/// A draft's row, as its columns are named in [`INSERT`], but for its place.
fn row_of(draft: &Draft, now: Timestamp) -> [Value; 5] {
    [
        draft.session.map(|id| id.0).into(),
        draft.audience.to_string().into(),
        draft.kind.as_str().into(),
        draft.data.as_ref().into(),
        now.0.into(),
    ]
}

/// Makes a channel's head before its first event, so that the first snapshot has an id to bear.
pub async fn create_channel(conn: &impl ConnectionTrait, channel: &Channel) -> Result<(), DbErr> {
    let (column, zero) = if db::is_postgres(conn) { (", seq", ", 0") } else { ("", "") };
    let text = format!(
        "INSERT INTO channel_heads (channel, epoch, dropped{column}) VALUES ($1, $2, 0{zero}) ON CONFLICT (channel) DO NOTHING"
    );
    db::execute(conn, &text, [channel.to_string().into(), Epoch::random().0.as_ref().into()]).await.map(drop)
}

/// The end of a channel's log, if the channel has one.
pub async fn head(conn: &impl ConnectionTrait, channel: &Channel) -> Result<Option<Head>, DbErr> {
    let text = format!("SELECT {} FROM channel_heads h WHERE h.channel = $1", head_columns(conn));
    let row = db::row(conn, &text, [channel.to_string().into()]).await?;
    row.map(|row| head_of(&row)).transpose()
}

/// A head from a row with its columns.
pub fn head_of(row: &QueryResult) -> Result<Head, DbErr> {
    Ok(Head {
        epoch: Epoch(row.try_get::<String>("", "epoch")?.into()),
        seq: row.try_get("", "seq")?,
        dropped: row.try_get("", "dropped")?,
    })
}

/// Nobody appends to the channel until the transaction ends.
pub async fn lock_head(conn: &impl ConnectionTrait, channel: &Channel) -> Result<(), DbErr> {
    let text = format!("SELECT 1 AS one FROM channel_heads WHERE channel = $1{}", db::for_update(conn));
    db::row(conn, &text, [channel.to_string().into()]).await.map(drop)
}

/// Looks at up to `limit` channels after `after`, in the order of their names: each with the newest of its first `batch`
/// events that is from before `cutoff`, if there is one.
///
/// A channel's events lie in the order of their age, so its first one tells whether there is anything to drop; an index by
/// age would be one more page to write for each event, in all the time in which nothing is dropped.
pub async fn with_oldest_before(
    conn: &impl ConnectionTrait,
    cutoff: Timestamp,
    after: &str,
    limit: u32,
    batch: i64,
) -> Result<Vec<(String, Option<i64>)>, DbErr> {
    #[derive(FromQueryResult)]
    struct Looked {
        channel: String,
        newest: Option<i64>,
    }
    let text = "SELECT h.channel, CASE WHEN \
          (SELECT e.created_at FROM events e WHERE e.channel = h.channel ORDER BY e.seq LIMIT 1) < $1 \
        THEN (SELECT MAX(o.seq) FROM \
          (SELECT e.seq, e.created_at FROM events e WHERE e.channel = h.channel ORDER BY e.seq LIMIT $4) o \
          WHERE o.created_at < $1) END AS newest \
        FROM channel_heads h WHERE h.channel > $2 ORDER BY h.channel LIMIT $3";
    let values = [cutoff.0.into(), after.into(), i64::from(limit).into(), batch.into()];
    let looked: Vec<Looked> = db::all(conn, text, values).await?;
    Ok(looked.into_iter().map(|looked| (looked.channel, looked.newest)).collect())
}

/// The first event up to `upto` that belongs to a session still open.
pub async fn first_of_open_session(
    conn: &impl ConnectionTrait,
    channel: &Channel,
    upto: i64,
) -> Result<Option<i64>, DbErr> {
    let text = "SELECT MIN(e.seq) AS first FROM events e JOIN sessions s ON s.id = e.session_id \
        WHERE e.channel = $1 AND e.seq <= $2 AND s.ended_at IS NULL";
    let row = db::row(conn, text, [channel.to_string().into(), upto.into()]).await?;
    Ok(row.map(|row| row.try_get("", "first")).transpose()?.flatten())
}

/// Drops a channel's events up to `upto`, and has its head remember it.
pub async fn drop_upto(conn: &impl ConnectionTrait, channel: &Channel, upto: i64) -> Result<(), DbErr> {
    let name = channel.to_string();
    let text = "DELETE FROM events WHERE channel = $1 AND seq <= $2";
    db::execute(conn, text, [name.clone().into(), upto.into()]).await?;
    let text = "UPDATE channel_heads SET dropped = $2 WHERE channel = $1";
    db::execute(conn, text, [name.into(), upto.into()]).await.map(drop)
}

/// An event as it is read for delivery, with the time its session ended.
#[derive(Clone, Debug)]
pub struct Read {
    /// The event.
    pub event: Event,
    /// When its session ended, if it did.
    pub session_ended_at: Option<Timestamp>,
}

#[derive(FromQueryResult)]
struct Row {
    channel: String,
    seq: i64,
    epoch: String,
    session_id: Option<i64>,
    audience: String,
    kind: String,
    data: String,
    created_at: i64,
    customer_id: Option<i64>,
    session_created_at: Option<i64>,
    session_ended_at: Option<i64>,
    full_name: Option<String>,
    receipt: Option<String>,
    settings: Option<String>,
}

/// Up to `limit` events of `channel` after `seq`, oldest first, with what delivery joins.
pub async fn since(
    conn: &impl ConnectionTrait,
    channel: &Channel,
    seq: i64,
    limit: u32,
    max_duration: impl Fn(&str) -> Option<std::time::Duration>,
) -> Result<Vec<Read>, DbErr> {
    let rows: Vec<Row> = db::all(
        conn,
        &format!("{SELECT} WHERE e.channel = $1 AND e.seq > $2 ORDER BY e.seq LIMIT $3"),
        [channel.to_string().into(), seq.into(), i64::from(limit).into()],
    )
    .await?;
    Ok(rows.into_iter().filter_map(|row| row.read(&max_duration)).collect())
}

/// The first of what came after each of these places, with what delivery joins: for a node that missed it. On
/// PostgreSQL, where there may be other nodes.
pub async fn since_each(
    conn: &impl ConnectionTrait,
    places: &[(Channel, i64)],
    max_duration: impl Fn(&str) -> Option<std::time::Duration>,
) -> Result<Vec<Read>, DbErr> {
    /// More than that is for those who follow the channel to read.
    const EACH: i64 = 32;
    let places: Vec<_> =
        places.iter().map(|(channel, seq)| json!({ "channel": channel.to_string(), "after": seq })).collect();
    let text = format!(
        "{SELECT} JOIN json_to_recordset($1::text::json) AS w (channel TEXT, after BIGINT) \
           ON w.channel = e.channel AND e.seq > w.after AND e.seq <= w.after + $2 ORDER BY e.channel, e.seq"
    );
    let rows: Vec<Row> = db::all(conn, &text, [json!(places).to_string().into(), EACH.into()]).await?;
    Ok(rows.into_iter().filter_map(|row| row.read(&max_duration)).collect())
}

/// Events with what delivery joins.
const SELECT: &str = "SELECT e.channel, e.seq, h.epoch, e.session_id, e.audience, e.kind, e.data, e.created_at, s.customer_id, \
       s.created_at AS session_created_at, s.ended_at AS session_ended_at, a.full_name, \
       CASE e.kind WHEN 'checkout-completed' THEN r.body END AS receipt, t.settings \
     FROM events e JOIN channel_heads h ON h.channel = e.channel \
     LEFT JOIN sessions s ON s.id = e.session_id LEFT JOIN stores t ON t.id = s.store_id \
     LEFT JOIN accounts a ON a.id = s.customer_id LEFT JOIN receipts r ON r.session_id = s.id";

impl Row {
    /// `None` for a channel no release of ours has written.
    fn read(self, max_duration: &impl Fn(&str) -> Option<std::time::Duration>) -> Option<Read> {
        let latest = self.settings.as_deref().and_then(max_duration);
        Some(Read {
            session_ended_at: self.session_ended_at.map(Timestamp),
            event: Event {
                channel: self.channel.try_into().ok()?,
                epoch: Epoch(self.epoch.into()),
                seq: self.seq,
                session: self.session_id.map(SessionId),
                audience: self.audience.into(),
                kind: self.kind.into(),
                data: self.data.into(),
                at: Timestamp(self.created_at),
                joined: Joined {
                    customer: self.customer_id.map(AccountId),
                    display_name: display_name(self.full_name.as_deref()),
                    expires_at: self.session_created_at.zip(latest).map(|(at, span)| Timestamp(at) + span),
                    receipt: self.receipt.map(Into::into),
                },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use cartlink_migrations::{Migrator, MigratorTrait};
    use sea_orm::Database;

    use super::*;
    use crate::event::Audience;

    #[tokio::test]
    async fn a_log_of_an_earlier_release_goes_on_where_it_ended() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("cartlink.db").display());
        let earlier = Database::connect(format!("{url}?mode=rwc")).await.unwrap();
        Migrator::up(&earlier, Some(3)).await.unwrap();
        let heads =
            "INSERT INTO channel_heads VALUES ('emit/kept', 'earlier', 2, 0), ('emit/dropped', 'earlier', 5, 5)";
        earlier.execute_unprepared(heads).await.unwrap();
        let events = "INSERT INTO events VALUES ('emit/kept', 1, NULL, '*', 'message', 'one', 7), \
            ('emit/kept', 2, NULL, 'user:u', 'message', 'two', 8)";
        earlier.execute_unprepared(events).await.unwrap();
        earlier.close().await.unwrap();

        let location = db::Location { url, connections: 1, statement_timeout: Duration::ZERO };
        let db = Db::open(&location, Arc::new(drop)).await.unwrap();
        db.migrate().await.unwrap();
        let channel = |name: &str| Channel::Emitted(name.into());
        let draft = |name: &str| Draft {
            channel: channel(name),
            session: None,
            audience: Audience::All,
            kind: Kind::Own("message".into()),
            data: "new".into(),
            joined: Joined::default(),
        };
        let drafts: Vec<Draft> = ["kept", "dropped", "unborn", "kept"].map(draft).into();
        let written: Result<Vec<EventId>, DbErr> = append_all(&db, move || drafts.clone(), Timestamp(9)).await;
        let ids: Vec<String> = written.unwrap().iter().map(EventId::to_string).collect();
        assert_eq!([&ids[0], &ids[1], &ids[3]], ["earlier.3", "earlier.6", "earlier.4"]);
        assert!(ids[2].ends_with(".1") && !ids[2].starts_with("earlier"), "{}", ids[2]);

        let kept = head(db.read(), &channel("kept")).await.unwrap().unwrap();
        assert_eq!((kept.id().to_string(), kept.dropped), ("earlier.4".to_owned(), 0));
        let read = since(db.read(), &channel("kept"), 0, 9, |_| None).await.unwrap();
        let read: Vec<_> = read.iter().map(|Read { event, .. }| (event.seq, &*event.data, event.at.0)).collect();
        assert_eq!(read, [(1, "one", 7), (2, "two", 8), (3, "new", 9), (4, "new", 9)]);

        let dropped = channel("dropped");
        db.write(async move |txn: &Txn<'_>| drop_upto(&**txn, &dropped, 6).await).await.unwrap();
        let dropped = head(db.read(), &channel("dropped")).await.unwrap().unwrap();
        assert_eq!((dropped.seq, dropped.dropped), (6, 6), "a log that holds nothing knows its end");
    }
}

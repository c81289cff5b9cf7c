//! Rows of sessions and of the claims they have on carts.

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};

use super::{Limits, Outcome, Phase, Reason, Session, State, Status, Transfer};
use crate::clock::Timestamp;
use crate::db;
use crate::ids::{AccountId, CartNum, SessionId, StoreId};
use crate::store;

/// A session's columns, its cart's, those of the cart it moves to, and its store's settings.
const SELECT: &str = "SELECT s.*, c.id AS cart_id, c.label AS cart_label, \
    CASE WHEN c.offline_at IS NOT NULL THEN c.seen_at END AS silent_since, \
    d.id AS transfer_id, d.label AS transfer_label, t.settings \
    FROM sessions s JOIN carts c ON c.num = s.cart_num JOIN stores t ON t.id = s.store_id \
    LEFT JOIN carts d ON d.num = s.transfer_cart";

#[derive(FromQueryResult)]
struct Row {
    id: i64,
    cart_num: i64,
    cart_id: String,
    cart_label: String,
    store_id: i64,
    customer_id: Option<i64>,
    check_code: String,
    status: String,
    phase: Option<String>,
    reason: Option<String>,
    acked: bool,
    checkout_id: Option<String>,
    version: i64,
    created_at: i64,
    fetched_at: Option<i64>,
    checkout_at: Option<i64>,
    ended_at: Option<i64>,
    activity_at: i64,
    updated_at: i64,
    scan_epoch: i64,
    transfer_cart: Option<i64>,
    transfer_id: Option<String>,
    transfer_label: Option<String>,
    transfer_epoch: Option<i64>,
    transfer_at: Option<i64>,
    silent_since: Option<i64>,
    settings: String,
}

/// A row no transition can have written.
fn impossible(row: &Row) -> DbErr {
    DbErr::Custom(format!(
        "session {} has an impossible row: status {}, phase {:?}, reason {:?}",
        row.id, row.status, row.phase, row.reason
    ))
}

fn state_of(row: &Row) -> Option<State> {
    let time = |millis: Option<i64>| millis.map(Timestamp);
    let open = |phase| Some(State::Fetched { at: time(row.fetched_at)?, acked: row.acked, phase });
    let ended = |outcome| Some(State::Ended { at: time(row.ended_at)?, outcome });
    let status = Status::parse(&row.status)?;
    let reason = row.reason.as_deref().map(Reason::parse);
    match (status, row.phase.as_deref(), reason) {
        (Status::Active, Some("pairing"), None) => Some(State::Active),
        (Status::Fetched, Some("shopping"), None) => open(Phase::Shopping),
        (Status::Fetched, Some("idle_warning"), None) => open(Phase::IdleWarning),
        (Status::Fetched, Some("checkout"), None) => {
            open(Phase::Checkout { id: row.checkout_id.clone()?, since: time(row.checkout_at)? })
        }
        (Status::Completed, None, None) => ended(Outcome::Completed),
        (status, None, Some(Some(reason))) if reason.status() == status => ended(Outcome::Cut(reason)),
        _ => None,
    }
}

/// The cart a row's session moves to: all of it, or nothing.
fn transfer_of(row: &Row) -> Option<Option<Transfer>> {
    let Some(cart) = row.transfer_cart else { return Some(None) };
    Some(Some(Transfer {
        cart: CartNum(cart),
        cart_id: row.transfer_id.as_ref()?.parse().ok()?,
        cart_label: row.transfer_label.clone()?,
        epoch: row.transfer_epoch?,
        since: Timestamp(row.transfer_at?),
    }))
}

impl TryFrom<Row> for Session {
    type Error = DbErr;
    fn try_from(row: Row) -> Result<Self, DbErr> {
        let state = state_of(&row).ok_or_else(|| impossible(&row))?;
        let cart_id = row.cart_id.parse().map_err(|_| impossible(&row))?;
        let transfer = transfer_of(&row).ok_or_else(|| impossible(&row))?;
        Ok(Self {
            id: SessionId(row.id),
            cart: CartNum(row.cart_num),
            cart_id,
            cart_label: row.cart_label,
            store: StoreId(row.store_id),
            customer: row.customer_id.map(AccountId),
            check_code: row.check_code,
            state,
            version: row.version,
            created_at: Timestamp(row.created_at),
            fetched_at: row.fetched_at.map(Timestamp),
            checkout_at: row.checkout_at.map(Timestamp),
            checkout_id: row.checkout_id,
            activity_at: Timestamp(row.activity_at),
            updated_at: Timestamp(row.updated_at),
            scan_epoch: row.scan_epoch,
            transfer,
            silent_since: row.silent_since.map(Timestamp),
            limits: store::Settings::parse(&row.settings).limits(),
        })
    }
}

async fn first(
    conn: &impl ConnectionTrait,
    condition: &str,
    values: impl IntoIterator<Item = sea_orm::Value>,
) -> Result<Option<Session>, DbErr> {
    let row: Option<Row> = db::one(conn, &format!("{SELECT} {condition}"), values).await?;
    row.map(Session::try_from).transpose()
}

/// The session with this id.
pub async fn find(conn: &impl ConnectionTrait, id: SessionId) -> Result<Option<Session>, DbErr> {
    first(conn, "WHERE s.id = $1", [id.0.into()]).await
}

/// As [`find`], and nobody else changes it until the transaction ends.
pub async fn lock(conn: &impl ConnectionTrait, id: SessionId) -> Result<Option<Session>, DbErr> {
    // Only the session's row: locking cart and store as well would serialise a whole store.
    db::lock(conn, "SELECT 1 FROM sessions WHERE id = $1", id.0.into()).await?;
    find(conn, id).await
}

/// The open session of a customer.
pub async fn open_of_customer(conn: &impl ConnectionTrait, customer: AccountId) -> Result<Option<Session>, DbErr> {
    first(conn, "WHERE s.customer_id = $1 AND s.ended_at IS NULL", [customer.0.into()]).await
}

/// The open session that has a claim on a cart, as that cart sees it.
pub async fn open_on_cart(conn: &impl ConnectionTrait, cart: CartNum) -> Result<Option<Session>, DbErr> {
    let condition = "JOIN cart_claims k ON k.session_id = s.id WHERE k.cart_num = $1 AND s.ended_at IS NULL";
    let open = first(conn, condition, [cart.0.into()]).await?;
    Ok(open.map(|session| session.seen_from(cart)))
}

/// The session a code of this cart and pairing epoch made, if it made one.
pub async fn of_scan(conn: &impl ConnectionTrait, cart: CartNum, epoch: i64) -> Result<Option<Session>, DbErr> {
    let condition = "WHERE s.cart_num = $1 AND s.scan_epoch = $2";
    first(conn, condition, [cart.0.into(), epoch.into()]).await
}

/// A customer's sessions, newest first, before `before`.
pub async fn of_customer(
    conn: &impl ConnectionTrait,
    customer: AccountId,
    before: SessionId,
    limit: u32,
) -> Result<Vec<Session>, DbErr> {
    let text = format!("{SELECT} WHERE s.customer_id = $1 AND s.id < $2 ORDER BY s.id DESC LIMIT $3");
    let values = [customer.0.into(), before.0.into(), i64::from(limit).into()];
    let rows: Vec<Row> = db::all(conn, &text, values).await?;
    rows.into_iter().map(Session::try_from).collect()
}

/// The sessions a list of staff's asks for: `condition` is all that follows the joins, `s` the session and `c` its cart.
pub async fn matching(
    conn: &impl ConnectionTrait,
    condition: &str,
    values: impl IntoIterator<Item = sea_orm::Value>,
) -> Result<Vec<Session>, DbErr> {
    let rows: Vec<Row> = db::all(conn, &format!("{SELECT} {condition}"), values).await?;
    rows.into_iter().map(Session::try_from).collect()
}

#[derive(FromQueryResult)]
struct Id {
    id: i64,
}

/// Open sessions whose time has come by `now`, the most overdue first.
pub async fn due(conn: &impl ConnectionTrait, now: Timestamp, limit: u32) -> Result<Vec<SessionId>, DbErr> {
    let text = "SELECT id FROM sessions WHERE ended_at IS NULL AND due_at <= $1 ORDER BY due_at LIMIT $2";
    let rows: Vec<Id> = db::all(conn, text, [now.0.into(), i64::from(limit).into()]).await?;
    Ok(rows.into_iter().map(|row| SessionId(row.id)).collect())
}

/// What a scan makes.
pub struct Scanned<'a> {
    /// On which cart.
    pub cart: CartNum,
    /// Of which store.
    pub store: StoreId,
    /// Whose.
    pub customer: AccountId,
    /// By a code of which pairing epoch.
    pub epoch: i64,
    /// To compare on both screens.
    pub check_code: &'a str,
    /// When its first time-out is due.
    pub due_at: Option<Timestamp>,
}

/// Inserts an active session and its claim on the cart.
pub async fn insert(conn: &impl ConnectionTrait, scanned: &Scanned<'_>, now: Timestamp) -> Result<SessionId, DbErr> {
    const INSERT: &str = "INSERT INTO sessions (cart_num, store_id, customer_id, scan_epoch, check_code, status, \
           phase, acked, version, created_at, activity_at, updated_at, due_at) \
         VALUES ($1, $2, $3, $4, $5, 'active', 'pairing', FALSE, 1, $6, $6, $6, $7) RETURNING id";
    let at_once = db::is_postgres(conn);
    let both = format!(
        "WITH s AS ({INSERT}), k AS (INSERT INTO cart_claims (cart_num, session_id) SELECT $1, id FROM s) SELECT id FROM s"
    );
    let row = db::row(
        conn,
        if at_once { &both } else { INSERT },
        [
            scanned.cart.0.into(),
            scanned.store.0.into(),
            scanned.customer.0.into(),
            scanned.epoch.into(),
            scanned.check_code.into(),
            now.0.into(),
            scanned.due_at.map(|at| at.0).into(),
        ],
    )
    .await?
    .ok_or_else(|| DbErr::RecordNotInserted)?;
    let id = SessionId(row.try_get("", "id")?);
    if !at_once {
        claim(conn, scanned.cart, id).await?;
    }
    Ok(id)
}

/// Claims a cart for a session.
pub async fn claim(conn: &impl ConnectionTrait, cart: CartNum, session: SessionId) -> Result<(), DbErr> {
    let text = "INSERT INTO cart_claims (cart_num, session_id) VALUES ($1, $2)";
    db::execute(conn, text, [cart.0.into(), session.0.into()]).await.map(drop)
}

/// Gives up a session's claims, and bumps the carts' pairing epochs so that no earlier code fits.
pub async fn release_claims(conn: &impl ConnectionTrait, session: SessionId, now: Timestamp) -> Result<(), DbErr> {
    let bump = "UPDATE carts SET pairing_epoch = pairing_epoch + 1, updated_at = $2 \
        WHERE num IN (SELECT cart_num FROM cart_claims WHERE session_id = $1)";
    db::execute(conn, bump, [session.0.into(), now.0.into()]).await?;
    let text = "DELETE FROM cart_claims WHERE session_id = $1";
    db::execute(conn, text, [session.0.into()]).await.map(drop)
}

/// Gives up the claim on one cart, as [`release_claims`] does.
pub async fn release_claim(conn: &impl ConnectionTrait, cart: CartNum, now: Timestamp) -> Result<(), DbErr> {
    db::execute(conn, "DELETE FROM cart_claims WHERE cart_num = $1", [cart.0.into()]).await?;
    crate::cart::store::bump_epoch(conn, cart, now).await
}

/// Keeps the claim on a cart until its goodbye is over.
pub async fn keep_claim(conn: &impl ConnectionTrait, cart: CartNum, until: Timestamp) -> Result<(), DbErr> {
    let text = "UPDATE cart_claims SET until = $2 WHERE cart_num = $1";
    db::execute(conn, text, [cart.0.into(), until.0.into()]).await.map(drop)
}

/// Carts whose goodbye is over.
pub async fn goodbyes_over(conn: &impl ConnectionTrait, now: Timestamp, limit: u32) -> Result<Vec<CartNum>, DbErr> {
    let text = "SELECT cart_num AS id FROM cart_claims WHERE until <= $1 ORDER BY until LIMIT $2";
    let rows: Vec<Id> = db::all(conn, text, [now.0.into(), i64::from(limit).into()]).await?;
    Ok(rows.into_iter().map(|row| CartNum(row.id)).collect())
}

/// Whether this cart's goodbye is over and nobody has freed it yet.
pub async fn goodbye_is_over(conn: &impl ConnectionTrait, cart: CartNum, now: Timestamp) -> Result<bool, DbErr> {
    let text = "SELECT 1 FROM cart_claims WHERE cart_num = $1 AND until <= $2";
    Ok(db::row(conn, text, [cart.0.into(), now.0.into()]).await?.is_some())
}

/// Writes a session's state where it is still at `version`. `false`: somebody was faster.
pub async fn update(
    conn: &impl ConnectionTrait,
    session: &Session,
    version: i64,
    due_at: Option<Timestamp>,
) -> Result<bool, DbErr> {
    // How it was picked up stays known after its end.
    let acked = match session.state {
        State::Fetched { acked, .. } => Some(acked),
        _ => None,
    };
    let transfer = session.transfer.as_ref();
    let result = db::execute(
        conn,
        "UPDATE sessions SET status = $1, phase = $2, reason = $3, acked = COALESCE($4, acked), checkout_id = $5, \
           version = $6, fetched_at = $7, checkout_at = $8, ended_at = $9, activity_at = $10, updated_at = $11, due_at = $12, \
           cart_num = $13, scan_epoch = $14, transfer_cart = $15, transfer_epoch = $16, transfer_at = $17 \
         WHERE id = $18 AND version = $19",
        [
            session.state.status().as_str().into(),
            session.state.phase().into(),
            session.state.reason().map(Reason::as_str).into(),
            acked.into(),
            session.checkout_id.clone().into(),
            session.version.into(),
            session.fetched_at.map(|at| at.0).into(),
            session.checkout_at.map(|at| at.0).into(),
            session.ended_at().map(|at| at.0).into(),
            session.activity_at.0.into(),
            session.updated_at.0.into(),
            due_at.map(|at| at.0).into(),
            session.cart.0.into(),
            session.scan_epoch.into(),
            transfer.map(|transfer| transfer.cart.0).into(),
            transfer.map(|transfer| transfer.epoch).into(),
            transfer.map(|transfer| transfer.since.0).into(),
            session.id.0.into(),
            version.into(),
        ],
    )
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Writes down when time takes the next step: what was due came to nothing.
pub async fn put_off(conn: &impl ConnectionTrait, id: SessionId, due_at: Option<Timestamp>) -> Result<(), DbErr> {
    let text = "UPDATE sessions SET due_at = $1 WHERE id = $2";
    db::execute(conn, text, [due_at.map(|at| at.0).into(), id.0.into()]).await.map(drop)
}

/// Notes a sign of life: nothing else changes, nothing is told.
pub async fn touch(conn: &impl ConnectionTrait, session: &Session, due_at: Option<Timestamp>) -> Result<(), DbErr> {
    let text = "UPDATE sessions SET activity_at = $1, due_at = $2 WHERE id = $3";
    let values = [session.activity_at.0.into(), due_at.map(|at| at.0).into(), session.id.0.into()];
    db::execute(conn, text, values).await.map(drop)
}

/// A completed session's receipt, as JSON.
pub async fn receipt(conn: &impl ConnectionTrait, id: SessionId) -> Result<Option<String>, DbErr> {
    let row = db::row(conn, "SELECT body FROM receipts WHERE session_id = $1", [id.0.into()]).await?;
    row.map(|row| row.try_get("", "body")).transpose()
}

/// Keeps a receipt.
pub async fn insert_receipt(
    conn: &impl ConnectionTrait,
    id: SessionId,
    checkout_id: &str,
    body: &str,
    now: Timestamp,
) -> Result<(), DbErr> {
    let text = "INSERT INTO receipts (session_id, checkout_id, body, created_at) VALUES ($1, $2, $3, $4)";
    db::execute(conn, text, [id.0.into(), checkout_id.into(), body.into(), now.0.into()]).await.map(drop)
}

impl Limits {
    /// The defaults of contract §4.
    pub fn standard() -> Self {
        let seconds = |seconds| Some(std::time::Duration::from_secs(seconds));
        Self {
            pickup: seconds(30),
            idle_warning: seconds(15 * 60),
            idle_expiry: seconds(20 * 60),
            max_duration: seconds(4 * 3600),
            checkout: seconds(10 * 60),
            release: std::time::Duration::from_secs(60),
            transfer: std::time::Duration::from_secs(30),
            goodbye: seconds(15),
            cart_offline: seconds(90),
            cart_lost: seconds(15 * 60),
            idle_without_ack: false,
        }
    }
}

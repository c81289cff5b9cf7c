//! Rows of carts and their enrolment codes.

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};

use super::{Cart, Lifecycle};
use crate::clock::Timestamp;
use crate::db;
use crate::event::{self, Channel, store::Head};
use crate::ids::{CartId, CartNum, StoreId};
use crate::store::Settings;

/// A cart's columns, and whether a session has a claim on it.
const SELECT: &str =
    "SELECT c.*, EXISTS (SELECT 1 FROM cart_claims k WHERE k.cart_num = c.num) AS occupied FROM carts c";

#[derive(FromQueryResult)]
struct Row {
    num: i64,
    id: String,
    store_id: i64,
    label: String,
    lifecycle: String,
    pairing_epoch: i64,
    key_hash: Option<String>,
    battery: Option<i64>,
    charging: Option<bool>,
    app_version: Option<String>,
    seen_at: Option<i64>,
    heartbeat_at: Option<i64>,
    offline_at: Option<i64>,
    created_at: i64,
    updated_at: i64,
    occupied: bool,
}

impl TryFrom<Row> for Cart {
    type Error = DbErr;
    fn try_from(row: Row) -> Result<Self, DbErr> {
        let odd = || DbErr::Custom(format!("cart {} has an impossible row", row.num));
        Ok(Self {
            num: CartNum(row.num),
            id: row.id.parse().map_err(|_| odd())?,
            store: StoreId(row.store_id),
            lifecycle: Lifecycle::parse(&row.lifecycle).ok_or_else(odd)?,
            label: row.label,
            pairing_epoch: row.pairing_epoch,
            battery: row.battery,
            charging: row.charging.unwrap_or(false),
            app_version: row.app_version,
            enrolled: row.key_hash.is_some(),
            seen_at: row.seen_at.map(Timestamp),
            heartbeat_at: row.heartbeat_at.map(Timestamp),
            offline_at: row.offline_at.map(Timestamp),
            occupied: row.occupied,
            created_at: Timestamp(row.created_at),
            updated_at: Timestamp(row.updated_at),
        })
    }
}

async fn first(
    conn: &impl ConnectionTrait,
    condition: &str,
    values: impl IntoIterator<Item = sea_orm::Value>,
) -> Result<Option<Cart>, DbErr> {
    let row: Option<Row> = db::one(conn, &format!("{SELECT} {condition}"), values).await?;
    row.map(Cart::try_from).transpose()
}

/// The cart of this name.
pub async fn find(conn: &impl ConnectionTrait, id: &CartId) -> Result<Option<Cart>, DbErr> {
    first(conn, "WHERE c.id = $1", [id.as_str().into()]).await
}

/// The cart of this number.
pub async fn by_num(conn: &impl ConnectionTrait, num: CartNum) -> Result<Option<Cart>, DbErr> {
    first(conn, "WHERE c.num = $1", [num.0.into()]).await
}

/// The cart whose device key hashes to this.
pub async fn by_key(conn: &impl ConnectionTrait, key_hash: &str) -> Result<Option<Cart>, DbErr> {
    first(conn, "WHERE c.key_hash = $1 AND c.lifecycle <> 'retired'", [key_hash.into()]).await
}

/// The cart, locked: nobody else changes it until the transaction ends.
pub async fn lock(conn: &impl ConnectionTrait, num: CartNum) -> Result<Option<Cart>, DbErr> {
    db::lock(conn, "SELECT 1 FROM carts WHERE num = $1", num.0.into()).await?;
    by_num(conn, num).await
}

/// Which carts are listed.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this store; of all where `None`.
    pub store: Option<StoreId>,
    /// In one of these stages.
    pub lifecycles: Vec<Lifecycle>,
}

/// Carts, in the order they were made.
pub async fn list(conn: &impl ConnectionTrait, filter: &Filter) -> Result<Vec<Cart>, DbErr> {
    // Stages are our own words, so that they may stand in the statement.
    let stages: Vec<String> = filter.lifecycles.iter().map(|stage| format!("'{}'", stage.as_str())).collect();
    let text = format!(
        "{SELECT} WHERE c.lifecycle IN ({}) AND ($1 IS NULL OR c.store_id = $1) ORDER BY c.num",
        stages.join(", ")
    );
    let rows: Vec<Row> = db::all(conn, &text, [filter.store.map(|store| store.0).into()]).await?;
    rows.into_iter().map(Cart::try_from).collect()
}

/// Makes a cart that waits for its enrolment. `None`: the name is taken.
pub async fn insert(
    conn: &impl ConnectionTrait,
    id: &CartId,
    label: &str,
    store: StoreId,
    now: Timestamp,
) -> Result<Option<CartNum>, DbErr> {
    let row = db::row(
        conn,
        "INSERT INTO carts (id, store_id, label, lifecycle, pairing_epoch, created_at, updated_at) \
         VALUES ($1, $2, $3, 'pending', 1, $4, $4) ON CONFLICT (id) DO NOTHING RETURNING num",
        [id.as_str().into(), store.0.into(), label.into(), now.0.into()],
    )
    .await?;
    row.map(|row| row.try_get("", "num").map(CartNum)).transpose()
}

/// Writes what staff and heartbeats may change. Keys and the pairing epoch have verbs of their own.
pub async fn save(conn: &impl ConnectionTrait, cart: &Cart) -> Result<(), DbErr> {
    db::execute(
        conn,
        "UPDATE carts SET store_id = $2, label = $3, lifecycle = $4, battery = $5, charging = $6, app_version = $7, \
           offline_at = CASE WHEN seen_at IS DISTINCT FROM $8 THEN NULL ELSE offline_at END, \
           seen_at = $8, heartbeat_at = $9, updated_at = $10 WHERE num = $1",
        [
            cart.num.0.into(),
            cart.store.0.into(),
            cart.label.clone().into(),
            cart.lifecycle.as_str().into(),
            cart.battery.into(),
            cart.charging.into(),
            cart.app_version.clone().into(),
            cart.seen_at.map(|at| at.0).into(),
            cart.heartbeat_at.map(|at| at.0).into(),
            cart.updated_at.0.into(),
        ],
    )
    .await
    .map(drop)
}

/// Gives the cart another device key, or none: the earlier one opens nothing any more.
pub async fn set_key(conn: &impl ConnectionTrait, num: CartNum, key_hash: Option<&str>) -> Result<(), DbErr> {
    let text = "UPDATE carts SET key_hash = $2 WHERE num = $1";
    db::execute(conn, text, [num.0.into(), key_hash.into()]).await.map(drop)
}

/// An enrolment code that has been given out.
#[derive(Debug, FromQueryResult)]
pub struct Enrolment {
    /// For which cart.
    pub cart_num: i64,
    /// Its secret half, hashed.
    pub secret_hash: String,
    /// Wrong secrets so far.
    pub tries: i64,
    /// Until when.
    pub expires_at: i64,
}

/// Keeps an enrolment code. `false`: the selector is taken.
pub async fn insert_enrolment(
    conn: &impl ConnectionTrait,
    selector: &str,
    secret_hash: &str,
    cart: CartNum,
    expires_at: Timestamp,
) -> Result<bool, DbErr> {
    let result = db::execute(
        conn,
        "INSERT INTO enrolments (selector, cart_num, secret_hash, tries, expires_at) VALUES ($1, $2, $3, 0, $4) \
         ON CONFLICT (selector) DO NOTHING",
        [selector.into(), cart.0.into(), secret_hash.into(), expires_at.0.into()],
    )
    .await?;
    Ok(result.rows_affected() == 1)
}

/// The enrolment code of this selector. The cart's lock is what guards it.
pub async fn enrolment(conn: &impl ConnectionTrait, selector: &str) -> Result<Option<Enrolment>, DbErr> {
    let text = "SELECT cart_num, secret_hash, tries, expires_at FROM enrolments WHERE selector = $1";
    db::one(conn, text, [selector.into()]).await
}

/// Counts a wrong secret.
pub async fn count_try(conn: &impl ConnectionTrait, selector: &str) -> Result<(), DbErr> {
    let text = "UPDATE enrolments SET tries = tries + 1 WHERE selector = $1";
    db::execute(conn, text, [selector.into()]).await.map(drop)
}

/// Forgets a cart's enrolment codes, used or not, and everybody's that ran out.
pub async fn drop_enrolments(conn: &impl ConnectionTrait, cart: CartNum, now: Timestamp) -> Result<(), DbErr> {
    let text = "DELETE FROM enrolments WHERE cart_num = $1 OR expires_at <= $2";
    db::execute(conn, text, [cart.0.into(), now.0.into()]).await.map(drop)
}

/// Moves the pairing epoch on: no earlier code fits any more.
pub async fn bump_epoch(conn: &impl ConnectionTrait, num: CartNum, now: Timestamp) -> Result<(), DbErr> {
    let text = "UPDATE carts SET pairing_epoch = pairing_epoch + 1, updated_at = $2 WHERE num = $1";
    db::execute(conn, text, [num.0.into(), now.0.into()]).await.map(drop)
}

/// A cart and the end of its channel's log, as they stood at one moment.
pub async fn with_head(conn: &impl ConnectionTrait, num: CartNum) -> Result<Option<(Cart, Head)>, DbErr> {
    let text = format!(
        "SELECT c.*, EXISTS (SELECT 1 FROM cart_claims k WHERE k.cart_num = c.num) AS occupied, {} \
         FROM carts c JOIN channel_heads h ON h.channel = $2 WHERE c.num = $1",
        event::store::head_columns(conn)
    );
    let values = [num.0.into(), Channel::Cart(num).to_string().into()];
    let Some(row) = db::row(conn, &text, values).await? else { return Ok(None) };
    let cart = Row::from_query_result(&row, "")?.try_into()?;
    Ok(Some((cart, event::store::head_of(&row)?)))
}

/// Notes that these carts are heard. One that somebody is changing right now is left to the next time: nobody waits
/// for a sign of life, and no two of them for each other.
pub async fn heard(conn: &impl ConnectionTrait, carts: &[CartNum], now: Timestamp) -> Result<(), DbErr> {
    // Numbers of ours, so that they may stand in the statement.
    let nums = carts.iter().map(CartNum::to_string).collect::<Vec<_>>().join(", ");
    let skip = if db::for_update(conn).is_empty() { "" } else { " FOR UPDATE SKIP LOCKED" };
    let text = format!(
        "UPDATE carts SET seen_at = $1 WHERE num IN (SELECT num FROM carts WHERE num IN ({nums}) AND (seen_at IS NULL OR seen_at < $1){skip})"
    );
    db::execute(conn, &text, [now.0.into()]).await.map(drop)
}

/// Those of these carts that were declared offline.
pub async fn offline(conn: &impl ConnectionTrait, carts: &[CartNum]) -> Result<Vec<CartNum>, DbErr> {
    let nums = carts.iter().map(CartNum::to_string).collect::<Vec<_>>().join(", ");
    let text = format!("SELECT num FROM carts WHERE num IN ({nums}) AND offline_at IS NOT NULL ORDER BY num");
    let rows = conn.query_all_raw(db::sql(conn, &text, [])).await?;
    rows.iter().map(|row| row.try_get("", "num").map(CartNum)).collect()
}

/// Notes that these carts sent a heartbeat. Returns those whose row nobody was changing.
pub async fn beaten(conn: &impl ConnectionTrait, carts: &[CartNum], at: Timestamp) -> Result<Vec<CartNum>, DbErr> {
    #[derive(FromQueryResult)]
    struct Noted {
        num: i64,
    }
    let nums = carts.iter().map(CartNum::to_string).collect::<Vec<_>>().join(", ");
    let skip = if db::for_update(conn).is_empty() { "" } else { " FOR UPDATE SKIP LOCKED" };
    let text = format!(
        "UPDATE carts SET seen_at = CASE WHEN seen_at > $1 THEN seen_at ELSE $1 END, heartbeat_at = $1 \
         WHERE num IN (SELECT num FROM carts WHERE num IN ({nums}){skip}) RETURNING num"
    );
    let rows: Vec<Noted> = db::all(conn, &text, [at.0.into()]).await?;
    Ok(rows.into_iter().map(|row| CartNum(row.num)).collect())
}

/// Carts of these stores that send heartbeats, have been silent since `seen_before` and are not declared
/// offline yet. Of all stores where `None`.
pub async fn silent(
    conn: &impl ConnectionTrait,
    stores: Option<&[StoreId]>,
    seen_before: Timestamp,
    limit: u32,
) -> Result<Vec<CartNum>, DbErr> {
    let numbers = |stores: &[StoreId]| stores.iter().map(StoreId::to_string).collect::<Vec<_>>().join(", ");
    let only = stores.map_or_else(String::new, |stores| format!("AND store_id IN ({})", numbers(stores)));
    let text = format!(
        "SELECT num FROM carts WHERE heartbeat_at IS NOT NULL AND offline_at IS NULL AND seen_at <= $1 {only} ORDER BY seen_at LIMIT $2"
    );
    let rows = conn.query_all_raw(db::sql(conn, &text, [seen_before.0.into(), i64::from(limit).into()])).await?;
    rows.iter().map(|row| row.try_get("", "num").map(CartNum)).collect()
}

/// Declares a cart offline that is still as silent as it seemed. `false`: it is not, or somebody was faster.
pub async fn declare_offline(
    conn: &impl ConnectionTrait,
    num: CartNum,
    seen_before: Timestamp,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let text = "UPDATE carts SET offline_at = $3 \
        WHERE num = $1 AND heartbeat_at IS NOT NULL AND offline_at IS NULL AND seen_at <= $2";
    let result = db::execute(conn, text, [num.0.into(), seen_before.0.into(), now.0.into()]).await?;
    Ok(result.rows_affected() == 1)
}

/// A cart whose pairing epoch was just bumped, as it is after that, with what a scan asks of its store.
pub struct Bumped {
    /// The cart.
    pub cart: Cart,
    /// Its store's settings.
    pub settings: Settings,
    /// Whether any webhook is told of its store's sessions.
    pub hooked: bool,
}

/// The cart is heard again, and no longer declared offline.
pub async fn end_offline(conn: &impl ConnectionTrait, num: CartNum, now: Timestamp) -> Result<(), DbErr> {
    let text = "UPDATE carts SET offline_at = NULL, seen_at = $2 WHERE num = $1";
    db::execute(conn, text, [num.0.into(), now.0.into()]).await.map(drop)
}

/// Bumps a cart's pairing epoch if its low 16 bits are still these: of any number of racing scans one
/// gets the cart.
pub async fn bump_if_current(
    conn: &impl ConnectionTrait,
    num: CartNum,
    epoch_low: u16,
    now: Timestamp,
) -> Result<Option<Bumped>, DbErr> {
    let text = "UPDATE carts SET pairing_epoch = pairing_epoch + 1, updated_at = $3 \
        WHERE num = $1 AND (pairing_epoch & 65535) = $2 \
        RETURNING *, EXISTS (SELECT 1 FROM cart_claims k WHERE k.cart_num = carts.num) AS occupied, \
          (SELECT settings FROM stores t WHERE t.id = carts.store_id) AS settings, \
          EXISTS (SELECT 1 FROM webhooks w WHERE w.removed_at IS NULL AND (w.store_id IS NULL OR w.store_id = carts.store_id)) AS hooked";
    let values = [num.0.into(), i64::from(epoch_low).into(), now.0.into()];
    let Some(row) = db::row(conn, text, values).await? else { return Ok(None) };
    Ok(Some(Bumped {
        cart: Row::from_query_result(&row, "")?.try_into()?,
        settings: Settings::parse(&row.try_get::<String>("", "settings")?),
        hooked: row.try_get("", "hooked")?,
    }))
}

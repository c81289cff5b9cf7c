//! Rows of stores.

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};

use super::{Settings, Store};
use crate::clock::Timestamp;
use crate::db;
use crate::ids::StoreId;

/// A store's settings.
pub async fn settings(conn: &impl ConnectionTrait, id: StoreId) -> Result<Settings, DbErr> {
    let row = db::row(conn, "SELECT settings FROM stores WHERE id = $1", [id.0.into()]).await?;
    Ok(row
        .map(|row| row.try_get::<String>("", "settings"))
        .transpose()?
        .map_or_else(Settings::default, |text| Settings::parse(&text)))
}

/// The first store there is, made if there is none: carts and staff always have one to belong to.
pub async fn default(conn: &impl ConnectionTrait, now: Timestamp) -> Result<StoreId, DbErr> {
    let first = db::row(conn, "SELECT id FROM stores ORDER BY id LIMIT 1", []).await?;
    let row = match first {
        Some(row) => row,
        None => db::row(
            conn,
            "INSERT INTO stores (name, settings, created_at) VALUES ('Store', '{}', $1) RETURNING id",
            [now.0.into()],
        )
        .await?
        .ok_or(DbErr::RecordNotInserted)?,
    };
    Ok(StoreId(row.try_get("", "id")?))
}

#[derive(FromQueryResult)]
struct Row {
    id: i64,
    name: String,
    settings: String,
    created_at: i64,
}

impl From<Row> for Store {
    fn from(row: Row) -> Self {
        Self {
            id: StoreId(row.id),
            name: row.name,
            settings: Settings::parse(&row.settings),
            created_at: Timestamp(row.created_at),
        }
    }
}

/// The store with this id.
pub async fn find(conn: &impl ConnectionTrait, id: StoreId) -> Result<Option<Store>, DbErr> {
    let row: Option<Row> = db::one(conn, "SELECT * FROM stores WHERE id = $1", [id.0.into()]).await?;
    Ok(row.map(Store::from))
}

/// As [`find`], and nobody else changes it until the transaction ends.
pub async fn lock(conn: &impl ConnectionTrait, id: StoreId) -> Result<Option<Store>, DbErr> {
    let text = format!("SELECT * FROM stores WHERE id = $1{}", db::for_update(conn));
    let row: Option<Row> = db::one(conn, &text, [id.0.into()]).await?;
    Ok(row.map(Store::from))
}

/// One store, or all where `None`.
pub async fn all(conn: &impl ConnectionTrait, only: Option<StoreId>) -> Result<Vec<Store>, DbErr> {
    // PostgreSQL cannot tell the type of a parameter that is only compared with NULL.
    let text = "SELECT * FROM stores WHERE CAST($1 AS BIGINT) IS NULL OR id = $1 ORDER BY id";
    let rows: Vec<Row> = db::all(conn, text, [only.map(|store| store.0).into()]).await?;
    Ok(rows.into_iter().map(Store::from).collect())
}

/// A new store.
pub async fn insert(
    conn: &impl ConnectionTrait,
    name: &str,
    settings: &Settings,
    now: Timestamp,
) -> Result<StoreId, DbErr> {
    let text = "INSERT INTO stores (name, settings, created_at) VALUES ($1, $2, $3) RETURNING id";
    let row = db::row(conn, text, [name.into(), settings.written().into(), now.0.into()]).await?;
    Ok(StoreId(row.ok_or(DbErr::RecordNotInserted)?.try_get("", "id")?))
}

/// Writes what may change of a store.
pub async fn update(conn: &impl ConnectionTrait, store: &Store) -> Result<(), DbErr> {
    let text = "UPDATE stores SET name = $2, settings = $3 WHERE id = $1";
    let values = [store.id.0.into(), store.name.as_str().into(), store.settings.written().into()];
    db::execute(conn, text, values).await.map(drop)
}

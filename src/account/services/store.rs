//! Rows of services.

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};

use super::{Registered, scopes, written};
use crate::clock::Timestamp;
use crate::db;
use crate::ids::StoreId;
use crate::principal::Service;

#[derive(FromQueryResult)]
struct Row {
    client_id: String,
    name: String,
    secret_hash: String,
    scopes: String,
    store_id: Option<i64>,
    created_at: i64,
}

impl TryFrom<Row> for Registered {
    type Error = DbErr;
    fn try_from(row: Row) -> Result<Self, DbErr> {
        let odd = |word| DbErr::Custom(format!("service {} has an impossible scope {word:?}", row.client_id));
        let scopes = scopes(&row.scopes).map_err(odd)?;
        let service = Service {
            client_id: row.client_id,
            scopes,
            store: row.store_id.map(StoreId),
            // Each of its tokens says this anew.
            exp: Timestamp(i64::MAX),
        };
        Ok(Self { service, name: row.name, secret_hash: row.secret_hash, created_at: Timestamp(row.created_at) })
    }
}

/// The service, if it has not been removed.
pub async fn find(conn: &impl ConnectionTrait, client_id: &str) -> Result<Option<Registered>, DbErr> {
    let text = "SELECT * FROM services WHERE client_id = $1 AND revoked_at IS NULL";
    let row: Option<Row> = db::one(conn, text, [client_id.into()]).await?;
    row.map(Registered::try_from).transpose()
}

/// As [`find`], and nobody else changes it until the transaction ends.
pub async fn lock(conn: &impl ConnectionTrait, client_id: &str) -> Result<Option<Registered>, DbErr> {
    let text = format!("SELECT * FROM services WHERE client_id = $1 AND revoked_at IS NULL{}", db::for_update(conn));
    let row: Option<Row> = db::one(conn, &text, [client_id.into()]).await?;
    row.map(Registered::try_from).transpose()
}

/// The services of a store; all where `None`.
pub async fn all(conn: &impl ConnectionTrait, store: Option<StoreId>) -> Result<Vec<Registered>, DbErr> {
    // PostgreSQL cannot tell the type of a parameter that is only compared with NULL.
    let text = "SELECT * FROM services WHERE revoked_at IS NULL \
        AND (CAST($1 AS BIGINT) IS NULL OR store_id = $1) ORDER BY created_at, client_id";
    let rows: Vec<Row> = db::all(conn, text, [store.map(|store| store.0).into()]).await?;
    rows.into_iter().map(Registered::try_from).collect()
}

/// A new service.
pub async fn insert(conn: &impl ConnectionTrait, new: &Registered) -> Result<(), DbErr> {
    let text = "INSERT INTO services (client_id, name, secret_hash, scopes, store_id, created_at) VALUES ($1, $2, $3, $4, $5, $6)";
    let values = [
        new.service.client_id.as_str().into(),
        new.name.as_str().into(),
        new.secret_hash.as_str().into(),
        written(&new.service.scopes).into(),
        new.service.store.map(|store| store.0).into(),
        new.created_at.0.into(),
    ];
    db::execute(conn, text, values).await.map(drop)
}

/// Another secret; the one before is void.
pub async fn rotate(conn: &impl ConnectionTrait, client_id: &str, secret_hash: &str) -> Result<(), DbErr> {
    let text = "UPDATE services SET secret_hash = $2 WHERE client_id = $1";
    db::execute(conn, text, [client_id.into(), secret_hash.into()]).await.map(drop)
}

/// It is no more. The row stays, so that the audit log's names mean something.
pub async fn revoke(conn: &impl ConnectionTrait, client_id: &str, now: Timestamp) -> Result<(), DbErr> {
    let text = "UPDATE services SET revoked_at = $2 WHERE client_id = $1";
    db::execute(conn, text, [client_id.into(), now.0.into()]).await.map(drop)
}

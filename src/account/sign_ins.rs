//! Rows of sign-ins and of the refresh tokens that keep them going.

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use serde::Serialize;

use crate::clock::Timestamp;
use crate::db;
use crate::ids::{AccountId, SignInId, StoreId};
use crate::principal::Role;

/// A sign-in that stands, and whose it is right now.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// Whose.
    pub account: AccountId,
    /// What they are in the store; `None` for customers.
    pub role: Option<Role>,
    /// In which store; in all where `None`.
    pub store: Option<StoreId>,
    /// Until when, if nobody refreshes or ends it.
    pub expires_at: Timestamp,
}

/// The sign-in, if it has not ended and its account is active. Its expiry is the caller's to judge.
pub async fn standing(conn: &impl ConnectionTrait, id: SignInId) -> Result<Option<Standing>, DbErr> {
    #[derive(FromQueryResult)]
    struct Row {
        account_id: i64,
        role: Option<String>,
        store_id: Option<i64>,
        expires_at: i64,
    }
    let text = "SELECT s.account_id, a.role, a.store_id, s.expires_at FROM sign_ins s \
        JOIN accounts a ON a.id = s.account_id WHERE s.id = $1 AND s.ended_at IS NULL AND a.is_active";
    let row: Option<Row> = db::one(conn, text, [id.0.into()]).await?;
    row.map(|row| {
        let role = row.role.map(|role| Role::parse(&role).ok_or_else(|| DbErr::Custom(format!("a role {role:?}"))));
        Ok(Standing {
            account: AccountId(row.account_id),
            role: role.transpose()?,
            store: row.store_id.map(StoreId),
            expires_at: Timestamp(row.expires_at),
        })
    })
    .transpose()
}

/// A new sign-in.
pub async fn insert(
    conn: &impl ConnectionTrait,
    account: AccountId,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<SignInId, DbErr> {
    let text = "INSERT INTO sign_ins (account_id, created_at, expires_at) VALUES ($1, $2, $3) RETURNING id";
    let row = db::row(conn, text, [account.0.into(), now.0.into(), expires_at.0.into()]).await?;
    Ok(SignInId(row.ok_or(DbErr::RecordNotInserted)?.try_get("", "id")?))
}

/// Lets a sign-in last until `expires_at`.
pub async fn prolong(conn: &impl ConnectionTrait, id: SignInId, expires_at: Timestamp) -> Result<(), DbErr> {
    let text = "UPDATE sign_ins SET expires_at = $2 WHERE id = $1";
    db::execute(conn, text, [id.0.into(), expires_at.0.into()]).await.map(drop)
}

/// Ends a sign-in; its refresh tokens end with it.
pub async fn end(conn: &impl ConnectionTrait, id: SignInId, now: Timestamp) -> Result<(), DbErr> {
    let text = "UPDATE sign_ins SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL";
    db::execute(conn, text, [id.0.into(), now.0.into()]).await.map(drop)
}

/// Ends all sign-ins of an account.
pub async fn end_all(conn: &impl ConnectionTrait, account: AccountId, now: Timestamp) -> Result<(), DbErr> {
    let text = "UPDATE sign_ins SET ended_at = $2 WHERE account_id = $1 AND ended_at IS NULL";
    db::execute(conn, text, [account.0.into(), now.0.into()]).await.map(drop)
}

/// Those of an account that have not ended.
pub async fn open_of(conn: &impl ConnectionTrait, account: AccountId) -> Result<Vec<SignInId>, DbErr> {
    #[derive(FromQueryResult)]
    struct Row {
        id: i64,
    }
    let text = "SELECT id FROM sign_ins WHERE account_id = $1 AND ended_at IS NULL";
    let rows: Vec<Row> = db::all(conn, text, [account.0.into()]).await?;
    Ok(rows.into_iter().map(|row| SignInId(row.id)).collect())
}

/// A sign-in as its owner may read it.
#[derive(Debug, Serialize)]
pub struct Entry {
    id: SignInId,
    created_at: Timestamp,
    expires_at: Timestamp,
    ended_at: Option<Timestamp>,
}

/// All of an account.
pub async fn all_of(conn: &impl ConnectionTrait, account: AccountId) -> Result<Vec<Entry>, DbErr> {
    #[derive(FromQueryResult)]
    struct Row {
        id: i64,
        created_at: i64,
        expires_at: i64,
        ended_at: Option<i64>,
    }
    let text = "SELECT id, created_at, expires_at, ended_at FROM sign_ins WHERE account_id = $1 ORDER BY id";
    let rows: Vec<Row> = db::all(conn, text, [account.0.into()]).await?;
    let entry = |row: Row| Entry {
        id: SignInId(row.id),
        created_at: Timestamp(row.created_at),
        expires_at: Timestamp(row.expires_at),
        ended_at: row.ended_at.map(Timestamp),
    };
    Ok(rows.into_iter().map(entry).collect())
}

/// Keeps a refresh token's hash.
pub async fn insert_token(conn: &impl ConnectionTrait, hash: &str, id: SignInId, now: Timestamp) -> Result<(), DbErr> {
    let text = "INSERT INTO refresh_tokens (hash, sign_in_id, created_at) VALUES ($1, $2, $3)";
    db::execute(conn, text, [hash.into(), id.0.into(), now.0.into()]).await.map(drop)
}

/// Whose refresh token it is.
pub async fn owner_of_token(conn: &impl ConnectionTrait, hash: &str) -> Result<Option<AccountId>, DbErr> {
    let text = "SELECT s.account_id FROM refresh_tokens r JOIN sign_ins s ON s.id = r.sign_in_id WHERE r.hash = $1";
    let row = db::row(conn, text, [hash.into()]).await?;
    row.map(|row| row.try_get("", "account_id").map(AccountId)).transpose()
}

/// What came of handing in a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handed {
    /// It is none of ours.
    Unknown,
    /// It was handed in before.
    Again(SignInId),
    /// It is used up from now on.
    First(SignInId),
}

/// Uses a refresh token up. Of any number who hand it in at once, one is first.
pub async fn use_token(conn: &impl ConnectionTrait, hash: &str, now: Timestamp) -> Result<Handed, DbErr> {
    let text = "UPDATE refresh_tokens SET used_at = $2 WHERE hash = $1 AND used_at IS NULL RETURNING sign_in_id";
    if let Some(row) = db::row(conn, text, [hash.into(), now.0.into()]).await? {
        return Ok(Handed::First(SignInId(row.try_get("", "sign_in_id")?)));
    }
    let text = "SELECT sign_in_id FROM refresh_tokens WHERE hash = $1";
    match db::row(conn, text, [hash.into()]).await? {
        Some(row) => Ok(Handed::Again(SignInId(row.try_get("", "sign_in_id")?))),
        None => Ok(Handed::Unknown),
    }
}

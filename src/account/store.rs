//! Rows of accounts.

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, Value};

use super::{Account, Email, FullName, Post, Profile};
use crate::clock::Timestamp;
use crate::db;
use crate::ids::{AccountId, SessionId, StoreId};
use crate::principal::Role;

#[derive(FromQueryResult)]
struct Row {
    id: i64,
    email: Option<String>,
    full_name: Option<String>,
    password_hash: Option<String>,
    role: Option<String>,
    store_id: Option<i64>,
    is_active: bool,
    created_at: i64,
    updated_at: i64,
}

impl TryFrom<Row> for Account {
    type Error = DbErr;
    fn try_from(row: Row) -> Result<Self, DbErr> {
        let odd = || DbErr::Custom(format!("account {} has an impossible row", row.id));
        let profile = match (row.email, row.full_name, row.password_hash) {
            (Some(email), Some(name), Some(password_hash)) => {
                Some(Profile { email: Email(email), full_name: FullName(name), password_hash })
            }
            (None, None, None) => None,
            _ => return Err(odd()),
        };
        let post = match row.role {
            Some(role) => Some(Post { role: Role::parse(&role).ok_or_else(odd)?, store: row.store_id.map(StoreId) }),
            None => None,
        };
        Ok(Self {
            id: AccountId(row.id),
            profile,
            post,
            is_active: row.is_active,
            created_at: Timestamp(row.created_at),
            updated_at: Timestamp(row.updated_at),
        })
    }
}

async fn first(conn: &impl ConnectionTrait, condition: &str, value: Value) -> Result<Option<Account>, DbErr> {
    let row: Option<Row> = db::one(conn, &format!("SELECT * FROM accounts {condition}"), [value]).await?;
    row.map(Account::try_from).transpose()
}

/// The account with this id.
pub async fn find(conn: &impl ConnectionTrait, id: AccountId) -> Result<Option<Account>, DbErr> {
    first(conn, "WHERE id = $1", id.0.into()).await
}

/// As [`find`], and nobody else changes it until the transaction ends.
pub async fn lock(conn: &impl ConnectionTrait, id: AccountId) -> Result<Option<Account>, DbErr> {
    first(conn, &format!("WHERE id = $1{}", db::for_update(conn)), id.0.into()).await
}

/// The account with this address.
pub async fn by_email(conn: &impl ConnectionTrait, email: &Email) -> Result<Option<Account>, DbErr> {
    first(conn, "WHERE email = $1", email.as_str().into()).await
}

/// The staff of a store; all staff where `None`.
pub async fn staff(conn: &impl ConnectionTrait, store: Option<StoreId>) -> Result<Vec<Account>, DbErr> {
    let text = "SELECT * FROM accounts WHERE role IS NOT NULL AND ($1 IS NULL OR store_id = $1) ORDER BY id";
    // PostgreSQL cannot tell the type of a parameter that is only compared with NULL.
    let text = text.replace("$1 IS NULL", "CAST($1 AS BIGINT) IS NULL");
    let rows: Vec<Row> = db::all(conn, &text, [store.map(|store| store.0).into()]).await?;
    rows.into_iter().map(Account::try_from).collect()
}

/// Those who may do everything everywhere, locked in order, so that two of them cannot take it from
/// each other at once.
pub async fn lock_admins(conn: &impl ConnectionTrait) -> Result<Vec<AccountId>, DbErr> {
    #[derive(FromQueryResult)]
    struct Row {
        id: i64,
    }
    let text = format!(
        "SELECT id FROM accounts WHERE role = 'admin' AND store_id IS NULL AND is_active ORDER BY id{}",
        db::for_update(conn)
    );
    let rows: Vec<Row> = db::all(conn, &text, []).await?;
    Ok(rows.into_iter().map(|row| AccountId(row.id)).collect())
}

/// The columns that say who somebody is, in the order of the statements below.
fn values(profile: Option<&Profile>, post: Option<Post>) -> [Value; 5] {
    [
        profile.map(|profile| profile.email.as_str()).into(),
        profile.map(|profile| profile.full_name.as_str()).into(),
        profile.map(|profile| profile.password_hash.as_str()).into(),
        post.map(|post| post.role.as_str()).into(),
        post.and_then(|post| post.store).map(|store| store.0).into(),
    ]
}

/// A new account: a guest's where `profile` is `None`.
pub async fn insert(
    conn: &impl ConnectionTrait,
    profile: Option<&Profile>,
    post: Option<Post>,
    now: Timestamp,
) -> Result<AccountId, DbErr> {
    let text = "INSERT INTO accounts (email, full_name, password_hash, role, store_id, is_active, created_at, updated_at) \
        VALUES ($1, $2, $3, $4, $5, TRUE, $6, $6) RETURNING id";
    let row = db::row(conn, text, values(profile, post).into_iter().chain([now.0.into()])).await?;
    Ok(AccountId(row.ok_or(DbErr::RecordNotInserted)?.try_get("", "id")?))
}

/// Writes what may change of an account.
pub async fn update(conn: &impl ConnectionTrait, account: &Account, now: Timestamp) -> Result<(), DbErr> {
    let text = "UPDATE accounts SET email = $1, full_name = $2, password_hash = $3, role = $4, store_id = $5, \
        is_active = $6, updated_at = $7 WHERE id = $8";
    let values = values(account.profile.as_ref(), account.post).into_iter();
    let values = values.chain([account.is_active.into(), now.0.into(), account.id.0.into()]);
    db::execute(conn, text, values).await.map(drop)
}

/// Takes the account out of every table. Its sessions stay, and are nobody's; receipts go, because
/// what somebody bought may tell who they are.
pub async fn erase(conn: &impl ConnectionTrait, id: AccountId) -> Result<(), DbErr> {
    let by_id = [
        "DELETE FROM refresh_tokens WHERE sign_in_id IN (SELECT id FROM sign_ins WHERE account_id = $1)",
        "DELETE FROM sign_ins WHERE account_id = $1",
        "DELETE FROM receipts WHERE session_id IN (SELECT id FROM sessions WHERE customer_id = $1)",
        "DELETE FROM checkouts WHERE session_id IN (SELECT id FROM sessions WHERE customer_id = $1)",
        "DELETE FROM idempotency WHERE account_id = $1",
        "UPDATE sessions SET customer_id = NULL WHERE customer_id = $1",
        "DELETE FROM accounts WHERE id = $1",
    ];
    for text in by_id {
        db::execute(conn, text, [id.0.into()]).await?;
    }
    // Answers kept for repeated requests, the cart's and services' too, hold the session and in it
    // the customer's id. No index finds them, but they are a day's, and people leave rarely.
    let text = "DELETE FROM idempotency WHERE principal = $1 OR answer LIKE $2";
    let values = [format!("account/{id}").into(), format!("%\"user_id\":{id},%").into()];
    db::execute(conn, text, values).await.map(drop)
}

/// Who scans: what their cart will greet them by, and the session they have open already.
#[derive(Clone, Debug)]
pub struct Scanner {
    /// What they are called; guests are not called anything.
    pub full_name: Option<String>,
    /// Their open session.
    pub open: Option<SessionId>,
}

/// The account that scans.
pub async fn scanner(conn: &impl ConnectionTrait, id: AccountId) -> Result<Scanner, DbErr> {
    #[derive(FromQueryResult)]
    struct Row {
        full_name: Option<String>,
        open: Option<i64>,
    }
    let text = "SELECT a.full_name, (SELECT s.id FROM sessions s WHERE s.customer_id = a.id AND s.ended_at IS NULL) AS open \
        FROM accounts a WHERE a.id = $1";
    // Its erasure waits for us, or we for it: nobody starts a session in a name that is being forgotten.
    let shared = if db::for_update(conn).is_empty() { "" } else { " FOR KEY SHARE OF a" };
    let row: Option<Row> = db::one(conn, &format!("{text}{shared}"), [id.0.into()]).await?;
    // Erased since the request was let in; the next one will not be.
    let row = row.ok_or_else(|| DbErr::RecordNotFound(format!("account {id} is gone")))?;
    Ok(Scanner { full_name: row.full_name, open: row.open.map(SessionId) })
}

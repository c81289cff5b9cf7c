//! Statements: one text for both dialects, and where they differ.

use std::sync::LazyLock;

use metrics::Counter;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, FromQueryResult, QueryResult, Statement, Value};

use super::failing::{answered, asked};

/// One statement with its values; `$1`-style places in both dialects. Each one made is counted.
pub fn sql(conn: &impl ConnectionTrait, text: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    count();
    Statement::from_sql_and_values(conn.get_database_backend(), text, values)
}

/// Counts a statement.
pub(super) fn count() {
    static STATEMENTS: LazyLock<Counter> = LazyLock::new(|| metrics::counter!("cartlink_database_statements_total"));
    STATEMENTS.increment(1);
}

/// Executes a statement.
pub async fn execute(
    conn: &impl ConnectionTrait,
    text: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<ExecResult, DbErr> {
    answered(conn, conn.execute_raw(sql(conn, text, values))).await
}

/// At most one row, as `R`.
pub async fn one<R: FromQueryResult>(
    conn: &impl ConnectionTrait,
    text: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Option<R>, DbErr> {
    row(conn, text, values).await?.map(|row| R::from_query_result(&row, "")).transpose()
}

/// At most one row, as it is.
pub async fn row(
    conn: &impl ConnectionTrait,
    text: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Option<QueryResult>, DbErr> {
    let statement = sql(conn, text, values);
    asked(conn, statement, async |statement| conn.query_one_raw(statement).await).await
}

/// All rows, as `R`.
pub async fn all<R: FromQueryResult>(
    conn: &impl ConnectionTrait,
    text: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Vec<R>, DbErr> {
    let statement = sql(conn, text, values);
    let rows = asked(conn, statement, async |statement| conn.query_all_raw(statement).await).await?;
    rows.iter().map(|row| R::from_query_result(row, "")).collect()
}

/// ` FOR UPDATE` where the database has row locks; SQLite's one writer needs none.
pub fn for_update(conn: &impl ConnectionTrait) -> &'static str {
    match conn.get_database_backend() {
        DbBackend::Sqlite => "",
        _ => " FOR UPDATE",
    }
}

/// Locks the row that `text` selects until the transaction ends. What is read together with other tables is locked first and
/// read then: on PostgreSQL a joined read that had to wait shows this row as it is now, and the others as they were before.
pub async fn lock(conn: &impl ConnectionTrait, text: &str, value: Value) -> Result<(), DbErr> {
    match for_update(conn) {
        "" => Ok(()),
        clause => row(conn, &format!("{text}{clause}"), [value]).await.map(drop),
    }
}

/// Whether it is PostgreSQL that is spoken to: its statements may hold several writes (`WITH a AS (INSERT …) INSERT …`), for
/// each that is saved is a trip to the server and back.
pub fn is_postgres(conn: &impl ConnectionTrait) -> bool {
    conn.get_database_backend() == DbBackend::Postgres
}

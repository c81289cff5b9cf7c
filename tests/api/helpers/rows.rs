//! Behind the server's back: everything the database holds, as text to search in, and rows the server did not write.

use std::sync::Arc;

use cartlink::db::Txn;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};

use super::World;

async fn column(conn: &DatabaseConnection, sql: String) -> Vec<String> {
    let statement = Statement::from_string(conn.get_database_backend(), sql);
    let rows = conn.query_all_raw(statement).await.unwrap();
    rows.iter().map(|row| row.try_get_by_index::<String>(0).unwrap()).collect()
}

/// Each row of each table on a line of its own, behind the table's name.
pub async fn every_row(world: &World) -> String {
    let conn = world.app.db.read();
    let sqlite = conn.get_database_backend() == DbBackend::Sqlite;
    let tables = match sqlite {
        true => "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
        false => "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'",
    };
    let mut text = String::new();
    for table in column(conn, tables.into()).await {
        let row = match sqlite {
            true => {
                let columns =
                    column(conn, format!("SELECT '\"' || name || '\"' FROM pragma_table_info('{table}')")).await;
                format!("concat_ws(',', {})", columns.join(", "))
            }
            // A row as text has its quotes doubled.
            false => "replace(t::text, '\"\"', '\"')".to_owned(),
        };
        for row in column(conn, format!("SELECT {row} FROM {table} t")).await {
            text.push_str(&format!("{table}: {row}\n"));
        }
    }
    text
}

/// Runs a statement.
pub async fn write(world: &World, sql: String) {
    let app = Arc::clone(&world.app);
    let work = async move |txn: &Txn<'_>| txn.execute_unprepared(&sql).await.map(drop);
    // On a LocalSet, as the server itself: PostgreSQL's writes are tasks of their own.
    tokio::task::LocalSet::new().run_until(async move { app.db.write(work).await }).await.unwrap();
}

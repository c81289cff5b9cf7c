//! Doing a thing once per key.

use super::{Answer, Key, store};
use crate::app::App;
use crate::db::Txn;
use crate::failure::{Failure, Result};

/// Runs `work` in one transaction, and keeps its answer under `key` there. Where the key has been used, the answer it got
/// then is given again.
pub async fn once<W>(app: &App, key: Option<Key>, work: W) -> Result<Answer>
where
    W: AsyncFnOnce(&Txn<'_>) -> Result<Answer> + Clone + Send + 'static,
{
    let now = app.clock.now();
    app.db
        .write(async move |txn: &Txn<'_>| {
            let Some(key) = key else { return work(txn).await };
            if !store::take(&**txn, &key, now).await.map_err(or_in_flight)? {
                return again(txn, &key).await;
            }
            let answer = work(txn).await?;
            store::keep(&**txn, &key, &answer).await?;
            Ok(answer)
        })
        .await
}

async fn again(txn: &Txn<'_>, key: &Key) -> Result<Answer> {
    // Taken by retention in this very moment: as good as in flight.
    let kept = store::kept(&**txn, key).await?.ok_or_else(in_flight)?;
    if kept.body_hash == key.body_hash { Ok(kept.answer) } else { Err(Failure::KeyReused) }
}

fn in_flight() -> Failure {
    let detail = "A request with this Idempotency-Key is still being worked on; ask again in a moment".into();
    Failure::Conflict { code: "idempotency-in-flight", detail }
}

/// PostgreSQL gives up waiting for the same key's other transaction.
fn or_in_flight(error: sea_orm::DbErr) -> Failure {
    if error.to_string().contains("due to lock timeout") { in_flight() } else { error.into() }
}

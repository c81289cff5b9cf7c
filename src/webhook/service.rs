//! Making and removing webhooks, writing messages for them, and having dead letters sent once more.

use super::store::DeadLetter;
use super::{Webhook, store, told_as, written};
use crate::account::Post;
use crate::admin::audit;
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::Txn;
use crate::event::Event;
use crate::failure::{Failure, Result};
use crate::ids::StoreId;
use crate::principal::Staff;
use crate::session::Session;
use crate::{store as shop, token};

/// What nobody may tell from a webhook of another store.
const ABSENT: Failure = Failure::NotFound("Webhook");

/// Writes messages of a session's event for whoever wants to hear of it, in the event's own transaction.
pub async fn enqueue(txn: &Txn<'_>, session: &Session, event: &Event) -> Result<()> {
    let Some(kind) = told_as(&event.kind) else { return Ok(()) };
    // The event's place in the log: the same for everybody who is told, and each time they are.
    let message_id = format!("msg_{}_{}_{}", session.cart, event.epoch.0, event.seq);
    store::enqueue(&**txn, (session.id, session.store), (&message_id, kind, &event.data), event.at).await?;
    Ok(())
}

/// The webhooks that `staff` may see.
pub async fn list(app: &App, staff: &Staff) -> Result<Vec<Webhook>> {
    Ok(store::all(app.db.read(), staff.store).await?)
}

/// Makes a webhook. The second answer is the secret its messages are signed with.
pub async fn create(
    app: &App,
    staff: &Staff,
    url: String,
    kinds: Vec<String>,
    store: Option<StoreId>,
) -> Result<(Webhook, String)> {
    if !Post::of(staff).reaches(store) {
        return Err(Failure::Forbidden("Nobody has a webhook told of a store beyond their own"));
    }
    let (actor, now) = (audit::actor(staff.account), app.clock.now());
    let webhook =
        Webhook { id: format!("wh_{}", token::hex(&token::random::<8>())), store, url, kinds, created_at: now };
    let secret = app.keys.webhook_secrets(&webhook.id).first().map(written).unwrap_or_default();
    let made = app.db.write(async move |txn: &Txn<'_>| -> Result<_> {
        if let Some(id) = store
            && shop::store::find(&**txn, id).await?.is_none()
        {
            return Err(Failure::field("store_id", "there is no such store"));
        }
        store::insert(&**txn, &webhook).await?;
        audit::append(txn, &actor, "webhook.created", &target(&webhook.id), store, &webhook.url, now).await?;
        Ok(webhook)
    });
    Ok((made.await?, secret))
}

fn target(id: &str) -> String {
    format!("webhook/{id}")
}

/// The webhook of this id, if it is one of theirs.
async fn theirs(conn: &impl sea_orm::ConnectionTrait, staff: &Staff, id: &str) -> Result<Webhook> {
    let found = store::find(conn, id).await?;
    found.filter(|found| Post::of(staff).reaches(found.store)).ok_or(ABSENT)
}

/// Removes a webhook, and what is on its way to it.
pub async fn remove(app: &App, staff: &Staff, id: String) -> Result<()> {
    let (staff, now) = (staff.clone(), app.clock.now());
    let removed = app.db.write(async move |txn: &Txn<'_>| -> Result<()> {
        let webhook = theirs(&**txn, &staff, &id).await?;
        store::remove(&**txn, &id, now).await?;
        audit::append(txn, &audit::actor(staff.account), "webhook.removed", &target(&id), webhook.store, "", now)
            .await?;
        Ok(())
    });
    removed.await
}

/// Dead letters of a webhook after the row `after`.
pub async fn dead_letters(app: &App, staff: &Staff, id: &str, after: i64, limit: u32) -> Result<Vec<DeadLetter>> {
    theirs(app.db.read(), staff, id).await?;
    Ok(store::dead_letters(app.db.read(), id, after, limit).await?)
}

/// Has dead letters, or one message, delivered once more. Returns how many.
pub async fn replay(app: &App, staff: &Staff, id: String, message_id: Option<String>) -> Result<u64> {
    let (staff, now): (Staff, Timestamp) = (staff.clone(), app.clock.now());
    let replayed = app.db.write(async move |txn: &Txn<'_>| -> Result<u64> {
        let webhook = theirs(&**txn, &staff, &id).await?;
        let replayed = store::replay(&**txn, &id, message_id.as_deref(), now).await?;
        let detail = message_id.unwrap_or_else(|| format!("{replayed} dead letters"));
        audit::append(txn, &audit::actor(staff.account), "webhook.replayed", &target(&id), webhook.store, &detail, now)
            .await?;
        Ok(replayed)
    });
    replayed.await
}

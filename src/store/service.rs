//! Making and changing stores, each with its row in the audit log.

use super::{Settings, Store, store};
use crate::admin::audit;
use crate::app::App;
use crate::db::Txn;
use crate::failure::{Failure, Result};
use crate::idempotency::service::once;
use crate::idempotency::{Answer, Key};
use crate::ids::StoreId;
use crate::principal::Staff;

/// What nobody may tell from another's store.
const ABSENT: Failure = Failure::NotFound("Store");

/// The stores that `staff` may see.
pub async fn list(app: &App, staff: &Staff) -> Result<Vec<Store>> {
    Ok(store::all(app.db.read(), staff.store).await?)
}

/// Makes a store. Only staff of all stores may: it is a store beyond anybody else's own.
pub async fn create(
    app: &App,
    staff: &Staff,
    (name, settings): (String, Settings),
    key: Option<Key>,
    told: fn(Store) -> Answer,
) -> Result<Answer> {
    if staff.store.is_some() {
        return Err(Failure::Forbidden("Only staff of all stores may make one"));
    }
    let (actor, now) = (audit::actor(staff.account), app.clock.now());
    let written = once(app, key, async move |txn: &Txn<'_>| {
        let id = store::insert(&**txn, &name, &settings, now).await?;
        audit::append(txn, &actor, "store.created", &target(id), Some(id), &settings.written(), now).await?;
        Ok(told(Store { id, name, settings, created_at: now }))
    });
    written.await
}

fn target(id: StoreId) -> String {
    format!("store/{id}")
}

/// Changes a store. Sessions that are open go by the new settings from their next step on.
pub async fn change(
    app: &App,
    staff: &Staff,
    id: StoreId,
    name: Option<String>,
    settings: Option<Settings>,
) -> Result<Store> {
    if !staff.covers(id) {
        return Err(ABSENT);
    }
    let (actor, now) = (audit::actor(staff.account), app.clock.now());
    let written = app.db.write(async move |txn: &Txn<'_>| -> Result<_> {
        let before = store::lock(&**txn, id).await?.ok_or(ABSENT)?;
        let after =
            Store { name: name.unwrap_or(before.name), settings: settings.unwrap_or(before.settings), ..before };
        store::update(&**txn, &after).await?;
        audit::append(txn, &actor, "store.changed", &target(id), Some(id), &after.settings.written(), now).await?;
        Ok(after)
    });
    written.await
}

//! Making, rotating and removing services, and letting them in.

use subtle::ConstantTimeEq;

use super::{Registered, SECRET, TOKEN_TTL, refused, store, written};
use crate::account::Post;
use crate::admin::audit;
use crate::app::App;
use crate::broadcast::streams::Owner;
use crate::db::Txn;
use crate::failure::{Failure, Result};
use crate::ids::StoreId;
use crate::principal::{Scope, Service, Staff};
use crate::store as shop;
use crate::token::{self, ServiceAccess};

/// What nobody may tell from a service of another store.
const ABSENT: Failure = Failure::NotFound("Service");

/// The service, if it has not been removed; a moment late at most.
pub async fn standing(app: &App, client_id: &str) -> Result<Option<Service>> {
    let now = app.clock.now();
    let key = client_id.to_owned();
    if let Some(service) = app.standings.services.get(&key, now) {
        return Ok(Some(service));
    }
    let found = store::find(app.db.read(), client_id).await?.map(|found| found.service);
    if let Some(service) = &found {
        app.standings.services.keep(key, service.clone(), now);
    }
    Ok(found)
}

/// An access token, and how many seconds it is good.
pub struct Granted {
    /// The token.
    pub access_token: String,
    /// For so long.
    pub expires_in: u64,
    /// What it is good for.
    pub scopes: Vec<Scope>,
}

/// Lets a service in by its secret.
pub async fn grant(app: &App, client_id: &str, secret: &str, asked: &[Scope]) -> Result<Granted> {
    let found = authenticate(app, client_id, secret).await?;
    if !asked.iter().all(|scope| found.has(*scope)) {
        return Err(refused("invalid_scope", "The service does not have every scope it asks for"));
    }
    let now = app.clock.now();
    let access_token = app.keys.sign(ServiceAccess { sub: found.client_id }, now, now + TOKEN_TTL);
    Ok(Granted { access_token, expires_in: TOKEN_TTL.as_secs(), scopes: found.scopes })
}

/// The service whose id and secret these are.
pub async fn authenticate(app: &App, client_id: &str, secret: &str) -> Result<Service> {
    let found = store::find(app.db.read(), client_id).await?;
    let given = token::hash(secret);
    // Both are hashes, so even a comparison that could be timed would tell nothing of use.
    let right = found.filter(|found| found.secret_hash.as_bytes().ct_eq(given.as_bytes()).into());
    right
        .map(|found| found.service)
        .ok_or_else(|| refused("invalid_client", "Unknown client_id, or wrong client_secret"))
}

/// The services that `staff` may see.
pub async fn list(app: &App, staff: &Staff) -> Result<Vec<Registered>> {
    Ok(store::all(app.db.read(), staff.store).await?)
}

/// Makes a service. The second answer is its secret: this once, and never again.
pub async fn create(
    app: &App,
    staff: &Staff,
    name: String,
    scopes: Vec<Scope>,
    store: Option<StoreId>,
) -> Result<(Registered, String)> {
    let now = app.clock.now();
    may_make(staff, &scopes, store)?;
    let secret = token::opaque(SECRET);
    let service = Service { client_id: format!("svc_{}", token::hex(&token::random::<8>())), scopes, store, exp: now };
    let new = Registered { service, name, secret_hash: token::hash(&secret), created_at: now };
    let actor = audit::actor(staff.account);
    let written = app.db.write(async move |txn: &Txn<'_>| -> Result<_> {
        if let Some(id) = store
            && shop::store::find(&**txn, id).await?.is_none()
        {
            return Err(Failure::field("store_id", "there is no such store"));
        }
        store::insert(&**txn, &new).await?;
        let (target, detail) = (target(&new.service.client_id), written(&new.service.scopes));
        audit::append(txn, &actor, "service.created", &target, store, &detail, now).await?;
        Ok(new)
    });
    Ok((written.await?, secret))
}

/// Subscribers' tokens open every emitted channel, of whatever store: only staff of all stores may
/// hand out the right to mint them.
fn may_make(staff: &Staff, scopes: &[Scope], store: Option<StoreId>) -> Result<()> {
    let own = Post::of(staff);
    if !own.reaches(store) || (own.store.is_some() && scopes.contains(&Scope::Tokens)) {
        return Err(Failure::Forbidden("Nobody gives a service a scope or a store beyond their own"));
    }
    Ok(())
}

fn target(client_id: &str) -> String {
    format!("service/{client_id}")
}

async fn lock(txn: &Txn<'_>, staff: &Staff, client_id: &str) -> Result<Registered> {
    let found = store::lock(&**txn, client_id).await?;
    found.filter(|found| Post::of(staff).reaches(found.service.store)).ok_or(ABSENT)
}

/// Gives a service another secret, shown this once. Its tokens go on until they expire.
pub async fn rotate(app: &App, staff: &Staff, client_id: String) -> Result<(Registered, String)> {
    let (staff, now) = (staff.clone(), app.clock.now());
    let secret = token::opaque(SECRET);
    let hash = token::hash(&secret);
    let written = app.db.write(async move |txn: &Txn<'_>| -> Result<_> {
        let found = lock(txn, &staff, &client_id).await?;
        may_make(&staff, &found.service.scopes, found.service.store)?;
        store::rotate(&**txn, &client_id, &hash).await?;
        let actor = audit::actor(staff.account);
        audit::append(txn, &actor, "service.rotated", &target(&client_id), found.service.store, "", now).await?;
        Ok(found)
    });
    Ok((written.await?, secret))
}

/// Removes a service: its tokens and streams end.
pub async fn remove(app: &App, staff: &Staff, client_id: String) -> Result<()> {
    let (staff, now, id) = (staff.clone(), app.clock.now(), client_id.clone());
    let written = app.db.write(async move |txn: &Txn<'_>| -> Result<()> {
        let found = lock(txn, &staff, &id).await?;
        store::revoke(&**txn, &id, now).await?;
        let actor = audit::actor(staff.account);
        audit::append(txn, &actor, "service.removed", &target(&id), found.service.store, "", now).await?;
        Ok(())
    });
    written.await?;
    app.standings.services.forget(&client_id);
    app.streams.close(&Owner::Service(client_id));
    Ok(())
}

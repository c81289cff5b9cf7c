//! Carts' steps: making, changing and retiring them, their heartbeats, and who may see which.

use serde_json::json;

use super::{Cart, Lifecycle, Link, store};
use crate::admin::audit;
use crate::app::App;
use crate::broadcast::streams::Owner;
use crate::clock::Timestamp;
use crate::db::Txn;
use crate::event::{self, Audience, Channel, Draft, Joined, Kind};
use crate::failure::{Failure, Result};
use crate::idempotency::service::once;
use crate::idempotency::{Answer, Key};
use crate::ids::{CartId, CartNum, StoreId};
use crate::principal;
use crate::principal::{DEVICE_KEY, Principal, Role, Scope, Staff};
use crate::session::{self, Session};
use crate::store::store as stores;
use crate::token;

/// What nobody may tell from a cart that is another's.
pub(super) const ABSENT: Failure = Failure::NotFound("Cart");

/// Which carts `principal` may know of.
fn may_see(principal: &Principal, cart: &Cart) -> bool {
    match principal {
        Principal::Customer(_) => Lifecycle::OUT.contains(&cart.lifecycle),
        Principal::Device(device) => cart.num == device.cart,
        Principal::Screen(screen) => cart.num == screen.cart,
        Principal::Staff(staff) => staff.covers(cart.store),
        Principal::Service(service) => service.has(Scope::SessionsRead) && service.covers(cart.store),
    }
}

/// The cart of this name, if `principal` may know of it.
pub async fn of(app: &App, principal: &Principal, id: &str) -> Result<Cart> {
    let id: CartId = id.parse().map_err(|_| ABSENT)?;
    let found = store::find(app.db.read(), &id).await?;
    found.filter(|cart| may_see(principal, cart)).ok_or(ABSENT)
}

/// The carts `principal` may know of, in the order they were made. Staff may ask for those of one
/// stage, else the retired ones are left out.
pub async fn list(app: &App, principal: &Principal, stage: Option<Lifecycle>) -> Result<Vec<Cart>> {
    let store = match principal {
        Principal::Staff(staff) => staff.store,
        Principal::Service(service) => service.store,
        Principal::Device(principal::Device { cart, .. }) | Principal::Screen(principal::Screen { cart, .. }) => {
            return Ok(store::by_num(app.db.read(), *cart).await?.into_iter().collect());
        }
        Principal::Customer(_) => None,
    };
    let lifecycles = match stage {
        Some(stage) => vec![stage],
        None => Lifecycle::STANDING.to_vec(),
    };
    let mut carts = store::list(app.db.read(), &store::Filter { store, lifecycles }).await?;
    carts.retain(|cart| may_see(principal, cart));
    Ok(carts)
}

/// The cart and the session that has a claim on it.
pub async fn occupancy(app: &App, principal: &Principal, id: &str) -> Result<(Cart, Option<Session>)> {
    let cart = of(app, principal, id).await?;
    let session = session::store::open_on_cart(app.db.read(), cart.num).await?;
    Ok((cart, session))
}

/// A cart to be made.
#[derive(Clone)]
pub struct NewCart {
    /// Its name.
    pub id: CartId,
    /// What is written on it.
    pub label: String,
    /// Its store; the staff member's own, or else the first one, where `None`.
    pub store: Option<StoreId>,
}

/// Makes a cart, as whoever runs the server.
pub async fn create(app: &App, id: CartId, label: &str, store: StoreId) -> Result<Cart> {
    let (label, now) = (label.to_owned(), app.clock.now());
    app.db.write(async move |txn: &Txn<'_>| insert(txn, &id, &label, store, now).await).await
}

/// Makes a cart, as staff.
pub async fn create_by(
    app: &App,
    staff: Staff,
    new: NewCart,
    key: Option<Key>,
    told: fn(Cart, Timestamp) -> Answer,
) -> Result<Answer> {
    let now = app.clock.now();
    let made = once(app, key, async move |txn: &Txn<'_>| {
        let store = match new.store.or(staff.store) {
            Some(store) => store,
            None => stores::default(&**txn, now).await?,
        };
        reachable(txn, &staff, store).await?;
        let cart = insert(txn, &new.id, &new.label, store, now).await?;
        audited(txn, &staff, "cart.created", &cart, &cart.label, now).await?;
        Ok(told(cart, now))
    });
    made.await
}

/// The cart and its channel are born together, so that the first stream finds a place to begin.
async fn insert(txn: &Txn<'_>, id: &CartId, label: &str, store: StoreId, now: Timestamp) -> Result<Cart> {
    let taken = || Failure::Conflict {
        code: "cart-id-taken",
        detail: format!("There is a cart {id} already; choose another cart_id"),
    };
    let num = store::insert(&**txn, id, label, store, now).await?.ok_or_else(taken)?;
    event::store::create_channel(&**txn, &Channel::Cart(num)).await?;
    store::by_num(&**txn, num).await?.ok_or(ABSENT)
}

/// Another store is as good as none.
async fn reachable(txn: &Txn<'_>, staff: &Staff, store: StoreId) -> Result<()> {
    let there = staff.covers(store) && stores::find(&**txn, store).await?.is_some();
    if there { Ok(()) } else { Err(Failure::NotFound("Store")) }
}

/// What staff change. What is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// What is written on it.
    pub label: Option<String>,
    /// Into service, into maintenance, or away for good.
    pub lifecycle: Option<Lifecycle>,
    /// Its store.
    pub store: Option<StoreId>,
}

impl Change {
    /// Who may make it.
    fn needs(&self) -> Role {
        let everyday = matches!(self.lifecycle, None | Some(Lifecycle::InService | Lifecycle::Maintenance));
        if self.label.is_none() && self.store.is_none() && everyday { Role::Operator } else { Role::Manager }
    }

    /// The change in words, for the audit.
    fn told(&self) -> String {
        let label = self.label.as_ref().map(|label| format!("label {label}"));
        let lifecycle = self.lifecycle.map(|stage| stage.as_str().to_owned());
        let store = self.store.map(|store| format!("store {store}"));
        [label, lifecycle, store].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// Changes a cart, as staff.
pub async fn change(app: &App, staff: Staff, id: CartId, change: Change) -> Result<Cart> {
    if staff.role < change.needs() {
        return Err(Failure::Forbidden("Your role may take carts into and out of maintenance, and nothing else"));
    }
    let now = app.clock.now();
    let retires = change.lifecycle == Some(Lifecycle::Retired);
    let changed = app
        .db
        .write(async move |txn: &Txn<'_>| {
            let cart = lock_for(txn, &staff, &id).await?;
            let next = changed(txn, &staff, &cart, &change, now).await?;
            store::save(&**txn, &next).await?;
            if next.lifecycle != cart.lifecycle {
                store::bump_epoch(&**txn, cart.num, now).await?;
            }
            if retires {
                store::set_key(&**txn, cart.num, None).await?;
                store::drop_enrolments(&**txn, cart.num, now).await?;
            }
            let told = tell(txn, &cart, now).await?;
            audited(txn, &staff, "cart.changed", &cart, &change.told(), now).await?;
            Ok::<_, Failure>(told)
        })
        .await?;
    if retires {
        app.streams.close(&Owner::Cart(changed.num));
    }
    Ok(changed)
}

/// The cart after the change, if that is a legal one.
async fn changed(txn: &Txn<'_>, staff: &Staff, cart: &Cart, change: &Change, now: Timestamp) -> Result<Cart> {
    let lifecycle = change.lifecycle.unwrap_or(cart.lifecycle);
    if !cart.lifecycle.may_become(lifecycle) {
        let (from, to) = (cart.lifecycle.as_str(), lifecycle.as_str());
        let detail = format!("A cart that is {from} cannot become {to}");
        return Err(Failure::Conflict { code: "cart-lifecycle", detail });
    }
    let moves = change.store.is_some_and(|store| store != cart.store);
    if cart.occupied && (moves || lifecycle == Lifecycle::Retired) {
        return Err(in_use());
    }
    if let Some(store) = change.store {
        reachable(txn, staff, store).await?;
    }
    Ok(Cart {
        label: change.label.clone().unwrap_or_else(|| cart.label.clone()),
        store: change.store.unwrap_or(cart.store),
        lifecycle,
        updated_at: now,
        ..cart.clone()
    })
}

fn in_use() -> Failure {
    Failure::Conflict { code: "cart-in-use", detail: "The cart is in use; end its session first".into() }
}

/// What a cart says of itself. What it leaves out is as before.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat {
    /// Percent.
    pub battery: Option<i64>,
    /// Whether it is on the charger.
    pub charging: Option<bool>,
    /// What its screen runs.
    pub app_version: Option<String>,
}

impl Heartbeat {
    /// Whether it says no more than that the cart is still there.
    fn is_no_news(&self, cart: &Cart, now: Timestamp) -> bool {
        cart.heartbeat_at.is_some()
            && cart.offline_at.is_none()
            && cart.link(now) == Link::Online
            && self.battery.is_none_or(|battery| cart.battery == Some(battery))
            && self.charging.is_none_or(|charging| cart.charging == charging)
            && (self.app_version.is_none() || self.app_version == cart.app_version)
    }
}

/// Notes a heartbeat, and tells the cart's channel if its battery ran low or is well again. One without news is written
/// down with others'.
pub async fn heartbeat(app: &App, num: CartNum, beat: Heartbeat) -> Result<(Cart, Option<Session>)> {
    let now = app.clock.now();
    let cart = store::by_num(app.db.read(), num).await?.ok_or(ABSENT)?;
    if beat.is_no_news(&cart, now) {
        app.beats.note(num, now);
        return Ok((cart, session::store::open_on_cart(app.db.read(), num).await?));
    }
    app.db
        .write(async move |txn: &Txn<'_>| {
            let cart = store::lock(&**txn, num).await?.ok_or(ABSENT)?;
            let heard = Cart {
                battery: beat.battery.or(cart.battery),
                charging: beat.charging.unwrap_or(cart.charging),
                app_version: beat.app_version.or_else(|| cart.app_version.clone()),
                seen_at: Some(now),
                heartbeat_at: Some(now),
                ..cart.clone()
            };
            store::save(&**txn, &heard).await?;
            let session = session::store::open_on_cart(&**txn, num).await?;
            Ok((tell(txn, &cart, now).await?, session))
        })
        .await
}

/// Tells the channel of a cart that was declared offline that it is heard again: its stream is open.
pub(super) async fn back(app: &App, num: CartNum) -> Result<()> {
    let now = app.clock.now();
    app.db
        .write(async move |txn: &Txn<'_>| {
            let cart = store::lock(&**txn, num).await?.ok_or(ABSENT)?;
            store::end_offline(&**txn, num, now).await?;
            tell(txn, &cart, now).await.map(drop)
        })
        .await
}

/// Enrols a cart without a code, as whoever runs the server, and returns its device key.
pub async fn enrol_directly(app: &App, num: CartNum) -> Result<String> {
    let now = app.clock.now();
    let key = app
        .db
        .write(async move |txn: &Txn<'_>| {
            let cart = store::lock(&**txn, num).await?.ok_or(ABSENT)?;
            let key = install_key(txn, &cart, now).await?;
            tell(txn, &cart, now).await?;
            Ok::<_, Failure>(key)
        })
        .await?;
    app.streams.close_but(&Owner::Cart(num), Some(&token::hash(&key)));
    Ok(key)
}

/// Gives a locked cart a new key and puts it into service. No earlier key, enrolment code or pairing
/// code fits any more.
pub(super) async fn install_key(txn: &Txn<'_>, cart: &Cart, now: Timestamp) -> Result<String> {
    let key = token::opaque(DEVICE_KEY);
    store::set_key(&**txn, cart.num, Some(&token::hash(&key))).await?;
    store::drop_enrolments(&**txn, cart.num, now).await?;
    store::bump_epoch(&**txn, cart.num, now).await?;
    let enrolled = Cart { lifecycle: Lifecycle::InService, seen_at: Some(now), updated_at: now, ..cart.clone() };
    store::save(&**txn, &enrolled).await?;
    Ok(key)
}

/// The cart, locked, if it is one of theirs.
pub(super) async fn lock_for(txn: &Txn<'_>, staff: &Staff, id: &CartId) -> Result<Cart> {
    let found = store::find(&**txn, id).await?.ok_or(ABSENT)?;
    let cart = store::lock(&**txn, found.num).await?;
    cart.filter(|cart| staff.covers(cart.store)).ok_or(ABSENT)
}

/// Reads the cart as this transaction leaves it, and tells its channel if that differs from `before`
/// in anything its followers are shown.
pub async fn tell(txn: &Txn<'_>, before: &Cart, now: Timestamp) -> Result<Cart> {
    let after = store::by_num(&**txn, before.num).await?.ok_or(ABSENT)?;
    if before.differs_from(&after) {
        let data = json!({
            "cart_id": after.id,
            "status": after.status().as_str(),
            "lifecycle": after.lifecycle.as_str(),
            "battery": after.battery,
            "charging": after.charging,
            "enrolled": after.enrolled,
            "updated_at": now,
        });
        let draft = Draft {
            channel: Channel::Cart(after.num),
            session: None,
            audience: Audience::All,
            kind: Kind::CartStatus,
            data: data.to_string().into(),
            joined: Joined::default(),
        };
        event::store::append(txn, draft, now).await?;
    }
    Ok(after)
}

/// Writes the staff action into the audit, in the action's own transaction and as its last step.
pub(super) async fn audited(
    txn: &Txn<'_>,
    staff: &Staff,
    action: &str,
    cart: &Cart,
    detail: &str,
    now: Timestamp,
) -> Result<()> {
    let actor = audit::actor(staff.account);
    audit::append(txn, &actor, action, &named(cart), Some(cart.store), detail, now).await?;
    Ok(())
}

/// How carts are named in the audit.
pub(super) fn named(cart: &Cart) -> String {
    format!("cart/{}", cart.id)
}

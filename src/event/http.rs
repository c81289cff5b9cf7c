//! `POST /carts/{id}/events`: a store's own event on a cart's stream.

use actix_web::web::{Data, Path};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Audience, Channel, Draft, Event, Joined, Kind, store};
use crate::app::App;
use crate::auth::{Principal, Scope, ServiceAuth};
use crate::body::Fields;
use crate::cart;
use crate::db::Txn;
use crate::error::{Failure, Result};
use crate::idempotency::Answer;
use crate::idempotency::http::Posted;
use crate::idempotency::service::once;
use crate::ids::{CartId, CartNum};
use crate::session;

/// The longest `data`, in bytes: every screen of the cart is sent it.
const LONGEST: usize = 16 * 1024;

/// Members that only ours have: what names a frame, and what opens a session.
const RESERVED: [&str; 3] = ["type", "event_type", "token"];

/// What happened.
#[derive(Deserialize, utoipa::ToSchema)]
pub struct OwnEvent {
    /// `[a-z0-9-]{1,64}`, and none of ours.
    kind: String,
    /// An object, 16 KiB at most, without `type`, `event_type` and `token`.
    #[schema(value_type = Object)]
    data: Map<String, Value>,
}

/// The event's place.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Told {
    /// Its `id:` on the cart's stream.
    id: String,
}

/// `POST /carts/{id}/events`: it belongs to the cart's open session, if there is one.
#[utoipa::path(post, path = "/carts/{id}/events", tag = "streams", params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = OwnEvent, responses((status = 201, body = Told)))]
pub async fn tell(app: Data<App>, service: ServiceAuth, id: Path<String>, posted: Posted) -> Result<Answer> {
    let event: OwnEvent = posted.json()?;
    if !service.0.has(Scope::Emit) {
        return Err(Failure::Forbidden("This service does not have the scope emit"));
    }
    let id: CartId = id.parse().map_err(|_| Failure::NotFound("Cart"))?;
    let found = cart::store::find(app.db.read(), &id).await?.filter(|cart| service.0.covers(cart.store));
    let cart = found.ok_or(Failure::NotFound("Cart"))?.num;
    let OwnEvent { kind: name, data } = event;
    let mut fields = Fields::default();
    let name = fields.check("kind", kind(&name));
    let data = fields.check("data", text(&data));
    let (kind, data) = fields.finish(name.zip(data))?;
    let now = app.clock.now();
    let key = posted.key(&Principal::Service(service.0));
    let told = once(&app, key, async move |txn: &Txn<'_>| {
        let told = append(txn, cart, kind, data, now).await?;
        Ok(Answer::created(&Told { id: told.id().to_string() }))
    });
    told.await
}

fn kind(name: &str) -> Result<Kind, &'static str> {
    let fits = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    match fits {
        false => Err("is 1 to 64 of the characters a-z 0-9 -"),
        true if Kind::is_ours(name) => Err("is one of ours; choose another name"),
        true => Ok(Kind::Own(name.into())),
    }
}

fn text(data: &Map<String, Value>) -> Result<String, &'static str> {
    if RESERVED.iter().any(|member| data.contains_key(*member)) {
        return Err("has a member `type`, `event_type` or `token`, which only our own events have");
    }
    let text = serde_json::to_string(data).expect("an object is plain data");
    if text.len() > LONGEST { Err("is longer than 16 KiB") } else { Ok(text) }
}

async fn append(txn: &Txn<'_>, cart: CartNum, kind: Kind, data: String, now: crate::clock::Timestamp) -> Result<Event> {
    // Locked, so that it is not over before its event stands.
    let open = match session::store::open_on_cart(&**txn, cart).await? {
        Some(open) => session::store::lock(&**txn, open.id).await?.filter(|session| session.state.is_open()),
        None => None,
    };
    let draft = Draft {
        channel: Channel::Cart(cart),
        session: open.as_ref().map(|session| session.id),
        audience: Audience::All,
        kind,
        data: data.into(),
        joined: Joined { customer: open.and_then(|session| session.customer), ..Joined::default() },
    };
    Ok(store::append(txn, draft, now).await?)
}

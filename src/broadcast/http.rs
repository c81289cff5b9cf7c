//! `GET /sse/{cart_id}`, and what the other streams' routes share with it: who may open one, and where it starts.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::EventStream;
use super::follow::Follower;
use super::frame;
use super::streams::{Caps, Full, Owner, Place};
use super::view::CartView;
use crate::app::App;
use crate::auth::{self, Address, Principal};
use crate::cart::{self, Cart};
use crate::error::{Failure, Result};
use crate::event::store::Head;
use crate::event::{Channel, Epoch, EventId};
use crate::ids::{CartId, CartNum};
use crate::session::{self, Session, http::SessionView};

/// A refusal in the only way a native `EventSource` survives: a 200 that says why and when to come
/// back. Others get the status.
pub fn refuse(request: &HttpRequest, failure: Failure) -> Result<HttpResponse> {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if !accept.is_some_and(|accept| accept.contains("text/event-stream")) {
        return Err(failure);
    }
    let mut problem = failure.problem();
    if let Value::Object(problem) = &mut problem {
        problem.insert("type".into(), "error".into());
        problem.insert("event_type".into(), "error".into());
    }
    let retry = frame::retry(Duration::from_secs(10), Duration::from_secs(30));
    let body = retry + &frame::frame(None, None, &problem.to_string());
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header((header::CACHE_CONTROL, "no-store, no-transform"))
        .body(body))
}

/// What a full house is answered with.
pub fn full(full: Full, cap: usize) -> Failure {
    let (what, span) = match full {
        Full::Owner => ("open event streams of yours", 10),
        Full::Address => ("open event streams from this address", 10),
        Full::Node => return Failure::Unavailable("no room for another event stream"),
        Full::Draining => return Failure::Unavailable("the server is stopping"),
    };
    Failure::TooMany {
        what,
        quota: u32::try_from(cap).unwrap_or(u32::MAX),
        window: Duration::from_secs(span),
        retry_after: Duration::from_secs(span),
    }
}

/// What a stream lives by, and how many its owner may have.
pub fn owner(app: &App, principal: &Principal) -> (Owner, usize) {
    match principal {
        Principal::Customer(customer) => (Owner::SignIn(customer.sign_in), app.config.streams_per_customer),
        Principal::Staff(staff) => (Owner::SignIn(staff.sign_in), app.config.streams_per_cart),
        Principal::Device(device) => (Owner::Cart(device.cart), app.config.streams_per_cart),
        Principal::Screen(screen) => (Owner::Cart(screen.cart), app.config.streams_per_cart),
        Principal::Service(service) => (Owner::Service(service.client_id.clone()), app.config.streams),
    }
}

/// A place for one more stream of `owner`.
pub fn enter(app: &Data<App>, owner: (Owner, usize), address: Address) -> Result<Place> {
    app.limits.stream()?;
    let (owner, cap) = owner;
    let caps = Caps { owner: cap, address: app.config.streams_per_address, node: app.config.streams };
    let entered = app.streams.enter(Arc::clone(app), owner, address.0, caps);
    entered.map_err(|met| full(met, cap))
}

/// `?last_event_id=`, `?named=1`, and of a cart's own screen `?ack=1` and `?qr=1`.
#[derive(Debug, Deserialize)]
pub struct StreamQuery {
    last_event_id: Option<String>,
    pub(super) named: Option<u8>,
    pub(super) ack: Option<u8>,
    pub(super) qr: Option<u8>,
}

/// The last id a client has seen: the header a browser sends by itself, or the query a page adds.
pub fn last_event_id(request: &HttpRequest, query: Option<&str>) -> Option<String> {
    let header = request.headers().get("last-event-id").and_then(|id| std::str::from_utf8(id.as_bytes()).ok());
    let id = header.or(query)?;
    (!id.is_empty()).then(|| id.to_owned())
}

/// Where a follower starts: at the head, after the id it names, or over again.
pub enum Start {
    /// At the head, with a snapshot.
    Fresh,
    /// After this place.
    After(i64),
    /// Its id is from another life or no longer kept: a snapshot, marked as such.
    Reset,
}

/// Judges a last event id against the head.
pub fn start(last: Option<&str>, head: &Head) -> Start {
    let Some(last) = last else {
        return Start::Fresh;
    };
    match last.parse::<EventId>() {
        Ok(id) if is_kept_after(&id, head) => Start::After(id.seq),
        _ => Start::Reset,
    }
}

/// Whether all that comes after this place is there. For who came before the channel's life began, that is everything.
fn is_kept_after(id: &EventId, head: &Head) -> bool {
    let before_all = id.epoch == Epoch::unborn() && id.seq == 0;
    (before_all || id.epoch == head.epoch) && (head.dropped..=head.seq).contains(&id.seq)
}

/// `GET /sse/{cart_id}`: the cart's own screens, its staff, and customers who have a session there.
#[utoipa::path(get, path = "/sse/{cart_id}", tag = "streams",
    params(("cart_id" = String, Path), ("ticket" = Option<String>, Query), ("last_event_id" = Option<String>, Query), ("named" = Option<u8>, Query), ("ack" = Option<u8>, Query), ("qr" = Option<u8>, Query)),
    responses((status = 200, content_type = "text/event-stream", description = "A Greeting, then CartEvents; CodeFrames between them on the cart's own stream with `?qr=1`"), (status = 401), (status = 404)))]
pub async fn sse(
    app: Data<App>,
    request: HttpRequest,
    cart_id: Path<String>,
    query: Query<StreamQuery>,
    address: Address,
) -> Result<HttpResponse> {
    let principal = auth::for_stream(&app, &request, &format!("cart:{cart_id}")).await?;
    let cart_id: CartId = cart_id.parse().map_err(|_| Failure::NotFound("Cart"))?;
    let num = may_follow(&app, &principal, &cart_id).await?;
    if let Principal::Device(device) = &principal {
        session::awaiting::cart_was_heard(&app, device.cart);
    }
    let place = match enter(&app, owner(&app, &principal), address) {
        Ok(place) => place,
        Err(failure) => return refuse(&request, failure),
    };
    if let Principal::Device(device) = &principal {
        place.opened_with(&device.key_hash);
    }
    let exp = principal.exp();
    let named = query.named == Some(1);
    let view = CartView::new(Arc::clone(&app), &principal, &query);
    let Some(num) = num else {
        // A customer, and no such cart: as if there were one, and nothing happened on it.
        let opening = greeting(&cart_id, None, None, false);
        let opening = frame::opening(None) + &frame::frame(None, None, &opening.to_string());
        return Ok(EventStream::new(app.into_inner(), place, None, view, opening, exp).respond(&request));
    };
    let last = last_event_id(&request, query.last_event_id.as_deref());
    let (follower, view, opening) = open(&app, num, &cart_id, view, last.as_deref()).await?;
    Ok(EventStream::new(app.into_inner(), place, Some(follower), view, opening, exp).named(named).respond(&request))
}

/// The cart's number, if this principal may follow it; `None` where a customer names no cart at all.
pub(super) async fn may_follow(app: &App, principal: &Principal, cart_id: &CartId) -> Result<Option<CartNum>> {
    const ABSENT: Failure = Failure::NotFound("Cart");
    match principal {
        Principal::Device(device) if device.cart_id == *cart_id => Ok(Some(device.cart)),
        Principal::Device(_) => Err(ABSENT),
        Principal::Screen(_) | Principal::Service(_) => {
            Err(Failure::Forbidden("This credential does not open a cart's stream"))
        }
        Principal::Customer(_) => Ok(cart::store::find(app.db.read(), cart_id).await?.map(|cart| cart.num)),
        Principal::Staff(staff) => {
            let cart = cart::store::find(app.db.read(), cart_id).await?.filter(|cart| staff.covers(cart.store));
            cart.map(|cart| Some(cart.num)).ok_or(ABSENT)
        }
    }
}

/// Follows first and looks at the state then, so that nothing falls in between.
async fn open(
    app: &Data<App>,
    num: CartNum,
    cart_id: &CartId,
    mut view: CartView,
    last: Option<&str>,
) -> Result<(Follower, CartView, String)> {
    let following = app.broadcaster.follow(Channel::Cart(num));
    let (cart, head, session) = snapshot(app, num).await?;
    let start = start(last, &head);
    let seq = if let Start::After(seq) = start { seq } else { head.seq };
    let mine = session.filter(|session| view.may_see(session.customer));
    let shown = if view.sees_all() { Some(&cart) } else { mine.as_ref().map(|_| &cart) };
    let id = head.id();
    let greeting = greeting(cart_id, shown, mine.as_ref(), matches!(start, Start::Reset));
    // On a resumed stream the greeting is no part of the history that follows, so it bears no id; nor
    // may it tell a stranger that the cart exists.
    let bears_id = shown.is_some() && !matches!(start, Start::After(_));
    let greeting = frame::frame(bears_id.then_some(&id as &dyn std::fmt::Display), None, &greeting.to_string());
    let mut opening = frame::opening(None) + &greeting;
    if let (Some(session), false) = (&mine, matches!(start, Start::After(_)))
        && let Some(started) = view.started_again(app, session, &id).await?
    {
        opening.push_str(&started);
    }
    let follower = Follower::new(Arc::clone(app), following, head, seq);
    Ok((follower, view, opening))
}

/// A cart, its head and its open session, as they stood at one moment.
async fn snapshot(app: &App, num: CartNum) -> Result<(Cart, Head, Option<Session>)> {
    let conn = app.db.read();
    let mut seen = cart::store::with_head(conn, num).await?.ok_or(Failure::NotFound("Cart"))?;
    loop {
        let (cart, head) = seen;
        if !cart.occupied {
            return Ok((cart, head, None));
        }
        let session = session::store::open_on_cart(conn, num).await?;
        seen = cart::store::with_head(conn, num).await?.ok_or(Failure::NotFound("Cart"))?;
        if seen.1.seq == head.seq {
            return Ok((cart, head, session));
        }
    }
}

fn greeting(cart_id: &CartId, cart: Option<&Cart>, session: Option<&Session>, reset: bool) -> Value {
    let mut greeting = json!({
        "type": "connection",
        "event_type": "connection",
        "message": format!("Connected {cart_id}"),
        "cart_id": cart_id,
        "status": cart.map(|cart| cart.status().as_str()),
        "session": session.map(SessionView::from),
    });
    if reset {
        greeting["reset"] = true.into();
    }
    greeting
}

//! `/carts/…` and `GET /customer-session/cart-status/{cart_id}`: carts for staff, for phones, and for
//! the carts themselves.

use actix_web::cookie::time::Duration as CookieAge;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header::{self, Accept, Header};
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, Responder};
use serde::{Deserialize, Serialize};

use super::enrol::{self, EnrolmentCode};
use super::service::{self, Change, Heartbeat, NewCart};
use super::{Cart, Lifecycle, Link};
use crate::app::App;
use crate::auth::rank::{Manager, Operator};
use crate::auth::{Address, Caller, CartAuth, Principal, StaffAuth};
use crate::body::Json;
use crate::clock::Timestamp;
use crate::error::{Failure, Result};
use crate::idempotency::http::Posted;
use crate::idempotency::{self, Answer};
use crate::ids::{AccountId, CartId, SessionId, StoreId};
use crate::qr::image::{DEFAULT_SIZE, Picture};
use crate::session::Session;

/// Characters of a label, at most.
const LABEL: usize = 80;

/// Browsers keep no cookie longer (RFC 6265bis §5.5).
const COOKIE_DAYS: i64 = 400;

/// What everybody who may know of a cart is told, in the shape clients in the field read.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Brief {
    #[schema(value_type = String)]
    cart_id: CartId,
    /// `available`, `in use`, `maintenance` or `battery low`.
    status: &'static str,
    /// 100 while nothing has been heard: clients in the field expect a number. See `battery`.
    battery_level: i64,
    label: String,
}

/// What the cart itself, staff and services are told.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Full {
    #[serde(flatten)]
    brief: Brief,
    #[schema(value_type = i64)]
    store_id: StoreId,
    /// `pending`, `in_service`, `maintenance` or `retired`.
    #[schema(value_type = String)]
    lifecycle: Lifecycle,
    /// `online`, `stale` or `offline`.
    #[schema(value_type = String)]
    link: Link,
    /// `null` while nothing has been heard.
    battery: Option<i64>,
    charging: bool,
    app_version: Option<String>,
    enrolled: bool,
    #[schema(value_type = Option<String>, format = DateTime)]
    seen_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// As much as the caller may know.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum View {
    /// To customers, and to a screen with a session's token.
    Brief(Brief),
    /// To the cart itself, staff and services.
    Full(Box<Full>),
}

fn full(cart: Cart, now: Timestamp) -> Full {
    Full {
        store_id: cart.store,
        lifecycle: cart.lifecycle,
        link: cart.link(now),
        battery: cart.battery,
        charging: cart.charging,
        app_version: cart.app_version.clone(),
        enrolled: cart.enrolled,
        seen_at: cart.seen_at,
        created_at: cart.created_at,
        updated_at: cart.updated_at,
        brief: brief(cart),
    }
}

fn brief(cart: Cart) -> Brief {
    Brief {
        status: cart.status().as_str(),
        battery_level: cart.battery.unwrap_or(100),
        cart_id: cart.id,
        label: cart.label,
    }
}

fn view(principal: &Principal, cart: Cart, now: Timestamp) -> View {
    match principal {
        Principal::Customer(_) | Principal::Screen(_) => View::Brief(brief(cart)),
        _ => View::Full(Box::new(full(cart, now))),
    }
}

/// Which carts.
#[derive(Deserialize, utoipa::IntoParams)]
pub struct Listed {
    /// Those of one stage; by default all but the retired ones.
    #[param(value_type = Option<String>)]
    lifecycle: Option<Lifecycle>,
}

/// `GET /carts/`: the carts the caller may know of.
#[utoipa::path(get, path = "/carts/", tag = "carts", params(Listed), responses((status = 200, body = [View])))]
pub async fn list(app: Data<App>, caller: Caller, listed: Query<Listed>) -> Result<Json<Vec<View>>> {
    let now = app.clock.now();
    let carts = service::list(&app, &caller.0, listed.lifecycle).await?;
    Ok(Json(carts.into_iter().map(|cart| view(&caller.0, cart, now)).collect()))
}

/// `GET /carts/{id}`.
#[utoipa::path(get, path = "/carts/{id}", tag = "carts", params(("id" = String, Path)), responses((status = 200, body = View)))]
pub async fn read(app: Data<App>, caller: Caller, id: Path<String>) -> Result<Json<View>> {
    let cart = service::of(&app, &caller.0, &id).await?;
    Ok(Json(view(&caller.0, cart, app.clock.now())))
}

/// A cart to be made.
#[derive(Deserialize, utoipa::ToSchema)]
pub struct ToCreate {
    /// 1 to 64 of `A-Z a-z 0-9 _ -`; a number reads the same as text.
    #[schema(value_type = String)]
    cart_id: CartId,
    /// What is written on it; `Cart 7` by default.
    label: Option<String>,
    /// By default the caller's own store, or the first one.
    #[schema(value_type = Option<i64>)]
    store_id: Option<StoreId>,
}

/// What `POST /carts/enrol` would be confused with.
const TAKEN_BY_US: &str = "enrol";

/// `POST /carts/`: 201 with the cart, which waits for its enrolment.
#[utoipa::path(post, path = "/carts/", tag = "carts", params(("Idempotency-Key" = Option<String>, Header)), request_body = ToCreate, responses((status = 201, body = Full)))]
pub async fn create(
    app: Data<App>,
    request: HttpRequest,
    staff: StaffAuth<Manager>,
    posted: Posted,
) -> Result<HttpResponse> {
    let ToCreate { cart_id, label, store_id } = posted.json()?;
    if cart_id.as_str() == TAKEN_BY_US {
        return Err(Failure::field("cart_id", "this word is taken; choose another"));
    }
    let label = label.unwrap_or_else(|| format!("Cart {cart_id}"));
    let location = format!("/carts/{cart_id}");
    let new = NewCart { label: checked_label(label)?, id: cart_id, store: store_id };
    let key = posted.key(&Principal::Staff(staff.0.clone()));
    let told = |cart, now| Answer::created(&full(cart, now));
    let made = service::create_by(&app, staff.0, new, key, told).await?;
    let mut made = made.respond_to(&request);
    made.headers_mut().insert(header::LOCATION, location.parse().expect("a cart's id is ASCII"));
    Ok(made)
}

/// What to change; what is left out stays.
#[derive(Deserialize, utoipa::ToSchema)]
pub struct ToChange {
    label: Option<String>,
    /// `in_service`, `maintenance` or `retired`.
    #[schema(value_type = Option<String>)]
    lifecycle: Option<Lifecycle>,
    #[schema(value_type = Option<i64>)]
    store_id: Option<StoreId>,
}

/// `PATCH /carts/{id}`: operators put carts into and out of maintenance, managers may do more.
#[utoipa::path(patch, path = "/carts/{id}", tag = "carts", params(("id" = String, Path)), request_body = ToChange, responses((status = 200, body = Full)))]
pub async fn change(
    app: Data<App>,
    staff: StaffAuth<Operator>,
    id: Path<String>,
    body: Json<ToChange>,
) -> Result<Json<Full>> {
    let ToChange { label, lifecycle, store_id } = body.into_inner();
    let label = label.map(checked_label).transpose()?;
    let change = Change { label, lifecycle, store: store_id };
    let cart = service::change(&app, staff.0, named(&id)?, change).await?;
    Ok(Json(full(cart, app.clock.now())))
}

/// `DELETE /carts/{id}`: retires it. Its history stays.
#[utoipa::path(delete, path = "/carts/{id}", tag = "carts", params(("id" = String, Path)), responses((status = 204)))]
pub async fn retire(app: Data<App>, staff: StaffAuth<Manager>, id: Path<String>) -> Result<HttpResponse> {
    let change = Change { lifecycle: Some(Lifecycle::Retired), ..Change::default() };
    service::change(&app, staff.0, named(&id)?, change).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// A new enrolment code, for people, for a link, and as a picture for the cart's camera.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Issued {
    /// To be read out and typed.
    code: String,
    /// Opens the cart page with the code filled in.
    url: String,
    /// The link as a QR picture.
    svg: String,
    /// Seconds.
    expires_in: u64,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// `POST /carts/{id}/enrolment`: a one-time code; the picture alone where `Accept` asks for SVG.
#[utoipa::path(post, path = "/carts/{id}/enrolment", tag = "carts", params(("id" = String, Path)), responses((status = 201, body = Issued)))]
pub async fn enrolment(
    app: Data<App>,
    staff: StaffAuth<Manager>,
    id: Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse> {
    let (code, expires_at) = enrol::issue(&app, staff.0, named(&id)?).await?;
    let code = code.to_string();
    let url = format!("{}/cart/#enrol={code}", app.public_url().origin());
    let picture = Picture::of_text(&url).map_err(|error| Failure::Internal(error.to_string()))?;
    let svg = picture.svg(DEFAULT_SIZE);
    let mut created = HttpResponse::Created();
    created.insert_header((header::CACHE_CONTROL, "no-store"));
    let wanted = Accept::parse(&request).map(|accept| accept.preference());
    if wanted.is_ok_and(|mime| mime.essence_str() == "image/svg+xml") {
        return Ok(created.content_type("image/svg+xml").body(svg));
    }
    let expires_in = expires_at.since(app.clock.now()).as_secs();
    Ok(created.json(Issued { code, url, svg, expires_in, expires_at }))
}

/// What somebody has typed at the cart.
#[derive(Deserialize, utoipa::ToSchema)]
pub struct ToEnrol {
    /// In either case, with hyphens and spaces anywhere.
    code: String,
}

/// What a screen keeps, told this once; the cookie says the same to a browser.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Enrolled {
    #[schema(value_type = String)]
    cart_id: CartId,
    label: String,
    #[schema(value_type = i64)]
    store_id: StoreId,
    device_key: String,
}

/// `POST /carts/enrol`: exchanges a code for a device key.
#[utoipa::path(post, path = "/carts/enrol", tag = "carts", request_body = ToEnrol, responses((status = 201, body = Enrolled)), security(()))]
pub async fn enrol(app: Data<App>, address: Address, posted: Posted) -> Result<HttpResponse> {
    let code = EnrolmentCode::parse(&posted.json::<ToEnrol>()?.code);
    let code =
        code.ok_or_else(|| Failure::field("code", "three groups of five letters and digits, as staff read it out"))?;
    let attempt = app.limits.attempt(&format!("enrolment/{}", code.selector), address.0)?;
    let key = posted.key_in_the_name_of(format!("enrolment/{}", code.selector));
    let enrolled = enrol::enrol(&app, code, key).await;
    match &enrolled {
        Ok(_) => app.limits.succeeded(attempt),
        // A wrong code: the attempt goes on counting.
        Err(Failure::BadCredential(_)) => {}
        Err(_) => app.limits.undone(attempt),
    }
    let enrol::Enrolled { cart, device_key, replayed } = enrolled?;
    let cookie = device_cookie(&app, &device_key);
    let enrolled = Enrolled { cart_id: cart.id, label: cart.label, store_id: cart.store, device_key };
    let mut created = HttpResponse::Created();
    created.cookie(cookie).insert_header((header::CACHE_CONTROL, "no-store"));
    if replayed {
        created.insert_header(idempotency::http::REPLAYED);
    }
    Ok(created.json(enrolled))
}

fn device_cookie<'c>(app: &App, device_key: &str) -> Cookie<'c> {
    Cookie::build(app.cookie_name(), device_key.to_owned())
        .path("/")
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(app.public_url().is_https())
        .max_age(CookieAge::days(COOKIE_DAYS))
        .finish()
}

/// `POST /carts/{id}/revoke`: its key opens nothing any more, and its streams end.
#[utoipa::path(post, path = "/carts/{id}/revoke", tag = "carts", params(("id" = String, Path)), responses((status = 200, body = Full)))]
pub async fn revoke(app: Data<App>, staff: StaffAuth<Manager>, id: Path<String>) -> Result<Json<Full>> {
    let cart = enrol::revoke(&app, staff.0, named(&id)?).await?;
    Ok(Json(full(cart, app.clock.now())))
}

/// What a cart says of itself. The `session_id` that screens send along is not needed: the answer
/// says which one they should show.
#[derive(Deserialize, utoipa::ToSchema)]
pub struct Beat {
    /// Percent.
    battery: Option<f64>,
    charging: Option<bool>,
    app_version: Option<String>,
}

/// What a screen compares itself with.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Heard {
    #[schema(value_type = String, format = DateTime)]
    server_time: Timestamp,
    status: &'static str,
    #[schema(value_type = Option<i64>)]
    session_id: Option<SessionId>,
}

/// `POST /carts/{id}/heartbeat`, by the cart.
#[utoipa::path(post, path = "/carts/{id}/heartbeat", tag = "carts", params(("id" = String, Path)), request_body = Beat, responses((status = 200, body = Heard)))]
pub async fn heartbeat(app: Data<App>, cart: CartAuth, id: Path<String>, body: Json<Beat>) -> Result<Json<Heard>> {
    if cart.0.cart_id.as_str() != id.as_str() {
        return Err(service::ABSENT);
    }
    let beat = checked_beat(body.into_inner())?;
    let (cart, session) = service::heartbeat(&app, cart.0.cart, beat).await?;
    Ok(Json(Heard {
        server_time: app.clock.now(),
        status: cart.status().as_str(),
        session_id: session.map(|session| session.id),
    }))
}

fn checked_beat(beat: Beat) -> Result<Heartbeat> {
    if beat.battery.is_some_and(|percent| !(0.0..=100.0).contains(&percent)) {
        return Err(Failure::field("battery", "a percentage from 0 to 100"));
    }
    if beat.app_version.as_ref().is_some_and(|version| version.len() > LABEL) {
        return Err(Failure::field("app_version", "80 characters at most"));
    }
    // The Battery Status API of browsers gives fractions; a percent is fine enough.
    let battery = beat.battery.map(|percent| percent.round() as i64);
    Ok(Heartbeat { battery, charging: beat.charging, app_version: beat.app_version })
}

/// What clients in the field ask before they show a cart.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Occupancy {
    #[schema(value_type = String)]
    cart_id: CartId,
    status: &'static str,
    has_active_session: bool,
    #[schema(value_type = Option<i64>)]
    session_id: Option<SessionId>,
    #[schema(value_type = Option<i64>)]
    user_id: Option<AccountId>,
}

/// `GET /customer-session/cart-status/{cart_id}`. A customer learns whose session it is only if it is
/// their own.
#[utoipa::path(get, path = "/customer-session/cart-status/{cart_id}", tag = "carts", params(("cart_id" = String, Path)), responses((status = 200, body = Occupancy)))]
pub async fn status(app: Data<App>, caller: Caller, id: Path<String>) -> Result<Json<Occupancy>> {
    let (cart, session) = service::occupancy(&app, &caller.0, &id).await?;
    let shown = session.as_ref().filter(|session| may_name(&caller.0, session));
    Ok(Json(Occupancy {
        status: cart.status().as_str(),
        cart_id: cart.id,
        has_active_session: session.is_some(),
        session_id: shown.map(|session| session.id),
        user_id: shown.and_then(|session| session.customer),
    }))
}

fn may_name(principal: &Principal, session: &Session) -> bool {
    match principal {
        Principal::Customer(customer) => session.customer == Some(customer.account),
        _ => true,
    }
}

fn named(id: &str) -> Result<CartId> {
    id.parse().map_err(|_| service::ABSENT)
}

fn checked_label(label: String) -> Result<String> {
    let label = label.trim();
    let fits = (1..=LABEL).contains(&label.chars().count()) && !label.chars().any(char::is_control);
    if fits { Ok(label.to_owned()) } else { Err(Failure::field("label", "1 to 80 printable characters")) }
}

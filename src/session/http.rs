//! `/customer-session/…` and `/session/{id}`: reading a session and moving it.

use std::time::Duration;

use actix_web::http::header::{self, EntityTag, Header, IfNoneMatch};
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::service::{self, ABSENT};
use super::transfer::{self, Wanted};
use super::{Reason, Session, Step, store};
use crate::app::App;
use crate::auth::{Caller, CustomerAuth, Principal};
use crate::body::Json;
use crate::clock::Timestamp;
use crate::db::{Connection, Txn};
use crate::error::{Failure, Result};
use crate::event::Channel;
use crate::idempotency::Answer;
use crate::idempotency::http::Posted;
use crate::idempotency::service::once;
use crate::ids::{AccountId, CartId, SessionId, StoreId};

/// A session, as everybody who may see it sees it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct SessionView {
    /// A number.
    #[schema(value_type = i64)]
    pub session_id: SessionId,
    /// The same as a string.
    pub id: String,
    #[schema(value_type = Option<i64>)]
    user_id: Option<AccountId>,
    #[schema(value_type = String)]
    cart_id: CartId,
    cart_label: String,
    #[schema(value_type = i64)]
    store_id: StoreId,
    /// `active`, `fetched`, `completed`, `expired` or `failed`.
    status: &'static str,
    /// `pairing`, `shopping`, `checkout` or `idle_warning`, while it is open.
    phase: Option<&'static str>,
    /// Why it ended without a checkout.
    #[schema(value_type = Option<String>)]
    reason: Option<Reason>,
    is_active: bool,
    /// Two digits that both screens show.
    check_code: String,
    checkout_id: Option<String>,
    /// The cart it is about to move to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    transfer_to: Option<CartId>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    fetched_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    checkout_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// The same, as clients of `/session/{id}` spell it.
    #[serde(rename = "updatedAt")]
    #[schema(value_type = String, format = DateTime)]
    updated_at_too: Timestamp,
    /// Of a completed session, where the store gave one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    receipt: Option<Box<RawValue>>,
}

impl From<&Session> for SessionView {
    fn from(session: &Session) -> Self {
        Self {
            session_id: session.id,
            id: session.id.to_string(),
            user_id: session.customer,
            cart_id: session.cart_id.clone(),
            cart_label: session.cart_label.clone(),
            store_id: session.store,
            status: session.state.status().as_str(),
            phase: session.state.phase(),
            reason: session.state.reason(),
            is_active: session.state.is_open(),
            check_code: session.check_code.clone(),
            checkout_id: session.checkout_id.clone(),
            transfer_to: session.transfer.as_ref().map(|transfer| transfer.cart_id.clone()),
            created_at: session.created_at,
            fetched_at: session.fetched_at,
            checkout_at: session.checkout_at,
            ended_at: session.ended_at(),
            updated_at: session.updated_at,
            updated_at_too: session.updated_at,
            receipt: None,
        }
    }
}

/// With its receipt, for whoever may read one: never a cart session's token.
pub async fn with_receipt(app: &App, session: &Session, principal: &Principal) -> Result<SessionView> {
    shown(app.db.read(), session, principal).await
}

/// As [`with_receipt`], also inside of a transaction.
pub async fn shown(conn: &impl Connection, session: &Session, principal: &Principal) -> Result<SessionView> {
    let mut view = SessionView::from(session);
    if !session.state.is_open() && !matches!(principal, Principal::Screen(_)) {
        let body = store::receipt(conn, session.id).await?;
        view.receipt = body.and_then(|body| RawValue::from_string(body).ok());
    }
    Ok(view)
}

/// A session's id, as a path has it.
pub fn number(text: &str) -> Result<SessionId> {
    text.parse().map_err(|_| ABSENT)
}

/// `GET /customer-session/{id}`.
#[utoipa::path(get, path = "/customer-session/{id}", tag = "sessions", params(("id" = i64, Path)), responses((status = 200, body = SessionView)))]
pub async fn read(app: Data<App>, caller: Caller, id: Path<String>) -> Result<Json<SessionView>> {
    let session = service::find(&app, &caller.0, number(&id)?).await?;
    Ok(Json(with_receipt(&app, &session, &caller.0).await?))
}

/// `?wait=25`: how long to wait for a change, in seconds.
#[derive(Deserialize)]
pub struct Wait {
    wait: Option<u64>,
}

/// The longest a long poll is held.
const LONGEST_WAIT: u64 = 60;

/// `GET /session/{id}`: the state with an `ETag`; with `?wait=` a long poll, the fallback where streams cannot pass.
#[utoipa::path(get, path = "/session/{id}", tag = "sessions", params(("id" = i64, Path), ("wait" = Option<u64>, Query)), responses((status = 200, body = SessionView), (status = 304)))]
pub async fn state(
    app: Data<App>,
    request: HttpRequest,
    caller: Caller,
    id: Path<String>,
    wait: Query<Wait>,
) -> Result<HttpResponse> {
    let id = number(&id)?;
    let mut session = service::find(&app, &caller.0, id).await?;
    if knows(&request, &session) && !session.ended() {
        session = changed(&app, &caller.0, session, wait.wait.unwrap_or(0).min(LONGEST_WAIT)).await?;
    }
    let mut answer = if knows(&request, &session) { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer.insert_header(header::ETag(etag(&session))).insert_header((header::CACHE_CONTROL, "no-store"));
    if knows(&request, &session) {
        return Ok(answer.finish());
    }
    Ok(answer.json(with_receipt(&app, &session, &caller.0).await?))
}

impl Session {
    fn ended(&self) -> bool {
        !self.state.is_open()
    }
}

fn etag(session: &Session) -> EntityTag {
    EntityTag::new_strong(format!("{}-{}", session.id, session.version))
}

fn knows(request: &HttpRequest, session: &Session) -> bool {
    match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Items(items)) => items.iter().any(|item| item.weak_eq(&etag(session))),
        _ => false,
    }
}

/// The session once it is no longer as `session`, or as it is after `seconds`.
async fn changed(app: &Data<App>, principal: &Principal, session: Session, seconds: u64) -> Result<Session> {
    if seconds == 0 {
        return Ok(session);
    }
    let following = app.broadcaster.follow(Channel::Cart(session.cart));
    let waiting = async {
        let mut seen = i64::MIN;
        loop {
            // Follow first, look then: a change in between wakes us.
            let now = service::find(app, principal, session.id).await?;
            if now.version != session.version {
                return Ok(now);
            }
            seen = std::future::poll_fn(|cx| following.poll_newer(seen, cx)).await;
        }
    };
    tokio::select! {
        changed = waiting => changed,
        () = tokio::time::sleep(Duration::from_secs(seconds)) => Ok(session),
        () = app.streams.drained() => Ok(session),
    }
}

/// `GET /customer-session/active/{user_id}`: oneself, or staff.
#[utoipa::path(get, path = "/customer-session/active/{user_id}", tag = "sessions", params(("user_id" = i64, Path)), responses((status = 200, body = SessionView)))]
pub async fn of_customer(app: Data<App>, caller: Caller, user: Path<String>) -> Result<Json<SessionView>> {
    const NONE: Failure = Failure::Nothing("No active session found for this user");
    let user: AccountId = user.parse().map_err(|_| NONE)?;
    match &caller.0 {
        Principal::Customer(customer) if customer.account == user => {}
        Principal::Staff(_) => {}
        _ => return Err(NONE),
    }
    let open = store::open_of_customer(app.db.read(), user).await?;
    let open = open.filter(|session| service::may_see(&caller.0, session)).ok_or(NONE)?;
    Ok(Json((&open).into()))
}

/// `GET /customer-session/cart/{cart_id}`: that cart, or staff of its store.
#[utoipa::path(get, path = "/customer-session/cart/{cart_id}", tag = "sessions", params(("cart_id" = String, Path)), responses((status = 200, body = SessionView)))]
pub async fn of_cart(app: Data<App>, caller: Caller, cart_id: Path<String>) -> Result<Json<SessionView>> {
    const NONE: Failure = Failure::Nothing("No active session found for this cart");
    let cart_id: CartId = cart_id.parse().map_err(|_| NONE)?;
    let num = match &caller.0 {
        // Alike for carts that are there and carts that are not: nothing is learnt from it.
        Principal::Device(device) if device.cart_id != cart_id => return Err(Failure::WrongKey),
        Principal::Device(device) => device.cart,
        Principal::Screen(screen) if screen.cart_id == cart_id => screen.cart,
        Principal::Staff(_) => {
            crate::cart::store::find(app.db.read(), &cart_id).await?.map(|cart| cart.num).ok_or(NONE)?
        }
        _ => return Err(NONE),
    };
    let open = store::open_on_cart(app.db.read(), num).await?;
    let open = open.filter(|session| service::may_see(&caller.0, session)).ok_or(NONE)?;
    Ok(Json((&open).into()))
}

/// A page of a list: how many, and after which.
#[derive(Deserialize)]
pub struct PageQuery {
    limit: Option<u32>,
    cursor: Option<String>,
}

/// A page of sessions, newest first.
#[derive(Serialize, utoipa::ToSchema)]
pub struct SessionPage {
    items: Vec<SessionView>,
    has_more: bool,
    cursor: Option<String>,
}

/// `GET /customer-session`: the customer's own history, newest first.
#[utoipa::path(get, path = "/customer-session", tag = "sessions", params(("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)), responses((status = 200, body = SessionPage)))]
pub async fn history(app: Data<App>, customer: CustomerAuth, page: Query<PageQuery>) -> Result<HttpResponse> {
    let limit = page.limit.unwrap_or(20);
    if !(1..=100).contains(&limit) {
        return Err(Failure::field("limit", "a number from 1 to 100"));
    }
    let before = match &page.cursor {
        None => SessionId(i64::MAX),
        Some(cursor) => cursor.parse().map_err(|_| Failure::field("cursor", "take it from the page before"))?,
    };
    let account = customer.0.account;
    let mut sessions = store::of_customer(app.db.read(), account, before, limit + 1).await?;
    let has_more = sessions.len() > limit as usize;
    sessions.truncate(limit as usize);
    let cursor = sessions.last().filter(|_| has_more).map(|last| last.id.to_string());
    let principal = Principal::Customer(customer.0);
    let mut items = Vec::with_capacity(sessions.len());
    for session in &sessions {
        items.push(with_receipt(&app, session, &principal).await?);
    }
    let mut answer = HttpResponse::Ok();
    if let Some(cursor) = &cursor {
        answer
            .insert_header((header::LINK, format!("</customer-session?limit={limit}&cursor={cursor}>; rel=\"next\"")));
    }
    Ok(answer.json(SessionPage { items, has_more, cursor }))
}

/// The cart itself, be it by its device key or by the session's token.
fn the_cart(principal: &Principal) -> Result<()> {
    match principal {
        Principal::Device(_) | Principal::Screen(_) => Ok(()),
        _ => Err(Failure::Forbidden("Only the cart may do this")),
    }
}

/// Takes a step, once per `Idempotency-Key`.
async fn take(app: &App, principal: Principal, id: &str, step: Step, posted: &Posted) -> Result<Answer> {
    let (id, key, now) = (number(id)?, posted.key(&principal), app.clock.now());
    let taken = once(app, key, async move |txn: &Txn<'_>| {
        let session = service::take(txn, &principal, id, step, now).await?;
        Ok(Answer::ok(&SessionView::from(&session), session.customer))
    });
    taken.await
}

/// `POST /customer-session/{id}/ack`: the cart's screen has picked the session up.
#[utoipa::path(post, path = "/customer-session/{id}/ack", tag = "sessions", params(("id" = i64, Path), ("Idempotency-Key" = Option<String>, Header)), responses((status = 200, body = SessionView)))]
pub async fn ack(app: Data<App>, caller: Caller, id: Path<String>, posted: Posted) -> Result<Answer> {
    the_cart(&caller.0)?;
    take(&app, caller.0, &id, Step::Ack, &posted).await
}

/// `POST /customer-session/{id}/activity`: somebody is there; idle time-outs start over.
#[utoipa::path(post, path = "/customer-session/{id}/activity", tag = "sessions", params(("id" = i64, Path)), responses((status = 200, body = SessionView)))]
pub async fn activity(app: Data<App>, caller: Caller, id: Path<String>, posted: Posted) -> Result<Answer> {
    if !matches!(caller.0, Principal::Customer(_)) {
        the_cart(&caller.0)?;
    }
    take(&app, caller.0, &id, Step::Activity, &posted).await
}

/// `POST /customer-session/{id}/release`: "not you?", at the cart, within a minute of the scan.
#[utoipa::path(post, path = "/customer-session/{id}/release", tag = "sessions", params(("id" = i64, Path), ("Idempotency-Key" = Option<String>, Header)), responses((status = 200, body = SessionView)))]
pub async fn release(app: Data<App>, caller: Caller, id: Path<String>, posted: Posted) -> Result<Answer> {
    the_cart(&caller.0)?;
    take(&app, caller.0, &id, Step::Release, &posted).await
}

/// `POST /customer-session/{id}/end`: the customer ends it.
#[utoipa::path(post, path = "/customer-session/{id}/end", tag = "sessions", params(("id" = i64, Path), ("Idempotency-Key" = Option<String>, Header)), responses((status = 200, body = SessionView)))]
pub async fn end(app: Data<App>, customer: CustomerAuth, id: Path<String>, posted: Posted) -> Result<Answer> {
    take(&app, Principal::Customer(customer.0), &id, Step::End(Reason::CancelledByCustomer), &posted).await
}

/// The code of the cart to go on with.
#[derive(Deserialize, utoipa::ToSchema)]
pub struct ToTransfer {
    /// In any of its spellings: the bare code, the QR JWT, or the picture's URL.
    token: String,
}

/// `POST /customer-session/{id}/transfer`: the customer goes on with another cart, once that one has picked it up.
#[utoipa::path(post, path = "/customer-session/{id}/transfer", tag = "sessions", params(("id" = i64, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = ToTransfer,
    responses((status = 200, body = SessionView), (status = "4XX", description = "See `code`: as for scan-qr, and transfer-open, checkout-open, session-not-fetched, session-ended")))]
pub async fn transfer(app: Data<App>, customer: CustomerAuth, id: Path<String>, posted: Posted) -> Result<Answer> {
    app.limits.scan(customer.0.account)?;
    let to: ToTransfer = posted.json()?;
    let wanted = Wanted::read(&app, &to.token)?;
    let (id, principal, now) = (number(&id)?, Principal::Customer(customer.0), app.clock.now());
    let moved = once(&app, posted.key(&principal), async move |txn: &Txn<'_>| {
        let session = transfer::start(txn, &wanted, &principal, id, now).await?;
        Ok(Answer::ok(&SessionView::from(&session), session.customer))
    });
    moved.await
}

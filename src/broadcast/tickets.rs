//! `POST /stream-tickets`: opens one stream for a minute, so that no access token stands in a URL.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Data;
use serde::{Deserialize, Serialize};

use super::http::may_follow;
use crate::app::App;
use crate::auth::{Caller, Principal};
use crate::body::Json;
use crate::clock::Timestamp;
use crate::error::{Failure, Result};
use crate::ids::{CartId, SessionId, StoreId};
use crate::session;
use crate::token::Ticket;

/// How long a ticket opens its stream.
const TTL: Duration = Duration::from_secs(60);

/// The end of a credential that has none: the last second of the year 9999.
const NEVER: i64 = 253_402_300_799;

/// Which stream: exactly one of these.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
pub struct Wanted {
    /// `/sse/{cart_id}`.
    #[schema(value_type = Option<String>)]
    cart_id: Option<CartId>,
    /// `/session/{id}/events`.
    #[schema(value_type = Option<i64>)]
    session_id: Option<SessionNumber>,
    /// `/admin/events`: a store's number, or `"all"`.
    #[schema(value_type = Option<i64>)]
    store_id: Option<Floor>,
}

/// A session's id, which its JSON spells in two ways.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum SessionNumber {
    Number(SessionId),
    Text(String),
}

/// Which part of the floor.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Floor {
    Store(StoreId),
    Word(String),
}

/// A ticket.
#[derive(Serialize, utoipa::ToSchema)]
pub struct TicketView {
    /// For `?ticket=`.
    ticket: String,
    /// For so many seconds.
    expires_in: u64,
}

/// `POST /stream-tickets`.
#[utoipa::path(post, path = "/stream-tickets", tag = "streams", request_body = Wanted, responses((status = 200, body = TicketView)))]
pub async fn issue(app: Data<App>, caller: Caller, wanted: Json<Wanted>) -> Result<HttpResponse> {
    let principal = caller.0;
    let sub = stream(&app, &principal, wanted.into_inner()).await?;
    let now = app.clock.now();
    let until = principal.exp().map_or(NEVER, Timestamp::unix);
    let ticket = app.keys.sign(Ticket { sub, buyer: principal.buyer(), until }, now, now + TTL);
    let view = TicketView { ticket, expires_in: TTL.as_secs() };
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(view))
}

/// The stream's name in a ticket, if `principal` may open it.
async fn stream(app: &App, principal: &Principal, wanted: Wanted) -> Result<String> {
    match (wanted.cart_id, wanted.session_id, wanted.store_id) {
        (Some(cart), None, None) => {
            may_follow(app, principal, &cart).await?;
            Ok(format!("cart:{cart}"))
        }
        (None, Some(session), None) => {
            let id = match session {
                SessionNumber::Number(id) => id,
                SessionNumber::Text(text) => text.parse().map_err(|_| session::service::ABSENT)?,
            };
            session::service::find(app, principal, id).await?;
            Ok(format!("session:{id}"))
        }
        (None, None, Some(floor)) => floor_of(principal, &floor),
        _ => Err(Failure::field("body", "name one stream: cart_id, session_id or store_id")),
    }
}

fn floor_of(principal: &Principal, floor: &Floor) -> Result<String> {
    let Principal::Staff(staff) = principal else {
        return Err(Failure::Forbidden("The floor is for staff"));
    };
    match floor {
        Floor::Store(store) if staff.covers(*store) => Ok(format!("floor:{store}")),
        Floor::Store(_) => Err(Failure::NotFound("Store")),
        Floor::Word(word) if word == "all" && staff.store.is_none() => Ok("floor:all".into()),
        Floor::Word(word) if word == "all" => Err(Failure::Forbidden("You are staff of one store; name it")),
        Floor::Word(_) => Err(Failure::field("store_id", "a store's number, or \"all\"")),
    }
}

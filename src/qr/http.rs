//! `GET /customer-session/qr/{cart_id}`, also with `.json`, `.png`, `.svg` and `.txt`: a cart's code.
//!
//! Screens in the field ask for JSON and get the JWT as a bare string; everything else is chosen by
//! suffix or `Accept`. Nothing is written: whoever may ask gets a code that is sealed on the spot.

use std::time::Duration;

use actix_web::http::header::{self, Accept, Header, Quality};
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use mime::Mime;
use serde::{Deserialize, Serialize};

use super::image::{DEFAULT_SIZE, Picture};
use super::{Issued, issue};
use crate::app::App;
use crate::auth::{Caller, Principal};
use crate::cart::{self, Cart, CartStatus};
use crate::clock::Timestamp;
use crate::error::{Failure, Result};

/// How the code is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Representation {
    /// The JWT as a JSON string, byte for byte as clients in the field know it.
    BareToken,
    /// Everything there is to know.
    Details,
    Png,
    Svg,
    Text,
}

/// What may be asked for beside the representation.
#[derive(Deserialize, utoipa::IntoParams)]
pub struct Wish {
    /// Pixels.
    size: Option<usize>,
    /// What the picture says: `link` (default) or `jwt`.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    payload: Payload,
    /// `terminal`: text is drawn in half blocks.
    #[param(value_type = Option<String>)]
    render: Option<Render>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Payload {
    #[default]
    Link,
    Jwt,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Render {
    Terminal,
}

/// `.json`, and what is pushed of a code.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Details<'a> {
    payload: &'a str,
    token: &'a str,
    code: &'a str,
    expires_in: u64,
    refresh_in: u64,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    server_time: Timestamp,
}

impl<'a> Details<'a> {
    /// Of a code whose picture says `payload`; a screen draws the next one after `refresh`.
    pub fn of(issued: &'a Issued, payload: &'a str, refresh: Duration, now: Timestamp) -> Self {
        let expires_in = issued.expires_at.since(now).as_secs();
        Self {
            payload,
            token: &issued.token,
            code: &issued.code,
            expires_in,
            refresh_in: refresh.as_secs().min(expires_in),
            expires_at: issued.expires_at,
            server_time: now,
        }
    }

    /// When a screen should draw the next one.
    pub fn refresh_in(&self) -> Duration {
        Duration::from_secs(self.refresh_in)
    }
}

/// A new code of the cart, for the cart itself or staff of its store.
#[utoipa::path(get, path = "/customer-session/qr/{cart_id}", tag = "carts", params(("cart_id" = String, Path), Wish),
    responses((status = 200, content((String = "application/json"), (Vec<u8> = "image/png"), (String = "image/svg+xml"), (String = "text/plain")))))]
pub async fn code(
    app: Data<App>,
    caller: Caller,
    name: Path<String>,
    wish: Query<Wish>,
    request: HttpRequest,
) -> Result<HttpResponse> {
    let (id, representation) = asked(&name, &request)?;
    let cart = allowed(&app, &caller.0, id).await?;
    app.limits.mint(cart.num)?;
    match cart.status() {
        CartStatus::Available => {}
        status => return Err(Failure::NoCode(status.as_str())),
    }
    let now = app.clock.now();
    let issued = issue(&app.keys, app.public_url().origin(), &cart, now, app.config.qr_ttl.0);
    answer(&app, &issued, representation, &wish, now)
}

/// The cart's name and what is wanted: a suffix wins over `Accept`. Names of carts have no dots.
fn asked<'n>(name: &'n str, request: &HttpRequest) -> Result<(&'n str, Representation)> {
    let Some((id, suffix)) = name.rsplit_once('.') else {
        return Ok((name, accepted(request)?));
    };
    let representation = match suffix {
        "json" => Representation::Details,
        "png" => Representation::Png,
        "svg" => Representation::Svg,
        "txt" => Representation::Text,
        _ => return Err(Failure::NotFound("Cart")),
    };
    Ok((id, representation))
}

/// The first of the client's preferences that is made here (RFC 9110 §12.5.1).
fn accepted(request: &HttpRequest) -> Result<Representation> {
    let Ok(mut accept) = Accept::parse(request) else {
        return Ok(Representation::BareToken);
    };
    accept.0.retain(|item| item.quality != Quality::ZERO);
    let ranked = accept.ranked();
    if ranked.is_empty() {
        return Ok(Representation::BareToken);
    }
    let offered = "application/json, image/png, image/svg+xml and text/plain";
    ranked.iter().find_map(representation_of).ok_or(Failure::NotAcceptable(offered))
}

fn representation_of(wanted: &Mime) -> Option<Representation> {
    match wanted.essence_str() {
        "*/*" | "application/*" | "application/json" => Some(Representation::BareToken),
        "image/svg+xml" | "image/*" => Some(Representation::Svg),
        "image/png" => Some(Representation::Png),
        "text/plain" | "text/*" => Some(Representation::Text),
        _ => None,
    }
}

/// The cart, if the caller may show its code: to all others it is not there.
async fn allowed(app: &App, caller: &Principal, id: &str) -> Result<Cart> {
    match caller {
        Principal::Device(_) | Principal::Staff(_) => cart::service::of(app, caller, id).await,
        _ => Err(Failure::Forbidden("Only the cart itself or staff of its store may see its QR code")),
    }
}

fn answer(
    app: &App,
    issued: &Issued,
    representation: Representation,
    wish: &Wish,
    now: Timestamp,
) -> Result<HttpResponse> {
    let payload = match wish.payload {
        Payload::Link => &issued.link,
        Payload::Jwt => &issued.token,
    };
    let details = Details::of(issued, payload, app.config.qr_refresh.0, now);
    let size = wish.size.unwrap_or(DEFAULT_SIZE);
    let mut ok = HttpResponse::Ok();
    // No intermediary may hand one cart's code, or an old one, to somebody else.
    ok.insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::VARY, "Accept"))
        .insert_header(("X-Code-Expires-In", details.expires_in))
        .insert_header(("X-Code-Refresh-In", details.refresh_in));
    Ok(match representation {
        Representation::BareToken => ok.json(&issued.token),
        Representation::Details => ok.json(details),
        Representation::Png => ok.content_type("image/png").body(picture(app, issued, wish)?.png(size)),
        Representation::Svg => ok.content_type("image/svg+xml").body(picture(app, issued, wish)?.svg(size)),
        Representation::Text if wish.render == Some(Render::Terminal) => {
            ok.content_type("text/plain; charset=utf-8").body(picture(app, issued, wish)?.terminal())
        }
        Representation::Text => ok.content_type("text/plain; charset=utf-8").body(payload.clone()),
    })
}

fn picture(app: &App, issued: &Issued, wish: &Wish) -> Result<Picture> {
    let drawn = match wish.payload {
        Payload::Link => Picture::of_link(app.public_url().origin(), &issued.code),
        Payload::Jwt => Picture::of_text(&issued.token),
    };
    drawn.map_err(|error| Failure::Internal(error.to_string()))
}

//! `/demo/config.json` and `/demo/enrol/{cart_id}`: what the demo page works with, for this machine alone.

use actix_web::cookie::{Cookie, SameSite, time::Duration as CookieAge};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};

use super::{Demo, lan};
use crate::app::App;
use crate::body::Json;
use crate::cart;
use crate::error::{Failure, Result};
use crate::ids::CartId;

/// The demo, for a client on this machine itself; there is nothing here for any other. Who comes by a proxy or a tunnel
/// may be anybody, though the connection begins here.
fn only_here<'a>(app: &'a App, request: &HttpRequest) -> Result<&'a Demo> {
    let relayed = ["x-forwarded-for", "forwarded"].iter().any(|header| request.headers().contains_key(*header));
    let here = !relayed && request.peer_addr().is_some_and(|peer| lan::is_here(peer.ip()));
    app.demo.as_ref().filter(|_| here).ok_or(Failure::NoRoute)
}

/// `GET /demo/config.json`: who and what there is to try. Only in demo mode, and only on this machine.
pub async fn config(app: Data<App>, request: HttpRequest) -> Result<Json<Demo>> {
    Ok(Json(only_here(&app, &request)?.clone()))
}

/// `POST /demo/enrol/{cart_id}`: makes this browser the cart's screen. Only in demo mode, and only
/// on this machine.
pub async fn enrol(app: Data<App>, request: HttpRequest, cart_id: Path<String>) -> Result<HttpResponse> {
    let demo = only_here(&app, &request)?;
    demo.carts.iter().find(|cart| cart.cart_id == *cart_id).ok_or(Failure::NotFound("Cart"))?;
    let id: CartId = cart_id.parse().map_err(|_| Failure::NotFound("Cart"))?;
    let found = cart::store::find(app.db.read(), &id).await?.ok_or(Failure::NotFound("Cart"))?;
    let key = cart::service::enrol_directly(&app, found.num).await?;
    let cookie = Cookie::build(app.cookie_name(), key)
        .path("/")
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(app.public_url().is_https())
        .max_age(CookieAge::days(400))
        .finish();
    let enrolled = serde_json::json!({ "cart_id": found.id, "label": found.label, "store_id": found.store });
    Ok(HttpResponse::Created().cookie(cookie).json(enrolled))
}

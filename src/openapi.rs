//! `/openapi.json`: what this server speaks, as OpenAPI 3.1, made from the handlers themselves.
//!
//! A route that is missing here fails a test. OpenAPI has no words for event streams, so the events'
//! shapes stand among the schemas.

use actix_web::HttpResponse;
use actix_web::http::header;
use serde::Serialize;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi, ToSchema};

use crate::{account, admin, broadcast, cart, checkout, control, event, health, qr, scan, session, store, webhook};

#[derive(OpenApi)]
#[openapi(
    info(title = "cartlink", description = "Puts a customer on a smart cart in one second. Errors are RFC 9457 problems; times are RFC 3339 UTC with milliseconds.", license(name = "MIT OR Apache-2.0")),
    paths(
        health::live, health::ready, health::health,
        account::http::sign_up, account::http::sign_in, account::http::guest, account::http::refresh, account::http::sign_out,
        account::http::me, account::http::erase, account::http::export, account::services::http::token,
        qr::http::code, scan::http::scan_qr,
        session::http::of_customer, session::http::of_cart, cart::http::status, session::http::history, session::http::read,
        session::http::ack, session::http::activity, session::http::release, session::http::end, session::http::transfer, session::http::state,
        checkout::http::start, checkout::http::complete, checkout::http::fail,
        broadcast::http::sse, broadcast::tickets::issue, session::stream::events, event::http::tell, control::http::events, control::http::token, control::http::emit, control::http::metrics,
        cart::http::list, cart::http::create, cart::http::enrol, cart::http::read, cart::http::change, cart::http::retire,
        cart::http::enrolment, cart::http::revoke, cart::http::heartbeat,
        account::staff::http::list, account::staff::http::create, account::staff::http::change, account::staff::http::dismiss,
        account::services::http::list, account::services::http::create, account::services::http::remove, account::services::http::rotate,
        store::http::list, store::http::create, store::http::change, admin::audit::http::list,
        webhook::http::list, webhook::http::create, webhook::http::remove, webhook::http::dead_letters, webhook::http::replay,
        admin::sessions::http::list, admin::sessions::http::read, admin::sessions::http::end, admin::floor::http::follow, admin::attention::http::list, admin::stats::http::read,
    ),
    components(schemas(Problem, CartEvent, Greeting, broadcast::codes::CodeFrame, admin::floor::FloorCart, checkout::Receipt)),
    modifiers(&Credentials),
    security(("bearer" = []), ("device_key" = []), ("device_cookie" = [])),
)]
struct Api;

/// How a request proves who makes it.
struct Credentials;

impl Modify for Credentials {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let components = api.components.get_or_insert_default();
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An access token, a service's token, or a cart's device key"));
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
        components
            .add_security_scheme("device_key", SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key"))));
        components
            .add_security_scheme("device_cookie", SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new("cartlink"))));
    }
}

/// Every 4xx and 5xx: RFC 9457.
#[derive(Serialize, ToSchema)]
struct Problem {
    /// Always `about:blank`: `code` tells problems apart.
    r#type: String,
    title: String,
    status: u16,
    /// For people: what went wrong and what to do.
    detail: String,
    /// The same.
    message: String,
    /// For programs: stable.
    code: String,
    request_id: String,
    /// One per wrong field, of `invalid-fields`.
    errors: Option<Vec<FieldProblem>>,
}

/// A wrong field.
#[derive(Serialize, ToSchema)]
struct FieldProblem {
    field: String,
    message: String,
}

/// The first frame of `GET /sse/{cart_id}`.
#[derive(Serialize, ToSchema)]
struct Greeting {
    /// `connection`.
    r#type: String,
    /// The same.
    event_type: String,
    message: String,
    cart_id: String,
    /// Null for a customer who has no session there.
    status: Option<String>,
    session: Option<session::http::SessionView>,
    /// Present where the last event id was of another life or no longer kept.
    reset: Option<bool>,
}

/// An event on `GET /sse/{cart_id}`.
#[derive(Serialize, ToSchema)]
struct CartEvent {
    /// `session-started`, `session-fetched`, `session-idle-warning`, `session-resumed`, `checkout-started`, `checkout-failed`,
    /// `checkout-completed`, `session-ended`, `session-expired`, `session-transferred`, `cart-status`, `cart-offline`, or a store's own kind.
    r#type: String,
    /// The same.
    event_type: String,
    session_id: i64,
    cart_id: String,
    status: String,
    phase: Option<String>,
    reason: Option<String>,
    updated_at: String,
    /// Of `session-started`, for that cart alone: a JWT that opens the session.
    token: Option<String>,
    /// Of `session-started`, for that cart alone.
    display_name: Option<String>,
    /// Of `session-started`: two digits both screens show.
    check_code: Option<String>,
    /// Of `checkout-completed`.
    receipt: Option<checkout::Receipt>,
}

/// The document as text.
pub fn text() -> String {
    Api::openapi().to_pretty_json().expect("the document is plain data")
}

/// `GET /openapi.json`.
pub async fn document() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").insert_header((header::CACHE_CONTROL, "no-cache")).body(text())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::Method;

    /// Pages and what describes itself are no API.
    const NO_API: &[&str] = &[
        "/",
        "/cart/",
        "/app/",
        "/s",
        "/admin/",
        "/demo",
        "/docs",
        "/openapi.json",
        "/static/{path:.*}",
        "/.well-known/apple-app-site-association",
        "/.well-known/assetlinks.json",
        "/demo/config.json",
        "/demo/enrol/{cart_id}",
    ];

    /// Second spellings of a path that is listed.
    const ALIASES: &[&str] = &[
        "/health",
        "/carts",
        "/customer-session/",
        "/api/session/{id}",
        "/api/oauth2/token",
        "/api/session/{id}/events",
        "/events",
        "/token",
        "/emit",
    ];

    #[test]
    fn every_route_is_documented() {
        let api = serde_json::to_value(Api::openapi()).unwrap();
        assert!(api["openapi"].as_str().unwrap().starts_with("3.1"));
        for (path, methods) in crate::server::listed() {
            if NO_API.contains(&path.as_str()) || ALIASES.contains(&path.as_str()) {
                continue;
            }
            for method in methods {
                let method = Method::as_str(&method).to_lowercase();
                assert!(api["paths"][&path][&method].is_object(), "{method} {path} is not in src/openapi.rs");
            }
        }
    }
}

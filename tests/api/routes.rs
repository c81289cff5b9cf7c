//! Every route against everything that can be wrong with a request: a documented refusal, as a complete problem, and
//! nothing has changed.

use cartlink::server;
use reqwest::Method;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use crate::helpers::{Answer, World, both};

/// Pages, and what is only there in demo mode.
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
];

/// Routes that ask for no credential.
const OPEN: &[&str] = &[
    "/livez",
    "/readyz",
    "/health",
    "/health/",
    "/auth/signup",
    "/auth/login",
    "/auth/guest",
    "/auth/refresh-token",
    "/carts/enrol",
];

/// Routes with a way of their own to be let in, looked at where they are tested.
const ELSEWHERE: &[&str] = &[
    "/oauth2/token",
    "/api/oauth2/token",
    "/demo/config.json",
    "/demo/enrol/{cart_id}",
    "/token",
    "/token/",
    "/emit",
    "/emit/",
    "/metrics",
    "/events",
    "/events/",
];

/// A route of the API with its parameters filled in by ids that nothing has.
struct Route {
    pattern: String,
    path: String,
    method: Method,
}

fn api() -> Vec<Route> {
    let mut routes = Vec::new();
    for (pattern, methods) in server::listed() {
        if NO_API.contains(&pattern.as_str()) || ELSEWHERE.contains(&pattern.as_str()) {
            continue;
        }
        let path = pattern
            .split('/')
            .map(|part| if part.starts_with('{') { "999999" } else { part })
            .collect::<Vec<_>>()
            .join("/");
        routes.extend(methods.into_iter().map(|method| Route {
            pattern: pattern.clone(),
            path: path.clone(),
            method: Method::from_bytes(method.as_str().as_bytes()).unwrap(),
        }));
    }
    routes
}

/// What the world's rows add up to.
async fn state(world: &World) -> Vec<i64> {
    let conn = world.app.db.read();
    let mut state = Vec::new();
    for sum in [
        "SELECT COUNT(*) AS n FROM accounts",
        "SELECT COUNT(*) AS n FROM carts",
        "SELECT CAST(SUM(pairing_epoch) AS BIGINT) AS n FROM carts",
        "SELECT CAST(SUM(version) AS BIGINT) AS n FROM sessions",
        "SELECT COUNT(*) AS n FROM events",
        "SELECT COUNT(*) AS n FROM audit",
        "SELECT COUNT(*) AS n FROM enrolments",
        "SELECT COUNT(*) AS n FROM stores",
        "SELECT COUNT(*) AS n FROM services",
        "SELECT COUNT(*) AS n FROM sign_ins WHERE ended_at IS NULL",
    ] {
        let row = conn.query_one_raw(Statement::from_string(conn.get_database_backend(), sum)).await.unwrap().unwrap();
        state.push(row.try_get("", "n").unwrap());
    }
    state
}

async fn send(world: &World, route: &Route, credential: Option<&str>, body: Option<&str>) -> Answer {
    let mut request = world.http.request(route.method.clone(), world.url(&route.path));
    if let Some(credential) = credential {
        request = request.bearer_auth(credential);
    }
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_owned());
    }
    Answer::of(request).await
}

/// Whether the route reads a body it cannot do without, by its own documentation.
fn needs_body(document: &Value, route: &Route) -> bool {
    let method = route.method.as_str().to_lowercase();
    let operation = &document["paths"][&route.pattern][&method];
    operation["requestBody"]["required"] == true
}

both! {
    async fn without_a_credential_or_with_the_wrong_kind_nothing_happens(world: World) {
        let cart = world.cart("7").await;
        let phone = world.phone().await;
        phone.scan(&cart.qr().await).await.ok();
        cart.ack(1).await.ok();
        let other = world.cart("8").await;
        let qr = other.qr().await;
        let before = state(&world).await;
        for route in api().iter().filter(|route| !OPEN.contains(&route.pattern.as_str())) {
            let shown = format!("{} {}", route.method, route.path);
            let anonymous = send(&world, route, None, None).await;
            assert_eq!(anonymous.status, 401, "{shown}: {}", anonymous.text);
            anonymous.refusal();
            assert_eq!(anonymous.headers["www-authenticate"], "Bearer", "{shown}");
            // A QR code's JWT, a refresh token, a key that never was, and a token of another server.
            for wrong in [qr.as_str(), &phone.refresh_token, "ck_nobody", "eyJhbGciOiJub25lIn0.e30."] {
                let answer = send(&world, route, Some(wrong), None).await;
                assert_eq!(answer.status, 401, "{shown}: {}", answer.text);
                answer.refusal();
            }
        }
        assert_eq!(state(&world).await, before);
    }

    async fn ids_nothing_has_and_bodies_nobody_can_read_are_refused_whoever_sends_them(world: World) {
        let cart = world.cart("7").await;
        let phone = world.phone().await;
        phone.scan(&cart.qr().await).await.ok();
        let admin = world.admin().await;
        let document: Value = serde_json::from_str(&cartlink::openapi::text()).unwrap();
        let before = state(&world).await;
        let huge = format!("{{\"x\":\"{}\"}}", "x".repeat(70_000));
        for route in api() {
            let shown = format!("{} {}", route.method, route.path);
            let callers = [phone.token.as_str(), &cart.key, &admin.token];
            // A customer may follow a cart that is not there: it looks like one that is.
            if route.pattern.contains('{') && route.pattern != "/sse/{cart_id}" {
                for caller in callers {
                    let answer = send(&world, &route, Some(caller), Some("{}")).await;
                    assert!(answer.status.is_client_error(), "{shown}: {} {}", answer.status, answer.text);
                    answer.refusal();
                }
            }
            if !needs_body(&document, &route) {
                continue;
            }
            for (defect, body, expected) in [
                ("no JSON", "{\"token", &[400, 415][..]),
                ("wrong type", "[1]", &[422, 400]),
                ("missing fields", "{\"surprise\":1}", &[422, 400]),
                ("huge", &huge, &[413]),
            ] {
                let mut statuses = Vec::new();
                for caller in callers {
                    let answer = send(&world, &route, Some(caller), Some(body)).await;
                    assert!(answer.status.is_client_error(), "{shown}, {defect}: {} {}", answer.status, answer.text);
                    answer.refusal();
                    statuses.push(answer.status.as_u16());
                }
                let optional = defect == "missing fields" && route.method == Method::PATCH || route.pattern.contains("heartbeat");
                let hidden = statuses.iter().all(|status| [403, 404].contains(status));
                assert!(optional || hidden || statuses.iter().any(|status| expected.contains(status)), "{shown}, {defect}: {statuses:?}");
            }
        }
        assert_eq!(state(&world).await, before);
    }
}

#[tokio::test]
async fn wrong_methods_unknown_routes_and_broken_requests_are_problems_too() {
    let world = World::start(crate::helpers::Backend::Sqlite).await;
    let answer = Answer::of(world.http.put(world.url("/customer-session/scan-qr"))).await;
    assert_eq!(answer.refusal(), (405, "method-not-allowed".into()));
    assert_eq!(answer.headers["allow"], "POST");
    assert_eq!(Answer::of(world.http.get(world.url("/no/such/route"))).await.refusal(), (404, "no-such-route".into()));
    let given = Answer::of(world.http.get(world.url("/nope")).header("x-request-id", "my-own-id")).await;
    assert_eq!(
        (given.json()["request_id"].clone(), given.headers["x-request-id"].to_str().unwrap()),
        (json!("my-own-id"), "my-own-id")
    );
    let health = Answer::of(world.http.get(world.url("/health/"))).await;
    assert_eq!(health.text, r#"{"services":{"database":{"status":"up"}},"status":"healthy"}"#);
}

//! Every route in one list, on both listeners.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_http::{HttpService, Protocol};
use actix_server::Server;
use actix_service::{IntoServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_tls::accept::rustls_0_23::{Acceptor, TlsStream};
use actix_tls::accept::{TlsError, max_concurrent_tls_connect};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, ServiceRequest, ServiceResponse};
use actix_web::error::{QueryPayloadError, UrlencodedError};
use actix_web::http::{ConnectionType, Method, StatusCode, header};
use actix_web::middleware::{Compress, DefaultHeaders, Next, from_fn};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{App as Actix, FromRequest, Handler, HttpResponse, Responder, ResponseError};
use actix_web_lab::middleware::CatchPanic;
use tokio::net::TcpStream;

use crate::app::App;
use crate::broadcast::line::Line;
use crate::config::PublicUrl;
use crate::error::Failure;
use crate::{
    account, admin, app_links, broadcast, cart, checkout, control, demo, event, health, openapi, pages, qr, scan,
    session, store, telemetry, tls, webhook,
};

/// Larger bodies are refused: nothing here needs one.
const BODY: usize = 64 * 1024;

/// How long a client may take to send its headers, and before that for a TLS handshake.
const HEADERS: Duration = Duration::from_secs(10);

/// How long a client may take to close a connection that has been closed on our side.
const GOODBYE: Duration = Duration::from_secs(1);

/// How long an idle connection is kept: longer than a proxy does, which would otherwise send into one that closes.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Connections per worker at most; the default would be full with 25,000 screens.
const CONNECTIONS: usize = 200_000;

/// The customers', screens' and staff's routes.
fn public(at: &mut dyn FnMut(At)) {
    at(At::path("/livez").get(health::live));
    at(At::path("/readyz").get(health::ready));
    at(At::paths(["/health", "/health/"]).get(health::health));

    at(At::path("/auth/signup").post(account::http::sign_up));
    at(At::path("/auth/login").post(account::http::sign_in));
    at(At::path("/auth/guest").post(account::http::guest));
    at(At::path("/auth/refresh-token").post(account::http::refresh));
    at(At::path("/auth/logout").post(account::http::sign_out));
    at(At::path("/auth/me").get(account::http::me).delete(account::http::erase));
    at(At::path("/auth/me/export").get(account::http::export));
    at(At::paths(["/oauth2/token", "/api/oauth2/token"]).post(account::services::http::token));

    at(At::path("/customer-session/qr/{cart_id}").get(qr::http::code));
    at(At::path("/customer-session/scan-qr").post(scan::http::scan_qr));
    at(At::path("/customer-session/active/{user_id}").get(session::http::of_customer));
    at(At::path("/customer-session/cart/{cart_id}").get(session::http::of_cart));
    at(At::path("/customer-session/cart-status/{cart_id}").get(cart::http::status));
    at(At::paths(["/customer-session", "/customer-session/"]).get(session::http::history));
    at(At::path("/customer-session/{id}").get(session::http::read));
    at(At::path("/customer-session/{id}/ack").post(session::http::ack));
    at(At::path("/customer-session/{id}/activity").post(session::http::activity));
    at(At::path("/customer-session/{id}/release").post(session::http::release));
    at(At::path("/customer-session/{id}/end").post(session::http::end));
    at(At::path("/customer-session/{id}/transfer").post(session::http::transfer));
    at(At::path("/customer-session/{id}/checkout").post(checkout::http::start));
    at(At::path("/customer-session/{id}/checkout/complete").post(checkout::http::complete));
    at(At::path("/customer-session/{id}/checkout/fail").post(checkout::http::fail));
    at(At::paths(["/session/{id}", "/api/session/{id}"]).get(session::http::state));

    at(At::paths(["/session/{id}/events", "/api/session/{id}/events"]).get(session::stream::events));

    at(At::path("/sse/{cart_id}").get(broadcast::http::sse));
    at(At::paths(["/events/", "/events"]).get(control::http::events));
    at(At::path("/stream-tickets").post(broadcast::tickets::issue));

    at(At::paths(["/carts", "/carts/"]).get(cart::http::list).post(cart::http::create));
    at(At::path("/carts/enrol").post(cart::http::enrol));
    at(At::path("/carts/{id}").get(cart::http::read).patch(cart::http::change).delete(cart::http::retire));
    at(At::path("/carts/{id}/enrolment").post(cart::http::enrolment));
    at(At::path("/carts/{id}/revoke").post(cart::http::revoke));
    at(At::path("/carts/{id}/heartbeat").post(cart::http::heartbeat));
    at(At::path("/carts/{id}/events").post(event::http::tell));

    at(At::path("/admin/staff").get(account::staff::http::list).post(account::staff::http::create));
    at(At::path("/admin/staff/{id}").patch(account::staff::http::change).delete(account::staff::http::dismiss));
    at(At::path("/admin/services").get(account::services::http::list).post(account::services::http::create));
    at(At::path("/admin/services/{client_id}").delete(account::services::http::remove));
    at(At::path("/admin/services/{client_id}/rotate").post(account::services::http::rotate));
    at(At::path("/admin/stores").get(store::http::list).post(store::http::create));
    at(At::path("/admin/stores/{id}").patch(store::http::change));
    at(At::path("/admin/webhooks").get(webhook::http::list).post(webhook::http::create));
    at(At::path("/admin/webhooks/{id}").delete(webhook::http::remove));
    at(At::path("/admin/webhooks/{id}/dead-letters").get(webhook::http::dead_letters));
    at(At::path("/admin/webhooks/{id}/replay").post(webhook::http::replay));
    at(At::path("/admin/audit").get(admin::audit::http::list));
    at(At::path("/admin/events").get(admin::floor::http::follow));
    at(At::path("/admin/stats").get(admin::stats::http::read));
    at(At::path("/admin/attention").get(admin::attention::http::list));
    at(At::path("/admin/sessions").get(admin::sessions::http::list));
    at(At::path("/admin/sessions/{id}").get(admin::sessions::http::read));
    at(At::path("/admin/sessions/{id}/end").post(admin::sessions::http::end));

    at(At::path("/demo/config.json").get(demo::http::config));
    at(At::path("/demo/enrol/{cart_id}").post(demo::http::enrol));

    at(At::path("/.well-known/apple-app-site-association").get(app_links::apple));
    at(At::path("/.well-known/assetlinks.json").get(app_links::android));
    at(At::path("/").get(pages::root));
    for page in ["/cart/", "/app/", "/s", "/admin/", "/demo", "/docs"] {
        at(At::path(page).get(pages::page).compressed());
    }
    at(At::path("/static/{path:.*}").get(pages::asset).compressed());
    at(At::path("/openapi.json").get(openapi::document).compressed());
}

/// The services' routes.
fn controlling(at: &mut dyn FnMut(At)) {
    // First, for it is asked for most.
    at(At::paths(["/emit/", "/emit"]).post(control::http::emit).for_back_ends());
    at(At::path("/livez").get(health::live).for_back_ends());
    at(At::path("/readyz").get(health::ready).for_back_ends());
    at(At::paths(["/health/", "/health"]).get(health::health).for_back_ends());
    at(At::path("/metrics").get(control::http::metrics).for_back_ends());
    at(At::paths(["/token/", "/token"]).post(control::http::token).for_back_ends());
}

/// Every path of both listeners with the methods it takes.
pub fn listed() -> Vec<(String, Vec<Method>)> {
    let mut all = Vec::new();
    let mut list = |path: At| all.extend(path.paths.into_iter().map(|name| (name, path.methods.clone())));
    public(&mut list);
    controlling(&mut list);
    all
}

/// Both listeners on the same workers, ready to run: an emission's answer and what it tells wake one thread, not two. As
/// `HttpServer` does it, but for that, and on lines that a stream can take over. A plain function: an async one would
/// not be `Send`.
pub fn serve(
    app: &Arc<App>,
    public_listener: TcpListener,
    https: Option<tls::ServerConfig>,
    control_listener: TcpListener,
) -> io::Result<Server> {
    let server = Server::build()
        .workers(app.config.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)))
        .max_concurrent_connections(CONNECTIONS)
        .shutdown_timeout(app.config.drain.0.as_secs().max(1))
        .disable_signals();
    let stopping = server.graceful_shutdown_signal();
    let strict = https.is_some() && app.config.public_url.as_ref().is_some_and(PublicUrl::is_for_good);
    macro_rules! http {
        ($routes:expr, $strict:expr, [$($pages:expr)?] $(, $option:ident($value:expr))*) => {{
            let (app, stopping) = (Arc::clone(app), stopping.clone());
            move || {
                let stopping = stopping.clone();
                let routed = Actix::new()
                    .app_data(Data::from(Arc::clone(&app)))
                    .configure(readers)
                    $(.wrap($pages(&app.config.cors_origins)))?
                    .wrap(on_every_answer($strict))
                    .wrap(CatchPanic::default())
                    .wrap(from_fn(problems))
                    .wrap(from_fn(last_answers))
                    .wrap(from_fn(telemetry::observe))
                    .configure(|routes| $routes(&mut |path: At| path.register(routes)))
                    .default_service(web::to(no_route))
                    .into_factory()
                    .map_err(|error| error.error_response());
                HttpService::build()
                    .graceful_shutdown_signal(move || {
                        let stopping = stopping.clone();
                        async move { stopping.notified().await }
                    })
                    .tcp_nodelay(true)
                    .keep_alive(KEEP_ALIVE)
                    .client_request_timeout(HEADERS)
                    .client_disconnect_timeout(GOODBYE)
                    .h1_allow_half_closed(false)
                    $(.$option($value))*
                    .finish(map_config(routed, |()| AppConfig::default()))
            }
        }};
    }
    let http = http!(public, strict, [cors], on_connect_ext(Line::introduce));
    let server = match https {
        Some(certified) => {
            // Handshakes that somebody leaves unfinished must not keep others out: the default is 256 at once.
            max_concurrent_tls_connect(CONNECTIONS);
            let mut acceptor = Acceptor::new(certified);
            acceptor.set_handshake_timeout(HEADERS);
            server.listen("public", public_listener, move || {
                let shaken = acceptor.clone().map_init_err(drop).map_err(TlsError::into_service_error);
                shaken.and_then(fn_service(encrypted)).and_then(http().map_err(TlsError::Service))
            })?
        }
        None => server.listen("public", public_listener, move || fn_service(plain).and_then(http()))?,
    };
    let http = http!(controlling, false, []);
    Ok(server.listen("control", control_listener, move || http().tcp())?.run())
}

/// What the framework wants to know of a connection. A stream can take it over.
type Accepted = (Line, Protocol, Option<SocketAddr>);

async fn plain<E>(socket: TcpStream) -> Result<Accepted, E> {
    let peer = prepare(&socket);
    Ok((Line::new(socket), Protocol::Http1, peer))
}

async fn encrypted<E>(socket: TlsStream<TcpStream>) -> Result<Accepted, E> {
    let peer = prepare(socket.get_ref().0);
    Ok((Line::new(socket), Protocol::Http1, peer))
}

/// A peer that has gone already is found out when it is read from.
fn prepare(socket: &TcpStream) -> Option<SocketAddr> {
    let _gone = socket.set_nodelay(true);
    socket.peer_addr().ok()
}

/// One path with its methods; any other method is told which there are.
struct At {
    paths: Vec<String>,
    resource: actix_web::Resource,
    methods: Vec<Method>,
    behind: Behind,
}

/// What stands between a client and a resource.
enum Behind {
    Nothing,
    Compressor,
    NoBrowsers,
}

macro_rules! methods {
    ($($name:ident $method:ident),*) => {$(
        fn $name<F, Args>(mut self, handler: F) -> Self
        where
            F: Handler<Args>,
            Args: FromRequest + 'static,
            F::Output: Responder + 'static,
        {
            self.methods.push(Method::$method);
            self.resource = self.resource.route(web::$name().to(handler));
            self
        }
    )*};
}

impl At {
    fn path(path: &str) -> Self {
        Self::paths([path])
    }

    fn paths<const N: usize>(paths: [&str; N]) -> Self {
        let paths = paths.map(str::to_owned).to_vec();
        Self { resource: web::resource(paths.clone()), paths, methods: Vec::new(), behind: Behind::Nothing }
    }

    methods!(get GET, post POST, patch PATCH, delete DELETE);

    /// Only what is read whole is compressed: a compressor would hold a stream's frames back.
    fn compressed(mut self) -> Self {
        self.behind = Behind::Compressor;
        self
    }

    fn for_back_ends(mut self) -> Self {
        self.behind = Behind::NoBrowsers;
        self
    }

    fn register(self, routes: &mut ServiceConfig) {
        let allowed = self.methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        let resource = self.resource.default_service(web::to(move || {
            let failure = Failure::MethodNotAllowed(allowed.clone());
            async move { failure.error_response() }
        }));
        match self.behind {
            Behind::Nothing => routes.service(resource),
            Behind::Compressor => routes.service(resource.wrap(Compress::default())),
            Behind::NoBrowsers => routes.service(resource.wrap(from_fn(control::http::no_browsers))),
        };
    }
}

async fn no_route() -> HttpResponse {
    Failure::NoRoute.error_response()
}

/// How bodies, queries and paths are read, and what is said where they cannot be.
fn readers(routes: &mut ServiceConfig) {
    routes
        .app_data(web::PayloadConfig::new(BODY))
        .app_data(web::FormConfig::default().limit(BODY).error_handler(|error, _| form(&error).into()))
        .app_data(web::QueryConfig::default().error_handler(|error, _| query(&error).into()))
        .app_data(web::PathConfig::default().error_handler(|_, _| Failure::NoRoute.into()));
}

fn form(error: &UrlencodedError) -> Failure {
    match error {
        UrlencodedError::Overflow { .. } => Failure::TooLarge(BODY),
        UrlencodedError::UnknownLength => Failure::Malformed("The body has no length".into()),
        UrlencodedError::ContentType => Failure::UnsupportedMedia("application/x-www-form-urlencoded"),
        other => wrong_field(&other.to_string()),
    }
}

fn query(error: &QueryPayloadError) -> Failure {
    wrong_field(&error.to_string())
}

/// serde names a missing field in backticks; anything else is about the body as a whole.
fn wrong_field(text: &str) -> Failure {
    let text = text.split(" at line ").next().unwrap_or(text);
    let named = text.contains("field `").then(|| text.split('`').nth(1)).flatten();
    Failure::field(named.unwrap_or("body"), text)
}

/// What the framework itself answers with a bare status becomes a problem like all others.
async fn problems<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<actix_web::body::EitherBody<B>>, actix_web::Error> {
    let answer = next.call(request).await.map_err(|error| match error.as_error::<Failure>() {
        Some(_) => error,
        None if error.as_response_error().status_code().is_client_error() => {
            Failure::Malformed("The request cannot be read".into()).into()
        }
        None => Failure::Internal(error.to_string()).into(),
    })?;
    let status = answer.status();
    let told = answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.starts_with(b"application/problem+json")
            || kind.starts_with(b"application/json")
            || kind.starts_with(b"text/html")
    });
    if told || !(status.is_client_error() || status.is_server_error()) {
        return Ok(answer.map_into_left_body());
    }
    let failure = match status {
        StatusCode::PAYLOAD_TOO_LARGE => Failure::TooLarge(BODY),
        StatusCode::NOT_FOUND => Failure::NoRoute,
        status if status.is_client_error() => Failure::Malformed("The request cannot be read".into()),
        status => Failure::Internal(format!("the framework answered {status}")),
    };
    Ok(answer.into_response(failure.error_response()).map_into_right_body())
}

/// `strict`: come by https alone from now on. A proxy that speaks https in front of us says so itself, or not.
fn on_every_answer(strict: bool) -> DefaultHeaders {
    let headers = DefaultHeaders::new()
        .add((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .add((header::REFERRER_POLICY, "no-referrer"));
    if strict { headers.add((header::STRICT_TRANSPORT_SECURITY, "max-age=31536000")) } else { headers }
}

/// While the server stops, each answer is its connection's last: whoever keeps connections for later must not send
/// another request into one that is about to close.
async fn last_answers<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let mut answer = next.call(request).await?;
    if answer.request().app_data::<Data<App>>().is_some_and(|app| app.streams.draining()) {
        answer.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(answer)
}

/// Other origins whose pages may call the API. None, unless configured.
fn cors(origins: &[String]) -> actix_cors::Cors {
    let mut cors = actix_cors::Cors::default()
        .allowed_methods(["GET", "POST", "PATCH", "DELETE"])
        .allowed_headers([
            "authorization",
            "content-type",
            "idempotency-key",
            "if-none-match",
            "last-event-id",
            "x-request-id",
        ])
        .expose_headers([
            "etag",
            "link",
            "retry-after",
            "ratelimit",
            "ratelimit-policy",
            "x-request-id",
            "idempotent-replayed",
        ])
        .max_age(600);
    for origin in origins {
        cors = cors.allowed_origin(origin);
    }
    cors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn a_panic_is_a_problem_too_and_says_nothing_of_its_cause() {
        async fn broken() -> HttpResponse {
            panic!("a cause nobody outside may read")
        }
        let app = Actix::new().wrap(CatchPanic::default()).wrap(from_fn(problems)).wrap(from_fn(telemetry::observe));
        let app = actix_web::test::init_service(app.route("/", web::get().to(broken))).await;
        let answer = actix_web::test::try_call_service(&app, actix_web::test::TestRequest::get().to_request()).await;
        let answer =
            answer.map_or_else(|error| error.error_response(), |answer| answer.into_parts().1.map_into_boxed_body());
        assert_eq!(answer.status(), 500);
        assert_eq!(answer.headers().get(header::CONTENT_TYPE).unwrap(), "application/problem+json");
        let body = actix_web::body::to_bytes(answer.into_body()).await.unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("cause"));
    }
}

//! Logs, request ids and metrics.
//!
//! A log line never holds a token, a password, a code, a mail address or a body. Paths are logged
//! without their query, because `?token=` and `?ticket=` are credentials.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use metrics::{Counter, Histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::token;

tokio::task_local! {
    static REQUEST_ID: RefCell<String>;
}

/// `X-Request-Id`, in and out.
static HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The id of the request being answered; empty outside of one.
pub fn request_id() -> String {
    REQUEST_ID.try_with(|id| id.borrow().clone()).unwrap_or_default()
}

/// Starts logging to stderr. `Err` says what is wrong with the filter.
pub fn start(filter: &str, json: bool) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("--log: {error}"))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if json { logs.json().try_init() } else { logs.try_init() };
    started.map_err(|error| error.to_string())
}

/// What has been measured. One per process, because the `metrics` crate's recorder is.
static MEASURED: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// A request's seconds are counted up to each of these.
const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// Starts measuring, once for all servers of the process.
pub fn measure() {
    MEASURED.get_or_init(|| {
        let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS);
        builder
            .and_then(PrometheusBuilder::install_recorder)
            .inspect_err(|error| tracing::error!(%error, "nothing is measured"))
            .ok()
    });
}

/// Everything measured so far, as Prometheus reads it.
pub fn measured() -> String {
    MEASURED.get().and_then(Option::as_ref).map(PrometheusHandle::render).unwrap_or_default()
}

/// Folds what was measured into its buckets now and then: until that, every single value is kept.
pub async fn upkeep() {
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        if let Some(handle) = MEASURED.get().and_then(Option::as_ref) {
            handle.run_upkeep();
        }
    }
}

/// Gives each request an id, counts it, and logs it once it is answered.
pub async fn observe<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let id = given_id(&request).unwrap_or_else(|| token::hex(&rand::random::<[u8; 16]>()));
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.path().to_owned();
    let trace = trace_id(&request);
    let answer = REQUEST_ID.scope(RefCell::new(id.clone()), next.call(request)).await;
    let status = match &answer {
        Ok(answer) => answer.status(),
        Err(error) => error.as_response_error().status_code(),
    };
    let route =
        answer.as_ref().ok().and_then(|answer| answer.request().match_pattern()).unwrap_or_else(|| "none".into());
    let took = started.elapsed();
    count(&route, status, took);
    // A path that names a customer is logged without the name.
    let path = if route.contains("{user_id}") { route } else { path };
    tracing::debug!(%method, path, status = status.as_u16(), ms = took.as_secs_f64() * 1e3, request_id = id, trace, "answered");
    let mut answer = answer?;
    if let Ok(value) = HeaderValue::from_str(&id) {
        answer.headers_mut().insert(HEADER.clone(), value);
    }
    Ok(answer)
}

thread_local! {
    /// What each route's answers are counted by. Looking a metric up by its labels takes longer than counting.
    static COUNTED: RefCell<HashMap<(String, StatusCode), (Counter, Histogram)>> = RefCell::default();
}

fn count(route: &str, status: StatusCode, took: Duration) {
    COUNTED.with_borrow_mut(|counted| {
        let (requests, seconds) = counted.entry((route.to_owned(), status)).or_insert_with(|| {
            let labels = [("route", route.to_owned()), ("status", status.as_str().to_owned())];
            let seconds = metrics::histogram!("cartlink_request_seconds", "route" => route.to_owned());
            (metrics::counter!("cartlink_requests_total", &labels), seconds)
        });
        requests.increment(1);
        seconds.record(took.as_secs_f64());
    });
}

/// The caller's own id, where it is one: short, and nothing that could forge a log line.
fn given_id(request: &ServiceRequest) -> Option<String> {
    let id = request.headers().get(&HEADER)?.to_str().ok()?;
    let fits = (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    fits.then(|| id.to_owned())
}

/// The trace id of a W3C `traceparent`, so that our lines join the caller's trace.
fn trace_id(request: &ServiceRequest) -> String {
    let id = request
        .headers()
        .get("traceparent")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split('-').nth(1));
    id.filter(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).unwrap_or_default().to_owned()
}

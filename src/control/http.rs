//! `POST /token/`, `POST /emit/` and `GET /metrics` on the control listener; `GET /events/` on the public one.

use std::sync::Arc;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::Next;
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{audience, drafts, emitting, is_own_host, lifetime, name, payload, subscriber};
use crate::account::services;
use crate::app::App;
use crate::auth::{self, Address, Principal, Scope, Service};
use crate::body::{Fields, FormOrJson, text};
use crate::broadcast::Entry;
use crate::broadcast::body::{EventStream, View};
use crate::broadcast::follow::Follower;
use crate::broadcast::frame;
use crate::broadcast::http::{Start, enter, last_event_id, refuse, start};
use crate::broadcast::streams::Owner;
use crate::clock::Timestamp;
use crate::error::{Failure, Result};
use crate::event::store::{self, Head};
use crate::event::{Audience, Channel};
use crate::telemetry;
use crate::token::{self, Refused, Subscriber};

/// Browsers have no business on the control listener: a page always says where it comes from, or is
/// found out by the name it was made to call.
pub async fn no_browsers<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, actix_web::Error> {
    match from_a_back_end(&request) {
        Ok(()) => next.call(request).await.map(ServiceResponse::map_into_left_body),
        Err(failure) => Ok(request.into_response(failure.error_response()).map_into_right_body()),
    }
}

fn from_a_back_end(request: &ServiceRequest) -> Result<()> {
    let app = request.app_data::<Data<App>>().expect("every server has an App");
    if request.headers().contains_key(header::ORIGIN) {
        return Err(Failure::Forbidden("The control listener takes no requests from web pages"));
    }
    let Some(host) = request.headers().get(header::HOST) else {
        // HTTP/1.0, which no browser speaks.
        return Ok(());
    };
    let host = host.to_str().unwrap_or_default();
    let configured = app.config.bindctl.rsplit_once(':').is_some_and(|_| host == app.config.bindctl);
    let own = app.bound.get().is_some_and(|bound| is_own_host(host, bound.control.ip(), &app.config.control_hosts));
    if configured || own {
        return Ok(());
    }
    Err(Failure::Forbidden(
        "This `Host` is not the control listener's; call it by its address, or name it in --control-hosts",
    ))
}

/// Lets a back end in: whoever reaches the listener, or, off loopback, a service with this scope.
async fn admit(app: &App, request: &HttpRequest, address: &Address, scope: Option<Scope>) -> Result<()> {
    if !app.config.control_needs_credential() {
        return Ok(());
    }
    let service = service(app, request).await;
    if matches!(service, Err(Failure::BadCredential(_) | Failure::OAuth { .. })) {
        app.limits.address(address.0)?;
    }
    if scope.is_none_or(|scope| service.as_ref().is_ok_and(|service| service.has(scope))) {
        return service.map(drop);
    }
    service?;
    Err(Failure::Forbidden("This service does not have the scope for that"))
}

async fn service(app: &App, request: &HttpRequest) -> Result<Service> {
    if let Some(pair) = services::http::basic(request) {
        let (client_id, secret) = pair?;
        return services::service::authenticate(app, &client_id, &secret).await;
    }
    match auth::bearer(app, bearer(request)?.ok_or(Failure::NotAuthenticated)?).await? {
        Principal::Service(service) => Ok(service),
        _ => Err(Failure::Forbidden("The control listener is for services")),
    }
}

/// The token of a Bearer `Authorization`, if there is one.
fn bearer(request: &HttpRequest) -> Result<Option<&str>> {
    let Some(value) = request.headers().get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let token = value.to_str().ok().and_then(|value| value.split_once(' '));
    let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    token.map(|(_, token)| Some(token.trim())).ok_or(Failure::BadCredential("send it as `Authorization: Bearer …`"))
}

/// A number may come as one, too, where the body is JSON.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

/// `userId`, `channel` and `exp`.
#[derive(Deserialize, utoipa::ToSchema)]
pub struct TokenBody {
    /// Whose events the token opens.
    #[serde(default, rename = "userId", deserialize_with = "text")]
    user_id: Option<String>,
    /// On which channel.
    #[serde(default, deserialize_with = "text")]
    channel: Option<String>,
    /// For how many seconds from now.
    #[serde(default, deserialize_with = "number")]
    exp: Option<String>,
}

/// `POST /token/`: a subscriber's token, bare.
#[utoipa::path(post, path = "/token/", tag = "control", request_body(content = TokenBody, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = String, content_type = "text/plain"), (status = 400, description = "a bad `exp`")))]
pub async fn token(
    app: Data<App>,
    request: HttpRequest,
    address: Address,
    body: FormOrJson<TokenBody>,
) -> Result<HttpResponse> {
    admit(&app, &request, &address, Some(Scope::Tokens)).await?;
    let TokenBody { user_id, channel, exp } = body.0;
    let mut fields = Fields::default();
    let user_id = fields.required("userId", user_id.as_deref(), subscriber);
    let channel = fields.required("channel", channel.as_deref(), name);
    let (user_id, channel) = fields.finish(user_id.zip(channel))?;
    let seconds = lifetime(exp.as_deref().unwrap_or_default()).map_err(|wrong| Failure::Malformed(wrong.into()))?;
    let exp = app.clock.now().unix() + seconds;
    let claims = Subscriber { user_id: user_id.as_ref().into(), channel: channel.as_ref().into(), exp };
    let token = token::sign_subscriber(&app.subscriber_secret(), &claims);
    Ok(HttpResponse::Ok().content_type("text/plain").insert_header((header::CACHE_CONTROL, "no-store")).body(token))
}

/// `userId`, `channel` and `payload`.
#[derive(Deserialize, utoipa::ToSchema)]
pub struct EmitBody {
    /// Whose subscribers are told; everybody's where it is `*`.
    #[serde(default, rename = "userId", deserialize_with = "text")]
    user_id: Option<String>,
    /// On which channel.
    #[serde(default, deserialize_with = "text")]
    channel: Option<String>,
    /// One or more frames of an event stream.
    #[serde(default, deserialize_with = "text")]
    payload: Option<String>,
}

/// `POST /emit/`: writes the payload's events down and tells the channel's subscribers.
#[utoipa::path(post, path = "/emit/", tag = "control", request_body(content = EmitBody, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = String, content_type = "text/plain", headers(("Event-Id" = String, description = "of the last event")))))]
pub async fn emit(
    app: Data<App>,
    request: HttpRequest,
    address: Address,
    body: FormOrJson<EmitBody>,
) -> Result<HttpResponse> {
    admit(&app, &request, &address, Some(Scope::Emit)).await?;
    let EmitBody { user_id, channel, payload } = body.0;
    let mut fields = Fields::default();
    let audience = fields.required("userId", user_id.as_deref(), audience);
    let channel = fields.required("channel", channel.as_deref(), name);
    let frames = fields.required("payload", payload.as_deref(), payload::parse);
    let ((audience, channel), frames) = fields.finish(audience.zip(channel).zip(frames))?;
    let last = emitting::emit(&app, drafts(&channel, &audience, frames)).await?;
    Ok(HttpResponse::Ok()
        .content_type("text/plain")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("Event-Id", last.to_string()))
        .body("OK"))
}

/// `GET /metrics`, as Prometheus reads it.
#[utoipa::path(get, path = "/metrics", tag = "control", responses((status = 200, body = String, content_type = "text/plain")))]
pub async fn metrics(app: Data<App>, request: HttpRequest, address: Address) -> Result<HttpResponse> {
    admit(&app, &request, &address, None).await?;
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(telemetry::measured()))
}

/// `?token=` and `?last_event_id=`.
#[derive(Deserialize)]
pub struct EventsQuery {
    token: Option<String>,
    last_event_id: Option<String>,
}

/// `GET /events/`: what is emitted on the token's channel for the token's user.
#[utoipa::path(get, path = "/events/", tag = "streams", params(("token" = Option<String>, Query), ("last_event_id" = Option<String>, Query)),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = 401)))]
pub async fn events(
    app: Data<App>,
    request: HttpRequest,
    query: Query<EventsQuery>,
    address: Address,
) -> Result<HttpResponse> {
    let subscriber = subscribing(&app, &request, query.token.as_deref())?;
    let owner = (Owner::Subscriber(subscriber.user_id.clone()), app.config.streams_per_subscriber);
    let place = match enter(&app, owner, address) {
        Ok(place) => place,
        Err(failure) => return refuse(&request, failure),
    };
    let channel = Channel::Emitted(subscriber.channel.as_str().into());
    // Follows first and looks at the head then, so that nothing falls in between.
    let following = app.broadcaster.follow(channel.clone());
    let head = store::head(app.db.read(), &channel).await?.unwrap_or_else(Head::unborn);
    let start = start(last_event_id(&request, query.last_event_id.as_deref()).as_deref(), &head);
    let seq = if let Start::After(seq) = start { seq } else { head.seq };
    let opening = opening(&start, &head);
    let follower = Follower::new(Arc::clone(&app), following, head, seq);
    let view = EmittedView { own: Audience::User(subscriber.user_id.into()) };
    let exp = Some(Timestamp::from_unix(subscriber.exp));
    Ok(EventStream::new(app.into_inner(), place, Some(follower), view, opening, exp).respond(&request))
}

/// Whom the request's token makes a subscriber of what.
fn subscribing(app: &App, request: &HttpRequest, query: Option<&str>) -> Result<Subscriber> {
    let token = bearer(request)?.or(query).ok_or(Failure::NotAuthenticated)?;
    let opened = token::open_subscriber(&app.subscriber_secret(), token, app.clock.now());
    let opened = opened.map_err(|refused| {
        Failure::BadCredential(match refused {
            Refused::Invalid => "the token is no subscriber's token with `userId`, `channel` and `exp`",
            Refused::Expired => "the token has expired; fetch another",
        })
    })?;
    let fits = subscriber(&opened.user_id).is_ok() && name(&opened.channel).is_ok();
    if fits {
        Ok(opened)
    } else {
        Err(Failure::BadCredential("its `userId` or `channel` is none a subscriber may have"))
    }
}

/// What a subscriber is told first: its place, which it has also where nothing was ever emitted, so that nothing is lost
/// on who is away before the first event. A reset is named, so that only who listens for it is told.
fn opening(start: &Start, head: &Head) -> String {
    match start {
        Start::After(_) => frame::opening(None),
        Start::Fresh => frame::opening(Some(&head.id())),
        Start::Reset => {
            let reset = json!({ "type": "reset", "event_type": "reset", "reset": true });
            frame::opening(None) + &frame::frame(Some(&head.id()), Some("reset"), &reset.to_string())
        }
    }
}

/// How one subscriber sees a channel of emitted events.
struct EmittedView {
    own: Audience,
}

impl View for EmittedView {
    fn frame(&mut self, entry: &Entry) -> Option<Bytes> {
        let audience = &entry.event.audience;
        (*audience == Audience::All || *audience == self.own).then(|| frame::emitted(entry))
    }

    fn is_ours(&self) -> bool {
        false
    }
}

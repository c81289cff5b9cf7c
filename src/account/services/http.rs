//! `POST /oauth2/token` and `/admin/services`.

use actix_web::http::header;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::service::{self, Granted};
use super::{Registered, refused, scopes, written};
use crate::account::is_unprintable;
use crate::app::App;
use crate::auth::{Address, Scope, StaffAuth, rank};
use crate::body::{Fields, FormOrJson, Json, present, text};
use crate::clock::Timestamp;
use crate::error::{Failure, Result};
use crate::ids::StoreId;

/// The client credentials grant (RFC 6749 §4.4). Id and secret may also come as Basic.
#[derive(Deserialize, utoipa::ToSchema)]
pub struct TokenBody {
    /// `client_credentials`.
    #[serde(default, deserialize_with = "text")]
    #[schema(required)]
    grant_type: Option<String>,
    #[serde(default, deserialize_with = "text")]
    client_id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    client_secret: Option<String>,
    /// Scopes it needs, with spaces between them; all it has where this is missing.
    #[serde(default, deserialize_with = "text")]
    scope: Option<String>,
}

/// An access token for a service.
#[derive(Serialize, utoipa::ToSchema)]
pub struct TokenView {
    access_token: String,
    /// `Bearer`.
    token_type: &'static str,
    expires_in: u64,
    /// What it is good for, where it was asked for less.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}

/// `POST /oauth2/token`, also `/api/oauth2/token`.
#[utoipa::path(post, path = "/oauth2/token", tag = "services",
    request_body(content((TokenBody = "application/x-www-form-urlencoded"), (TokenBody = "application/json"))),
    responses((status = 200, body = TokenView), (status = 400, description = "`error` as in RFC 6749"), (status = 401, description = "invalid_client")))]
pub async fn token(
    app: Data<App>,
    request: HttpRequest,
    address: Address,
    body: FormOrJson<TokenBody>,
) -> Result<HttpResponse> {
    let asked = asked(&body.0)?;
    let (client_id, secret) = credentials(&request, &body.0)?;
    let granted = service::grant(&app, &client_id, &secret, &asked).await;
    if let Err(Failure::OAuth { error: "invalid_client", .. }) = &granted {
        app.limits.address(address.0)?;
    }
    let Granted { access_token, expires_in, scopes } = granted?;
    let scope = body.0.scope.is_some().then(|| written(&scopes));
    let view = TokenView { access_token, token_type: "Bearer", expires_in, scope };
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(view))
}

/// What is asked for: the grant we have, and scopes that exist.
fn asked(body: &TokenBody) -> Result<Vec<Scope>> {
    match body.grant_type.as_deref() {
        Some("client_credentials") => {}
        Some(_) => return Err(refused("unsupported_grant_type", "The one grant here is client_credentials")),
        None => return Err(refused("invalid_request", "Send grant_type=client_credentials, as a form or as JSON")),
    }
    let asked = scopes(body.scope.as_deref().unwrap_or_default());
    asked.map_err(|_| refused("invalid_scope", "Scopes are sessions:read, checkout, emit and tokens"))
}

/// Id and secret, from the header or from the body: one of the two (RFC 6749 §2.3).
fn credentials(request: &HttpRequest, body: &TokenBody) -> Result<(String, String)> {
    match (basic(request), &body.client_id, &body.client_secret) {
        (Some(pair), _, None) => pair,
        (Some(_), _, Some(_)) => Err(refused("invalid_request", "Send the secret once: as Basic, or in the body")),
        (None, Some(id), Some(secret)) => Ok((id.clone(), secret.clone())),
        (None, ..) => Err(refused("invalid_client", "Send client_id and client_secret, as Basic or in the body")),
    }
}

/// Id and secret from a Basic `Authorization`, if the request has one.
pub fn basic(request: &HttpRequest) -> Option<Result<(String, String)>> {
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok())?;
    let (_, encoded) = header.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))?;
    let decoded = STANDARD.decode(encoded.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
    let pair = pair.map(|(id, secret)| (id.to_owned(), secret.to_owned()));
    Some(
        pair.ok_or_else(|| {
            refused("invalid_client", "The Authorization header is not Basic with client_id:client_secret")
        }),
    )
}

/// A service, as staff see it.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ServiceView {
    client_id: String,
    name: String,
    scopes: Vec<&'static str>,
    /// `null`: all stores.
    #[schema(value_type = Option<i64>)]
    store_id: Option<StoreId>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Shown this once: when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
}

impl From<&Registered> for ServiceView {
    fn from(registered: &Registered) -> Self {
        Self {
            client_id: registered.service.client_id.clone(),
            name: registered.name.clone(),
            scopes: registered.service.scopes.iter().map(|scope| scope.as_str()).collect(),
            store_id: registered.service.store,
            created_at: registered.created_at,
            client_secret: None,
        }
    }
}

fn with_secret((registered, secret): &(Registered, String)) -> ServiceView {
    ServiceView { client_secret: Some(secret.clone()), ..registered.into() }
}

/// `GET /admin/services`: those of one's own store, or all.
#[utoipa::path(get, path = "/admin/services", tag = "services", responses((status = 200, body = Vec<ServiceView>)))]
pub async fn list(app: Data<App>, staff: StaffAuth<rank::Admin>) -> Result<Json<Vec<ServiceView>>> {
    let services = service::list(&app, &staff.0).await?;
    Ok(Json(services.iter().map(ServiceView::from).collect()))
}

/// A service to be.
#[derive(Deserialize, utoipa::ToSchema)]
pub struct CreateBody {
    /// What people call it: 1 to 100 characters.
    #[serde(default, deserialize_with = "text")]
    #[schema(required)]
    name: Option<String>,
    /// Of `sessions:read`, `checkout`, `emit`, `tokens`.
    #[serde(default)]
    scopes: Vec<String>,
    /// One's own store where it is missing; `null`: all stores.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<i64>)]
    store_id: Option<Option<StoreId>>,
}

/// A service's or a store's name.
pub fn name(text: &str) -> Result<String, &'static str> {
    let name = text.trim();
    let fits = (1..=100).contains(&name.chars().count()) && !name.chars().any(is_unprintable);
    if fits { Ok(name.to_owned()) } else { Err("give a name of 1 to 100 characters, on one line") }
}

/// Each scope once, in our order.
fn wanted(words: &[String]) -> Result<Vec<Scope>, &'static str> {
    let known = words.iter().all(|word| Scope::parse(word).is_some());
    let scopes = Scope::ALL.into_iter().filter(|scope| words.iter().any(|word| word == scope.as_str()));
    let scopes: Vec<Scope> = scopes.collect();
    if known && !scopes.is_empty() {
        Ok(scopes)
    } else {
        Err("give one or more of sessions:read, checkout, emit, tokens")
    }
}

/// `POST /admin/services`. The answer holds the secret, this once.
#[utoipa::path(post, path = "/admin/services", tag = "services", request_body = CreateBody,
    responses((status = 201, body = ServiceView), (status = 403), (status = 422)))]
pub async fn create(app: Data<App>, staff: StaffAuth<rank::Admin>, body: Json<CreateBody>) -> Result<HttpResponse> {
    let mut fields = Fields::default();
    let name = fields.required("name", body.name.as_deref(), name);
    let scopes = fields.check("scopes", wanted(&body.scopes));
    let (name, scopes) = fields.finish(name.zip(scopes))?;
    let store = body.store_id.unwrap_or(staff.0.store);
    let made = service::create(&app, &staff.0, name, scopes, store).await?;
    Ok(HttpResponse::Created().insert_header((header::CACHE_CONTROL, "no-store")).json(with_secret(&made)))
}

/// `POST /admin/services/{client_id}/rotate`: another secret, shown this once; the old one is void.
#[utoipa::path(post, path = "/admin/services/{client_id}/rotate", tag = "services", params(("client_id" = String, Path)),
    responses((status = 200, body = ServiceView), (status = 403), (status = 404)))]
pub async fn rotate(app: Data<App>, staff: StaffAuth<rank::Admin>, client_id: Path<String>) -> Result<HttpResponse> {
    let rotated = service::rotate(&app, &staff.0, client_id.into_inner()).await?;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(with_secret(&rotated)))
}

/// `DELETE /admin/services/{client_id}`: its tokens and streams end.
#[utoipa::path(delete, path = "/admin/services/{client_id}", tag = "services", params(("client_id" = String, Path)),
    responses((status = 204), (status = 403), (status = 404)))]
pub async fn remove(app: Data<App>, staff: StaffAuth<rank::Admin>, client_id: Path<String>) -> Result<HttpResponse> {
    service::remove(&app, &staff.0, client_id.into_inner()).await?;
    Ok(HttpResponse::NoContent().finish())
}

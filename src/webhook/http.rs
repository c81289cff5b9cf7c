//! `/admin/webhooks`: who is told of sessions' starts and ends, and what did not get through.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{Data, Path, Query};
use serde::{Deserialize, Serialize};

use super::store::DeadLetter;
use super::{KINDS, Webhook, service, target};
use crate::app::App;
use crate::auth::{StaffAuth, rank};
use crate::body::{Fields, Json, present, text};
use crate::clock::Timestamp;
use crate::error::{Failure, Result};
use crate::ids::StoreId;

/// A webhook, as staff see it.
#[derive(Serialize, utoipa::ToSchema)]
pub struct WebhookView {
    id: String,
    url: String,
    kinds: Vec<String>,
    /// `null`: all stores.
    #[schema(value_type = Option<i64>)]
    store_id: Option<StoreId>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// What messages are signed with; only where the webhook has just been made.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

fn view(webhook: Webhook, secret: Option<String>) -> WebhookView {
    let Webhook { id, store, url, kinds, created_at } = webhook;
    WebhookView { id, url, kinds, store_id: store, created_at, secret }
}

/// `GET /admin/webhooks`: those of one's own store, or all.
#[utoipa::path(get, path = "/admin/webhooks", tag = "webhooks", responses((status = 200, body = Vec<WebhookView>)))]
pub async fn list(app: Data<App>, staff: StaffAuth<rank::Admin>) -> Result<Json<Vec<WebhookView>>> {
    let webhooks = service::list(&app, &staff.0).await?;
    Ok(Json(webhooks.into_iter().map(|webhook| view(webhook, None)).collect()))
}

/// A webhook to be.
#[derive(Deserialize, utoipa::ToSchema)]
pub struct ToCreate {
    /// https, or http on a loopback address.
    #[serde(default, deserialize_with = "text")]
    #[schema(required)]
    url: Option<String>,
    /// Of `session-started`, `checkout-completed`, `session-ended`; all where it is missing.
    kinds: Option<Vec<String>>,
    /// One's own store where it is missing; `null`: all stores.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<i64>)]
    store_id: Option<Option<StoreId>>,
}

/// Each kind once, in our order.
fn wanted(words: &[String]) -> Result<Vec<String>, &'static str> {
    let known = !words.is_empty() && words.iter().all(|word| KINDS.contains(&word.as_str()));
    let kinds = KINDS.iter().filter(|kind| words.iter().any(|word| word == *kind));
    if known {
        Ok(kinds.map(|kind| (*kind).to_owned()).collect())
    } else {
        Err("give one or more of session-started, checkout-completed, session-ended")
    }
}

/// `POST /admin/webhooks`. The answer holds the secret, this once.
#[utoipa::path(post, path = "/admin/webhooks", tag = "webhooks", request_body = ToCreate,
    responses((status = 201, body = WebhookView), (status = 403), (status = 422)))]
pub async fn create(app: Data<App>, staff: StaffAuth<rank::Admin>, body: Json<ToCreate>) -> Result<HttpResponse> {
    let private = app.config.webhook_private;
    let mut fields = Fields::default();
    let url = fields.required("url", body.url.as_deref(), |text| target(text, private));
    let all = || KINDS.map(str::to_owned).to_vec();
    let kinds = fields.check("kinds", body.kinds.as_deref().map_or_else(|| Ok(all()), wanted));
    let (url, kinds) = fields.finish(url.zip(kinds))?;
    let store = body.store_id.unwrap_or(staff.0.store);
    let (webhook, secret) = service::create(&app, &staff.0, url.into(), kinds, store).await?;
    Ok(HttpResponse::Created().insert_header((header::CACHE_CONTROL, "no-store")).json(view(webhook, Some(secret))))
}

/// `DELETE /admin/webhooks/{id}`: it is told nothing more.
#[utoipa::path(delete, path = "/admin/webhooks/{id}", tag = "webhooks", params(("id" = String, Path)), responses((status = 204), (status = 404)))]
pub async fn remove(app: Data<App>, staff: StaffAuth<rank::Admin>, id: Path<String>) -> Result<HttpResponse> {
    service::remove(&app, &staff.0, id.into_inner()).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// A message nobody took for a day.
#[derive(Serialize, utoipa::ToSchema)]
pub struct DeadLetterView {
    message_id: String,
    session_id: i64,
    kind: String,
    attempts: i64,
    /// What went wrong the last time.
    failure: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    dead_at: Timestamp,
}

impl From<DeadLetter> for DeadLetterView {
    fn from(letter: DeadLetter) -> Self {
        let DeadLetter { message_id, session_id, kind, attempts, failure, created_at, dead_at, .. } = letter;
        Self {
            message_id,
            session_id,
            kind,
            attempts,
            failure,
            created_at: Timestamp(created_at),
            dead_at: Timestamp(dead_at),
        }
    }
}

/// A page of dead letters, the oldest first.
#[derive(Serialize, utoipa::ToSchema)]
pub struct DeadLetterPage {
    items: Vec<DeadLetterView>,
    has_more: bool,
    cursor: Option<String>,
}

/// A page of a list: how many, and after which.
#[derive(Deserialize, utoipa::IntoParams)]
pub struct PageQuery {
    limit: Option<u32>,
    cursor: Option<String>,
}

/// `GET /admin/webhooks/{id}/dead-letters`.
#[utoipa::path(get, path = "/admin/webhooks/{id}/dead-letters", tag = "webhooks", params(("id" = String, Path), PageQuery),
    responses((status = 200, body = DeadLetterPage), (status = 404)))]
pub async fn dead_letters(
    app: Data<App>,
    staff: StaffAuth<rank::Admin>,
    id: Path<String>,
    page: Query<PageQuery>,
) -> Result<HttpResponse> {
    let limit = page.limit.unwrap_or(20);
    if !(1..=100).contains(&limit) {
        return Err(Failure::field("limit", "a number from 1 to 100"));
    }
    let after = page.cursor.as_deref().map_or(Ok(0), str::parse);
    let after = after.map_err(|_| Failure::field("cursor", "take it from the page before"))?;
    let mut letters = service::dead_letters(&app, &staff.0, &id, after, limit + 1).await?;
    let has_more = letters.len() > limit as usize;
    letters.truncate(limit as usize);
    let cursor = letters.last().filter(|_| has_more).map(|last| last.id.to_string());
    let mut answer = HttpResponse::Ok();
    if let Some(cursor) = &cursor {
        let next = format!("</admin/webhooks/{id}/dead-letters?limit={limit}&cursor={cursor}>; rel=\"next\"");
        answer.insert_header((header::LINK, next));
    }
    let items = letters.into_iter().map(DeadLetterView::from).collect();
    Ok(answer.json(DeadLetterPage { items, has_more, cursor }))
}

/// What to send once more.
#[derive(Deserialize, Default, utoipa::ToSchema)]
pub struct ToReplay {
    /// One message, be it dead or delivered; all dead letters where it is missing.
    message_id: Option<String>,
}

/// How many are sent once more.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Replayed {
    replayed: u64,
}

/// `POST /admin/webhooks/{id}/replay`: dead letters, or one message, are delivered once more, under the same ids.
#[utoipa::path(post, path = "/admin/webhooks/{id}/replay", tag = "webhooks", params(("id" = String, Path)), request_body = Option<ToReplay>,
    responses((status = 200, body = Replayed), (status = 404)))]
pub async fn replay(
    app: Data<App>,
    staff: StaffAuth<rank::Admin>,
    id: Path<String>,
    body: actix_web::web::Bytes,
) -> Result<Json<Replayed>> {
    let ToReplay { message_id } =
        if body.trim_ascii().is_empty() { ToReplay::default() } else { crate::body::json(&body)? };
    let replayed = service::replay(&app, &staff.0, id.into_inner(), message_id).await?;
    Ok(Json(Replayed { replayed }))
}

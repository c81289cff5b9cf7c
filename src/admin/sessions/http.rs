//! `/admin/sessions`: sessions found, looked at and ended by staff.

use std::sync::Arc;

use actix_web::http::header;
use actix_web::web::{Bytes, Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Filter, Place, service, store, timeline};
use crate::admin::{csv, scope};
use crate::app::App;
use crate::auth::{Principal, Staff, StaffAuth, rank};
use crate::body::{Fields, Json, text};
use crate::clock::Timestamp;
use crate::error::{Failure, Result};
use crate::event::{self, Kind};
use crate::idempotency::Answer;
use crate::idempotency::http::Posted;
use crate::ids::SessionId;
use crate::session::http::{SessionView, with_receipt};
use crate::session::service::ABSENT;
use crate::session::{Reason, Session, Status};

/// Characters of a reason or a search, at most.
const TEXT: usize = 200;

/// Sessions in a page, unless asked for otherwise.
const PAGE: u32 = 50;

/// Rows of a table read at a time: whoever downloads a year of sessions holds no more than this.
const BATCH: u32 = 1_000;

/// Which sessions. Times are RFC 3339.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SessionsQuery {
    /// `active`, `fetched`, `completed`, `expired` or `failed`.
    status: Option<String>,
    /// Why they ended, as in `force_ended`.
    reason: Option<String>,
    /// On this cart.
    #[serde(alias = "cart_id")]
    cart: Option<String>,
    /// In this store.
    #[serde(alias = "store_id")]
    store: Option<String>,
    /// Of this customer.
    #[serde(alias = "user_id")]
    customer: Option<String>,
    /// Scanned then or later.
    from: Option<String>,
    /// Scanned before then.
    to: Option<String>,
    /// Somewhere in the cart's id or label.
    text: Option<String>,
    /// 1 to 100.
    limit: Option<String>,
    /// From the page before.
    cursor: Option<String>,
}

/// What a query asks for.
struct Asked {
    filter: Filter,
    limit: Option<u32>,
    after: Option<Place>,
}

impl SessionsQuery {
    fn read(self, staff: &Staff) -> Result<Asked> {
        // A form that was not filled in sends empty fields.
        let given = |field: Option<String>| field.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let store = scope::named(staff, given(self.store).as_deref())?;
        let mut fields = Fields::default();
        let status = fields.optional("status", given(self.status).as_deref(), |text| {
            Status::parse(text).ok_or("active, fetched, completed, expired or failed")
        });
        let reason = fields.optional("reason", given(self.reason).as_deref(), |text| {
            Reason::parse(text).ok_or("a reason, as in force_ended")
        });
        let cart = fields.optional("cart", given(self.cart).as_deref(), |text| text.parse().map_err(|_| "a cart's id"));
        let customer = fields.optional("customer", given(self.customer).as_deref(), |text| {
            text.parse().map_err(|_| "a customer's number")
        });
        let from = fields.optional("from", given(self.from).as_deref(), str::parse);
        let to = fields.optional("to", given(self.to).as_deref(), str::parse);
        let text =
            fields.optional("text", given(self.text).as_deref(), |text| short(text).ok_or("200 characters at most"));
        let limit = fields.optional("limit", given(self.limit).as_deref(), |text| {
            text.parse().ok().filter(|limit| (1..=100).contains(limit)).ok_or("a number from 1 to 100")
        });
        let after = fields.optional("cursor", given(self.cursor).as_deref(), str::parse);
        let whole = || {
            let filter = Filter {
                status: status?,
                reason: reason?,
                cart: cart?,
                store,
                customer: customer?,
                from: from?,
                to: to?,
                text: text?,
            };
            Some(Asked { filter, limit: limit?, after: after? })
        };
        fields.finish(whole())
    }
}

fn short(text: &str) -> Option<String> {
    let text = text.trim();
    (text.chars().count() <= TEXT).then(|| text.to_owned())
}

/// A page of sessions, newest first.
#[derive(Serialize, utoipa::ToSchema)]
pub struct SessionsPage {
    items: Vec<SessionView>,
    has_more: bool,
    cursor: Option<String>,
}

/// `GET /admin/sessions`: a page of them; as `text/csv` all of them, unless a limit is given.
#[utoipa::path(get, path = "/admin/sessions", tag = "staff", params(SessionsQuery),
    responses((status = 200, body = SessionsPage, description = "Also `text/csv`, by `Accept`")))]
pub async fn list(
    app: Data<App>,
    request: HttpRequest,
    staff: StaffAuth<rank::Viewer>,
    query: Query<SessionsQuery>,
) -> Result<HttpResponse> {
    let asked = query.into_inner().read(&staff.0)?;
    let csv = csv::wanted(&request);
    if csv && asked.limit.is_none() {
        return Ok(table_of_all(app.into_inner(), asked));
    }
    let limit = asked.limit.unwrap_or(PAGE);
    let mut sessions = store::page(app.db.read(), &asked.filter, asked.after, limit + 1).await?;
    let has_more = sessions.len() > limit as usize;
    sessions.truncate(limit as usize);
    let cursor = sessions.last().filter(|_| has_more).map(|last| Place::from(last).to_string());
    let mut answer = HttpResponse::Ok();
    answer.insert_header((header::CACHE_CONTROL, "no-store"));
    if let Some(cursor) = &cursor {
        answer.insert_header((header::LINK, format!("<{}>; rel=\"next\"", next_page(&request, cursor))));
    }
    if csv {
        return Ok(answer.content_type(csv::CONTENT_TYPE).body(table(&sessions, true)));
    }
    let items = sessions.iter().map(SessionView::from).collect();
    Ok(answer.json(SessionsPage { items, has_more, cursor }))
}

/// This request's address with another cursor.
fn next_page(request: &HttpRequest, cursor: &str) -> String {
    let mut query: Vec<&str> =
        request.query_string().split('&').filter(|part| !part.is_empty() && !part.starts_with("cursor=")).collect();
    let cursor = format!("cursor={cursor}");
    query.push(&cursor);
    format!("{}?{}", request.path(), query.join("&"))
}

/// Everything that was asked for, read as fast as it is taken.
fn table_of_all(app: Arc<App>, asked: Asked) -> HttpResponse {
    let Asked { filter, after, .. } = asked;
    let batches = stream::unfold(Some((after, true)), move |state| {
        let (app, filter) = (Arc::clone(&app), filter.clone());
        async move {
            let (after, first) = state?;
            let sessions = match store::page(app.db.read(), &filter, after, BATCH).await {
                Ok(sessions) => sessions,
                // The download breaks off: better than one that ends too early and looks whole.
                Err(error) => return Some((Err(Failure::from(error)), None)),
            };
            let more = sessions.last().filter(|_| sessions.len() == BATCH as usize);
            let next = more.map(|last| (Some(Place::from(last)), false));
            Some((Ok::<_, Failure>(Bytes::from(table(&sessions, first))), next))
        }
    });
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::CONTENT_DISPOSITION, "attachment; filename=\"sessions.csv\""))
        .content_type(csv::CONTENT_TYPE)
        .streaming(batches)
}

/// Sessions as rows, the first ones under their columns' names.
fn table(sessions: &[Session], named: bool) -> String {
    const COLUMNS: &str = "session_id,cart_id,cart_label,store_id,user_id,status,phase,reason,created_at,fetched_at,checkout_at,ended_at,updated_at\r\n";
    let mut text = if named { COLUMNS.to_owned() } else { String::new() };
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    for session in sessions {
        let fields = [
            session.id.to_string(),
            csv::cell(session.cart_id.as_str()),
            csv::cell(&session.cart_label),
            session.store.to_string(),
            session.customer.map(|customer| customer.to_string()).unwrap_or_default(),
            session.state.status().as_str().to_owned(),
            session.state.phase().unwrap_or_default().to_owned(),
            session.state.reason().map(Reason::as_str).unwrap_or_default().to_owned(),
            session.created_at.to_string(),
            time(session.fetched_at),
            time(session.checkout_at),
            time(session.ended_at()),
            session.updated_at.to_string(),
        ];
        text.push_str(&fields.join(","));
        text.push_str("\r\n");
    }
    text
}

/// A session with all that happened to it.
#[derive(Serialize, utoipa::ToSchema)]
pub struct SessionDetail {
    #[serde(flatten)]
    session: SessionView,
    /// In its order.
    timeline: Vec<TimelineStep>,
}

/// Something that happened to a session.
#[derive(Serialize, utoipa::ToSchema)]
pub struct TimelineStep {
    /// As on the streams: `session-started`, `checkout-failed` …
    event_type: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// On which cart.
    #[schema(value_type = Object)]
    cart_id: Value,
    #[schema(value_type = Option<String>)]
    status: Value,
    #[schema(value_type = Option<String>)]
    phase: Value,
    #[schema(value_type = Option<String>)]
    reason: Value,
    /// What a store's own event says.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

impl From<event::store::Step> for TimelineStep {
    fn from(step: event::store::Step) -> Self {
        let mut data: Value = serde_json::from_str(&step.data).unwrap_or_default();
        let mut take = |name: &str| data.get_mut(name).map(Value::take).unwrap_or_default();
        let (cart_id, status, phase, reason) = match step.kind {
            Kind::Own(_) => Default::default(),
            _ => (take("cart_id"), take("status"), take("phase"), take("reason")),
        };
        let data = matches!(step.kind, Kind::Own(_)).then_some(data);
        Self { event_type: step.kind.as_str().to_owned(), at: step.at, cart_id, status, phase, reason, data }
    }
}

/// `GET /admin/sessions/{id}`: one session and its timeline.
#[utoipa::path(get, path = "/admin/sessions/{id}", tag = "staff", params(("id" = i64, Path)), responses((status = 200, body = SessionDetail), (status = 404)))]
pub async fn read(app: Data<App>, staff: StaffAuth<rank::Viewer>, id: Path<String>) -> Result<Json<SessionDetail>> {
    let principal = Principal::Staff(staff.0);
    let session = crate::session::service::find(&app, &principal, number(&id)?).await?;
    let logged = event::store::of_session(app.db.read(), session.id).await?;
    let timeline = timeline(&session, logged).into_iter().map(TimelineStep::from).collect();
    Ok(Json(SessionDetail { session: with_receipt(&app, &session, &principal).await?, timeline }))
}

/// Why staff end a session.
#[derive(Deserialize, utoipa::ToSchema)]
pub struct ToEnd {
    /// 1 to 200 characters; kept in the audit log.
    #[serde(default, deserialize_with = "text")]
    #[schema(value_type = String)]
    reason: Option<String>,
}

/// `POST /admin/sessions/{id}/end`: the session is over, whatever is going on in it.
#[utoipa::path(post, path = "/admin/sessions/{id}/end", tag = "staff", params(("id" = i64, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = ToEnd,
    responses((status = 200, body = SessionView), (status = 404), (status = 409), (status = 422)))]
pub async fn end(app: Data<App>, staff: StaffAuth<rank::Operator>, id: Path<String>, posted: Posted) -> Result<Answer> {
    let body: ToEnd = posted.json()?;
    let mut fields = Fields::default();
    let why = fields.required("reason", body.reason.as_deref(), |text| {
        short(text)
            .filter(|text| !text.is_empty() && !text.chars().any(char::is_control))
            .ok_or("1 to 200 printable characters")
    });
    let why = fields.finish(why)?;
    let key = posted.key(&Principal::Staff(staff.0.clone()));
    let told = |ended: Session| Answer::ok(&SessionView::from(&ended), ended.customer);
    service::end(&app, staff.0, number(&id)?, why, key, told).await
}

fn number(text: &str) -> Result<SessionId> {
    text.parse().map_err(|_| ABSENT)
}

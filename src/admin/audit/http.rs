//! `GET /admin/audit`: the audit log, a page at a time, as JSON or CSV.

use actix_web::http::header;
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};

use super::Entry;
use super::store::{self, Filter};
use crate::admin::csv::{self, cell};
use crate::app::App;
use crate::auth::{StaffAuth, rank};
use crate::clock::Timestamp;
use crate::error::{Failure, Result};
use crate::ids::StoreId;

/// Which rows, and how many of them.
#[derive(Deserialize)]
pub struct AuditQuery {
    target: Option<String>,
    actor: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// A row of the audit log.
#[derive(Serialize, utoipa::ToSchema)]
pub struct EntryView {
    seq: i64,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// `account/5`, or `command-line`.
    actor: String,
    /// As in `staff.created`.
    action: String,
    /// As in `cart/7`.
    target: String,
    #[schema(value_type = Option<i64>)]
    store_id: Option<StoreId>,
    detail: String,
}

impl From<Entry> for EntryView {
    fn from(entry: Entry) -> Self {
        let Entry { seq, at, actor, action, target, store, detail } = entry;
        Self { seq, at, actor, action, target, store_id: store, detail }
    }
}

/// A page of the audit log, the latest row first.
#[derive(Serialize, utoipa::ToSchema)]
pub struct AuditPage {
    items: Vec<EntryView>,
    has_more: bool,
    cursor: Option<String>,
}

/// Managers read of their own store, staff of all stores of everything.
#[utoipa::path(get, path = "/admin/audit", tag = "staff",
    params(("target" = Option<String>, Query), ("actor" = Option<String>, Query), ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = AuditPage, description = "Also `text/csv`, by `Accept`")))]
pub async fn list(
    app: Data<App>,
    request: HttpRequest,
    staff: StaffAuth<rank::Manager>,
    query: Query<AuditQuery>,
) -> Result<HttpResponse> {
    let query = query.into_inner();
    let limit = query.limit.unwrap_or(50);
    if !(1..=100).contains(&limit) {
        return Err(Failure::field("limit", "a number from 1 to 100"));
    }
    let before = match &query.cursor {
        None => i64::MAX,
        Some(cursor) => cursor.parse().map_err(|_| Failure::field("cursor", "take it from the page before"))?,
    };
    let filter = Filter { store: staff.0.store, target: query.target, actor: query.actor, before, limit: limit + 1 };
    let mut entries = store::latest(app.db.read(), filter).await?;
    let has_more = entries.len() > limit as usize;
    entries.truncate(limit as usize);
    let cursor = entries.last().filter(|_| has_more).map(|last| last.seq.to_string());
    let mut answer = HttpResponse::Ok();
    answer.insert_header((header::CACHE_CONTROL, "no-store"));
    if let Some(cursor) = &cursor {
        answer.insert_header((header::LINK, format!("</admin/audit?limit={limit}&cursor={cursor}>; rel=\"next\"")));
    }
    if csv::wanted(&request) {
        return Ok(answer.content_type(csv::CONTENT_TYPE).body(table(&entries)));
    }
    let items = entries.into_iter().map(EntryView::from).collect();
    Ok(answer.json(AuditPage { items, has_more, cursor }))
}

/// The rows as RFC 4180 has them.
fn table(entries: &[Entry]) -> String {
    let mut text = String::from("seq,at,actor,action,target,store_id,detail\r\n");
    for entry in entries {
        let store = entry.store.map(|store| store.to_string()).unwrap_or_default();
        let fields = [
            entry.seq.to_string(),
            entry.at.to_string(),
            cell(&entry.actor),
            cell(&entry.action),
            cell(&entry.target),
            store,
            cell(&entry.detail),
        ];
        text.push_str(&fields.join(","));
        text.push_str("\r\n");
    }
    text
}

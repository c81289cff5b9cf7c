//! `GET /admin/events`: the live floor as a stream of state, a snapshot first.

use std::task::{Context, Poll};

use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;

use super::service::Watcher;
use crate::admin::attention::http::StoreQuery;
use crate::admin::scope;
use crate::app::App;
use crate::auth::{self, Address, Principal};
use crate::broadcast::Entry;
use crate::broadcast::body::{EventStream, View};
use crate::broadcast::frame;
use crate::broadcast::http::{enter, owner, refuse};
use crate::error::{Failure, Result};

/// `{"type":"floor"}` with all carts, then `cart`, `counters` and `attention` as they change.
#[utoipa::path(get, path = "/admin/events", tag = "staff", params(StoreQuery),
    responses((status = 200, content_type = "text/event-stream", description = "The floor; each cart in it as `FloorCart`")))]
pub async fn follow(
    app: Data<App>,
    request: HttpRequest,
    query: Query<StoreQuery>,
    address: Address,
) -> Result<HttpResponse> {
    let asked = query.store_id.as_deref().filter(|store| !store.is_empty());
    let principal = auth::for_stream(&app, &request, &format!("floor:{}", asked.unwrap_or("all"))).await?;
    let Principal::Staff(staff) = &principal else {
        return Err(Failure::Forbidden("Only staff may watch the floor"));
    };
    let scope = scope::named(staff, asked)?;
    let place = match enter(&app, owner(&app, &principal), address) {
        Ok(place) => place,
        Err(failure) => return refuse(&request, failure),
    };
    let app = app.into_inner();
    let (watcher, snapshot) = match Watcher::start(app.clone(), scope).await {
        Ok(started) => started,
        Err(failure) => return refuse(&request, failure),
    };
    let opening = frame::opening(None) + &snapshot;
    Ok(EventStream::new(app, place, None, FloorView(watcher), opening, principal.exp()).respond(&request))
}

/// The floor as its followers see it.
struct FloorView(Watcher);

impl View for FloorView {
    fn frame(&mut self, _: &Entry) -> Option<Bytes> {
        None
    }

    fn poll_state(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        self.0.poll(cx)
    }
}

//! `GET /session/{id}/events`: a session's state, as it is now and each time it changes.
//!
//! Its readers take every `data:` line until the body ends, so nothing but states stands in it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actix_web::http::header;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::service::{self, ABSENT};
use super::{Reason, Session, Status, awaiting};
use crate::app::App;
use crate::auth::{self, Address, Principal};
use crate::broadcast::Entry;
use crate::broadcast::body::{EventStream, View};
use crate::broadcast::follow::{Follower, Lost};
use crate::broadcast::frame;
use crate::broadcast::http::{enter, last_event_id, owner, refuse};
use crate::error::Result;
use crate::event::{Channel, Kind, store};
use crate::ids::SessionId;

/// `?last_event_id=`; the credential may stand beside it.
#[derive(Deserialize)]
pub struct StateQuery {
    last_event_id: Option<String>,
}

/// `GET /session/{id}/events`, also `/api/session/{id}/events`.
#[utoipa::path(get, path = "/session/{id}/events", tag = "streams",
    params(("id" = i64, Path), ("token" = Option<String>, Query), ("ticket" = Option<String>, Query), ("last_event_id" = Option<String>, Query)),
    responses((status = 200, content_type = "text/event-stream", body = StateFrame), (status = 204, description = "the final status has been seen"), (status = 401), (status = 404)))]
pub async fn events(
    app: Data<App>,
    request: HttpRequest,
    id: Path<String>,
    query: Query<StateQuery>,
    address: Address,
) -> Result<HttpResponse> {
    let principal = auth::for_stream(&app, &request, &format!("session:{id}")).await?;
    let id: SessionId = id.parse().map_err(|_| ABSENT)?;
    if let Principal::Device(device) = &principal {
        awaiting::cart_was_heard(&app, device.cart);
    }
    let (session, follower) = follow(&app, &principal, id).await?;
    let seen = last_event_id(&request, query.last_event_id.as_deref());
    if session.state.status().is_final() && seen.and_then(|id| id.parse().ok()) == Some(session.version) {
        return Ok(HttpResponse::NoContent().insert_header((header::CACHE_CONTROL, "no-store")).finish());
    }
    let place = match enter(&app, owner(&app, &principal), address) {
        Ok(place) => place,
        Err(failure) => return refuse(&request, failure),
    };
    let opening = frame::opening(None) + &StateFrame::of(&session).frame(session.version);
    let view = StateView::new(Arc::clone(&app), &principal, &session);
    Ok(EventStream::new(app.into_inner(), place, Some(follower), view, opening, principal.exp()).respond(&request))
}

/// The session and a follower of the cart it is on: whatever the session does not show yet is still
/// to come.
async fn follow(app: &Arc<App>, principal: &Principal, id: SessionId) -> Result<(Session, Follower)> {
    let mut session = service::find(app, principal, id).await?;
    loop {
        let channel = Channel::Cart(session.cart);
        let following = app.broadcaster.follow(channel.clone());
        let head = store::head(app.db.read(), &channel).await?.ok_or(ABSENT)?;
        let now = service::find(app, principal, id).await?;
        if now.cart == session.cart {
            let seq = head.seq;
            return Ok((now, Follower::new(Arc::clone(app), following, head, seq)));
        }
        // It moved in between: its events go on elsewhere.
        session = now;
    }
}

/// A session's state, as clients in the field read it.
#[derive(Serialize, utoipa::ToSchema)]
pub struct StateFrame {
    id: String,
    /// `active`, `fetched`, `completed`, `expired` or `failed`.
    status: String,
    #[serde(rename = "updatedAt")]
    updated_at: String,
    /// `pairing`, `shopping`, `checkout` or `idle_warning`, while it is open.
    phase: Option<String>,
    /// Why it ended without a checkout.
    reason: Option<String>,
}

impl StateFrame {
    fn of(session: &Session) -> Self {
        Self {
            id: session.id.to_string(),
            status: session.state.status().as_str().into(),
            updated_at: session.updated_at.to_string(),
            phase: session.state.phase().map(Into::into),
            reason: session.state.reason().map(Reason::as_str).map(Into::into),
        }
    }

    fn frame(&self, version: i64) -> String {
        let data = serde_json::to_string(self).expect("a state is plain data");
        frame::frame(Some(&version), None, &data)
    }
}

/// What the log keeps of a session's event that makes a state.
#[derive(Deserialize)]
struct Told {
    version: i64,
    status: String,
    phase: Option<String>,
    reason: Option<String>,
    updated_at: String,
}

type Reading = Pin<Box<dyn Future<Output = Result<(Session, Follower)>>>>;

/// How one reader sees a session.
struct StateView {
    app: Arc<App>,
    principal: Principal,
    session: SessionId,
    version: i64,
    ended: bool,
    /// The session moved to another cart: where it is now is being read.
    moving: Option<Reading>,
}

impl StateView {
    fn new(app: Arc<App>, principal: &Principal, session: &Session) -> Self {
        Self {
            app,
            principal: principal.clone(),
            session: session.id,
            version: session.version,
            ended: session.state.status().is_final(),
            moving: None,
        }
    }

    /// The frame of a state that is news.
    fn news(&mut self, version: i64, state: &StateFrame) -> Option<Bytes> {
        if version <= self.version {
            return None;
        }
        self.version = version;
        self.ended = Status::parse(&state.status).is_some_and(Status::is_final);
        Some(state.frame(version).into())
    }

    fn read_again(&self) -> Reading {
        let (app, principal, id) = (Arc::clone(&self.app), self.principal.clone(), self.session);
        Box::pin(async move { follow(&app, &principal, id).await })
    }
}

impl View for StateView {
    fn frame(&mut self, entry: &Entry) -> Option<Bytes> {
        let event = &entry.event;
        if event.session != Some(self.session) || matches!(event.kind, Kind::Own(_)) {
            return None;
        }
        if event.kind == Kind::SessionTransferred {
            self.moving = Some(self.read_again());
            return None;
        }
        let Told { version, status, phase, reason, updated_at } = serde_json::from_str(&event.data).ok()?;
        self.news(version, &StateFrame { id: self.session.to_string(), status, updated_at, phase, reason })
    }

    fn is_over(&self) -> bool {
        self.ended
    }

    fn is_ours(&self) -> bool {
        false
    }

    fn poll_moved(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<(Follower, Option<Bytes>)>, Lost>> {
        let Some(moving) = &mut self.moving else {
            return Poll::Ready(Ok(None));
        };
        let read = ready!(moving.as_mut().poll(cx));
        self.moving = None;
        // A reader that may not see it there, or a log out of reach: the client asks again.
        let (session, follower) = read.map_err(|_| Lost)?;
        let news = self.news(session.version, &StateFrame::of(&session));
        Poll::Ready(Ok(Some((follower, news))))
    }
}

//! How one follower sees a cart's stream: the cart itself, its staff, or a customer.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::Entry;
use super::body::View;
use super::codes::Codes;
use super::frame::{self, Viewer};
use super::http::StreamQuery;
use crate::app::App;
use crate::auth::Principal;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::event::{Channel, Event, EventId, Joined, Kind, display_name};
use crate::ids::{AccountId, CartId, CartNum, SessionId};
use crate::session::{self, Session};
use crate::token::CartSessionToken;

/// How one follower sees a cart's stream.
pub struct CartView {
    app: Arc<App>,
    sees: Sees,
    /// Boxed, for most streams have none.
    codes: Option<Box<Codes>>,
}

enum Sees {
    /// The cart's own screen: everything, with the session's token. `unacked`: the session it was
    /// told of and cannot acknowledge.
    Cart { acks: bool, told: Option<(CartNum, SessionId)> },
    /// Staff: everything, without the token.
    Staff,
    /// A customer: only what is theirs.
    Customer(AccountId),
}

impl CartView {
    pub(super) fn new(app: Arc<App>, principal: &Principal, query: &StreamQuery) -> Self {
        let codes = match principal {
            Principal::Device(device) if query.qr == Some(1) => {
                Some(Box::new(Codes::new(Arc::clone(&app), device.cart, query.named == Some(1))))
            }
            _ => None,
        };
        let sees = match principal {
            Principal::Device(_) => Sees::Cart { acks: query.ack == Some(1), told: None },
            Principal::Customer(customer) => Sees::Customer(customer.account),
            _ => Sees::Staff,
        };
        Self { app, sees, codes }
    }

    pub(super) fn sees_all(&self) -> bool {
        !matches!(self.sees, Sees::Customer(_))
    }

    pub(super) fn may_see(&self, customer: Option<AccountId>) -> bool {
        match self.sees {
            Sees::Customer(own) => customer == Some(own),
            _ => true,
        }
    }

    /// For a cart's screen: the open session's start once more, with a fresh token, so that a late or
    /// reloaded screen goes on where it was.
    pub(super) async fn started_again(&mut self, app: &App, session: &Session, id: &EventId) -> Result<Option<String>> {
        if self.sees_customer() {
            return Ok(None);
        }
        let Sees::Cart { .. } = self.sees else { return Ok(None) };
        let name = crate::account::service::full_name(app, session.customer).await?;
        let event = Event {
            channel: Channel::Cart(session.cart),
            epoch: id.epoch.clone(),
            seq: id.seq,
            session: Some(session.id),
            audience: crate::event::Audience::All,
            kind: Kind::SessionStarted,
            data: session::service::event_data(session, &Kind::SessionStarted).into(),
            at: session.created_at,
            joined: Joined {
                customer: session.customer,
                display_name: display_name(name.as_deref()),
                expires_at: session.limits.max_duration.map(|span| session.created_at + span),
                receipt: None,
            },
        };
        let frame = self.started(&event);
        Ok(Some(String::from_utf8_lossy(&frame).into_owned()))
    }

    fn sees_customer(&self) -> bool {
        matches!(self.sees, Sees::Customer(_))
    }

    /// A started session's frame for the cart, with the token minted for it here and now.
    fn started(&mut self, event: &Event) -> Bytes {
        let (Channel::Cart(num), Some(session)) = (&event.channel, event.session) else {
            return Bytes::new();
        };
        let now = self.app.clock.now();
        let exp = event.joined.expires_at.unwrap_or(now + Duration::from_secs(24 * 3600));
        let cart: Option<CartId> = serde_json::from_str::<Value>(&event.data)
            .ok()
            .and_then(|data| serde_json::from_value(data["cart_id"].clone()).ok());
        let token = cart.map(|cart| self.app.keys.sign(CartSessionToken { sub: session, cart }, now, exp));
        if let Sees::Cart { acks: false, told } = &mut self.sees {
            *told = Some((*num, session));
            self.app.awaiting.told(*num, session);
        }
        frame::started(event, Some(&event.id()), token.as_deref().unwrap_or_default())
    }
}

impl View for CartView {
    fn frame(&mut self, entry: &Entry) -> Option<Bytes> {
        let event = &entry.event;
        if let Some(codes) = &mut self.codes {
            codes.note(&event.kind);
        }
        match &self.sees {
            Sees::Cart { .. } if event.kind == Kind::SessionStarted => Some(self.started(event)),
            Sees::Cart { .. } => Some(frame::of_cart(entry, Viewer::Cart)),
            Sees::Staff => Some(frame::of_cart(entry, Viewer::Watcher)),
            Sees::Customer(_) => self.may_see(event.joined.customer).then(|| frame::of_cart(entry, Viewer::Watcher)),
        }
    }

    fn poll_state(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        self.codes.as_mut().map_or(Poll::Pending, |codes| codes.poll(cx))
    }

    fn due_at(&self) -> Option<Timestamp> {
        self.codes.as_ref()?.due_at()
    }

    /// A stream the server itself ends shows nothing of what the screen has picked up.
    fn dismissed(&mut self) {
        if let Sees::Cart { told, .. } = &mut self.sees {
            *told = None;
        }
    }
}

impl Drop for CartView {
    /// A screen in the field that was told of a session and closes its stream has picked it up.
    fn drop(&mut self) {
        if let Sees::Cart { acks: false, told: Some((num, _)) } = self.sees
            && !self.app.streams.draining()
        {
            session::awaiting::cart_was_heard(&self.app, num);
        }
    }
}

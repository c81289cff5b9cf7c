//! `?qr=1`: a cart's own stream brings its codes, each before the one before it dies.
//!
//! Nothing is kept but when the next one is due. It is sealed of the cart's row as it is then, so that a code of an
//! epoch that is gone is never sent on purpose, and no cart that is not free gets one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::frame;
use crate::app::App;
use crate::cart::{self, Cart, CartStatus};
use crate::clock::Timestamp;
use crate::error::{Failure, Result};
use crate::event::Kind;
use crate::ids::{CartId, CartNum};
use crate::qr::http::Details;
use crate::qr::issue;

const QR: &str = "qr";

/// How soon a cart that could not be read is read again.
const AGAIN: Duration = Duration::from_secs(2);

/// Codes are no closer to each other, whatever `--qr-refresh` says.
const AT_LEAST: Duration = Duration::from_secs(1);

/// A frame with a code to draw, on the cart's own stream where that asks for it. It is no history: it has no id.
#[derive(Serialize, utoipa::ToSchema)]
pub struct CodeFrame<'a> {
    /// `qr`.
    r#type: &'static str,
    /// The same.
    event_type: &'static str,
    #[schema(value_type = String)]
    cart_id: &'a CartId,
    #[serde(flatten)]
    code: Details<'a>,
}

type Reading = Pin<Box<dyn Future<Output = Result<Option<Cart>>>>>;

/// The codes of one stream.
pub(super) struct Codes {
    app: Arc<App>,
    cart: CartNum,
    named: bool,
    due: Option<Timestamp>,
    reading: Option<Reading>,
}

impl Codes {
    /// The first is due at once.
    pub(super) fn new(app: Arc<App>, cart: CartNum, named: bool) -> Self {
        Self { due: Some(app.clock.now()), app, cart, named, reading: None }
    }

    /// Something happened on the cart: it may be free now, or its code another.
    pub(super) fn note(&mut self, kind: &Kind) {
        self.due = match kind {
            Kind::SessionStarted => None,
            Kind::CheckoutCompleted
            | Kind::SessionEnded
            | Kind::SessionExpired
            | Kind::SessionTransferred
            | Kind::CartStatus => Some(self.app.clock.now()),
            Kind::SessionFetched
            | Kind::SessionIdleWarning
            | Kind::SessionResumed
            | Kind::CheckoutStarted
            | Kind::CheckoutFailed
            | Kind::CartOffline
            | Kind::Own(_) => return,
        };
        // What is being read may be of before.
        self.reading = None;
    }

    /// When [`poll`](Self::poll) has something to do, where nobody wakes it.
    pub(super) fn due_at(&self) -> Option<Timestamp> {
        self.due.filter(|_| self.reading.is_none())
    }

    /// The next code's frame, once it is due.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        loop {
            let now = self.app.clock.now();
            let Some(reading) = &mut self.reading else {
                if self.due.is_none_or(|due| due > now) {
                    return Poll::Pending;
                }
                self.reading = Some(self.read());
                continue;
            };
            let cart = ready!(reading.as_mut().poll(cx));
            self.reading = None;
            match cart.and_then(|cart| self.code(cart, now)) {
                Ok(Some(frame)) => return Poll::Ready(frame),
                // Not free: an event will say when it is.
                Ok(None) => self.due = None,
                Err(Failure::TooMany { retry_after, .. }) => self.due = Some(now + retry_after.max(AT_LEAST)),
                Err(_) => self.due = Some(now + AGAIN),
            }
        }
    }

    fn read(&self) -> Reading {
        let (app, cart) = (Arc::clone(&self.app), self.cart);
        Box::pin(async move { Ok(cart::store::by_num(app.db.read(), cart).await?) })
    }

    fn code(&mut self, cart: Option<Cart>, now: Timestamp) -> Result<Option<Bytes>> {
        let Some(cart) = cart.filter(|cart| cart.status() == CartStatus::Available) else {
            return Ok(None);
        };
        let app = &self.app;
        app.limits.mint(cart.num)?;
        let issued = issue(&app.keys, app.public_url().origin(), &cart, now, app.config.qr_ttl.0);
        let code = Details::of(&issued, &issued.link, app.config.qr_refresh.0, now);
        self.due = Some(now + code.refresh_in().max(AT_LEAST));
        let told = CodeFrame { r#type: QR, event_type: QR, cart_id: &cart.id, code };
        let data = serde_json::to_string(&told).expect("a code is plain data");
        Ok(Some(frame::frame(None, self.named.then_some(QR), &data).into()))
    }
}

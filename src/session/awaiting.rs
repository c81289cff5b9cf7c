//! Pick-ups by screens that cannot acknowledge: the next thing such a cart does is the pick-up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::{Step, service, store, transfer};
use crate::app::App;
use crate::db::Txn;
use crate::failure::{Failure, Result};
use crate::ids::{CartNum, SessionId};

/// A cart that has shown that it has the session it was told of.
pub type PickedUp = (CartNum, SessionId);

/// Sessions whose screen was told of them and cannot acknowledge.
pub struct Awaiting {
    told: Mutex<HashMap<CartNum, SessionId>>,
    heard: mpsc::UnboundedSender<PickedUp>,
}

impl Awaiting {
    /// With the receiving end, which [`pick_ups`] works off.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<PickedUp>) {
        let (heard, picked) = mpsc::unbounded_channel();
        (Self { told: Mutex::default(), heard }, picked)
    }

    /// A screen that cannot acknowledge was sent this session's start.
    pub fn told(&self, cart: CartNum, session: SessionId) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(cart, session);
    }

    fn take(&self, cart: CartNum) -> Option<SessionId> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(&cart)
    }
}

/// The cart made a request, or closed its stream: if it was told of a session, it has picked it up.
pub fn cart_was_heard(app: &App, cart: CartNum) {
    if let Some(session) = app.awaiting.take(cart) {
        // Only a server that is gone has nobody to receive it.
        let _gone = app.awaiting.heard.send((cart, session));
    }
}

/// Works off the pick-ups for as long as the server runs.
pub async fn pick_ups(app: Arc<App>, mut picked: mpsc::UnboundedReceiver<PickedUp>) {
    while let Some((cart, id)) = picked.recv().await {
        let now = app.clock.now();
        let written = app.db.write(async move |txn: &Txn<'_>| -> Result<()> {
            let Some(session) = store::lock(&**txn, id).await?.filter(|session| session.claims(cart)) else {
                return Ok(());
            };
            let step = transfer::meant(&session, cart, Step::PickUp)?;
            service::transition(txn, session, &step, None, now).await.map(drop)
        });
        match written.await {
            Ok(()) | Err(Failure::Session(_)) => {}
            Err(error) => tracing::warn!(session = id.0, error = error.code(), "a pick-up was not written"),
        }
    }
}

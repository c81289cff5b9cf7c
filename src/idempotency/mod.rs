//! `Idempotency-Key`: a POST that is sent twice takes effect once and is answered alike.
//!
//! The answer is written in the effect's own transaction, so there is never one without the other. A refusal has no
//! effect, and is not kept: the same key may be tried again. No answer kept here holds a secret.

pub mod http;
pub mod service;
mod store;

use std::time::Duration;

use crate::ids::AccountId;

/// How long an answer is kept.
pub const KEPT: Duration = Duration::from_secs(24 * 3600);

/// A request's key, and what it is kept apart by.
#[derive(Clone, Debug)]
pub struct Key {
    /// Whose request.
    principal: String,
    /// Method and path.
    route: String,
    /// As the client chose it.
    text: String,
    /// What the request said, hashed.
    body_hash: String,
}

impl Key {
    /// As the client chose it.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// An answer to a request, ready to be sent and to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP's.
    pub status: u16,
    /// JSON.
    pub body: String,
    /// The customer it speaks of: where they are erased, so is it.
    pub about: Option<AccountId>,
    /// Whether it was given before.
    pub replayed: bool,
}

impl Answer {
    /// A success.
    pub fn ok(view: &impl serde::Serialize, about: Option<AccountId>) -> Self {
        let body = serde_json::to_string(view).expect("views are plain data");
        Self { status: 200, body, about, replayed: false }
    }

    /// Something was made.
    pub fn created(view: &impl serde::Serialize) -> Self {
        Self { status: 201, ..Self::ok(view, None) }
    }
}

//! Services: the store's other back ends (till, payment, inventory), each an OAuth 2 client.

pub mod http;
pub mod service;
mod store;

use std::time::Duration;

use crate::clock::Timestamp;
use crate::failure::{Failure, Result};
use crate::principal;
use crate::principal::Scope;

/// How long a service's access token is good. Whether the service is still there is asked each time.
const TOKEN_TTL: Duration = Duration::from_secs(3600);

/// What client secrets begin with.
const SECRET: &str = "cs_";

/// A service as its row has it. What the secret is, only the service knows.
#[derive(Clone, Debug)]
pub struct Registered {
    /// What it is, for its requests.
    pub service: principal::Service,
    /// What people call it.
    pub name: String,
    /// Its secret, hashed.
    pub secret_hash: String,
    /// Since when there is the service.
    pub created_at: Timestamp,
}

/// Reads scopes as written in a row or a request: with spaces between them.
fn scopes(text: &str) -> Result<Vec<Scope>, String> {
    text.split_whitespace().map(|word| Scope::parse(word).ok_or_else(|| word.to_owned())).collect()
}

/// As in a row and on the wire.
fn written(scopes: &[Scope]) -> String {
    scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" ")
}

/// A refusal in the words of RFC 6749 §5.2.
fn refused(error: &'static str, detail: &'static str) -> Failure {
    Failure::OAuth { error, detail }
}

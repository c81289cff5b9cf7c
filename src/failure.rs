//! What can go wrong, as the rules and the steps say it. How it is answered is the wire's business
//! ([`error`](crate::error)).

use std::time::Duration;

use serde::Serialize;

use crate::ids::SessionId;
use crate::session;

/// What handlers and steps return.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// A field of the request that is not as it should be.
#[derive(Clone, Debug, Serialize)]
pub struct FieldError {
    /// Which one.
    pub field: String,
    /// What it should be.
    pub message: String,
}

/// Everything that is answered with a 4xx or 5xx.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The body, query or path cannot be read at all.
    #[error("{0}")]
    Malformed(String),
    /// It can be read, but fields are missing or wrong.
    #[error("{}", summary(.0))]
    Invalid(Vec<FieldError>),
    /// No credential came.
    #[error("Not authenticated: send an access token as `Authorization: Bearer …`, or a cart's device key")]
    NotAuthenticated,
    /// A credential came that is not, or no longer, good.
    #[error("Could not validate credentials: {0}")]
    BadCredential(&'static str),
    /// Sign-in with an unknown e-mail or a wrong password: the same answer.
    #[error("Incorrect username or password")]
    WrongPassword,
    /// A device key that is not this cart's.
    #[error("This device key is not valid for this cart")]
    WrongKey,
    /// Known, but not allowed.
    #[error("{0}")]
    Forbidden(&'static str),
    /// Not there, or not yours.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// Nothing to show, in the words clients in the field know.
    #[error("{0}")]
    Nothing(&'static str),
    /// No such route.
    #[error("There is nothing at this address; /openapi.json lists what there is")]
    NoRoute,
    /// The route is there, but not for this method.
    #[error("This address does not take this method; it takes {0}")]
    MethodNotAllowed(String),
    /// A representation nobody here makes.
    #[error("This address offers {0}")]
    NotAcceptable(&'static str),
    /// A pairing code that opens nothing. One sentence for all, so that nothing is learnt; the
    /// `code` tells the phone what to advise.
    #[error("Invalid or expired QR code.")]
    Qr(QrRefusal),
    /// The scanned cart cannot be taken.
    #[error("Cart is not available (current status: {0})")]
    CartUnavailable(&'static str),
    /// The cart shows no code in this state.
    #[error("The cart shows no QR code (current status: {0})")]
    NoCode(&'static str),
    /// The customer has a session already.
    #[error("You already have an open session; end it first, or move it to this cart")]
    SessionOpen(SessionId),
    /// The session's state does not allow the step.
    #[error("{}", refusal_text(*.0))]
    Session(session::Refusal),
    /// Something with this name exists, or another clash; the code says which.
    #[error("{detail}")]
    Conflict {
        /// For programs.
        code: &'static str,
        /// For people.
        detail: String,
    },
    /// A service was not let in; `error` is RFC 6749's word for why.
    #[error("{detail}")]
    OAuth {
        /// For programs.
        error: &'static str,
        /// For people.
        detail: &'static str,
    },
    /// The key was used for another request.
    #[error("This Idempotency-Key was used with another request body; choose a new key")]
    KeyReused,
    /// More than allowed.
    #[error("Too many requests: {what}; try again in {} s", .retry_after.as_secs().max(1))]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The quota, as RateLimit-Policy writes it.
        quota: u32,
        /// The quota's window.
        window: Duration,
        /// When it makes sense to try again.
        retry_after: Duration,
    },
    /// The body is larger than anything here needs.
    #[error("The request body is larger than {0} bytes")]
    TooLarge(usize),
    /// The body's type is not one the route reads.
    #[error("Send the body as {0}")]
    UnsupportedMedia(&'static str),
    /// Not now: stopping, or something needed is down. Nothing was done.
    #[error("The service is temporarily unavailable ({0}); nothing was done, try again shortly")]
    Unavailable(&'static str),
    /// The database undid it, in favour of another or with a connection that broke.
    #[error("The service is temporarily unavailable (the database undid it); nothing was done, try again shortly")]
    Undone,
    /// The database's answer was lost on its way, and nobody here knows whether it was done.
    #[error(
        "The service is temporarily unavailable, and this may have been done: look, or repeat it with the same Idempotency-Key"
    )]
    InDoubt,
    /// A bug, or a broken disk. The cause goes to the log.
    #[error("Something went wrong on our side; nothing was done")]
    Internal(String),
}

/// Why a pairing code was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QrRefusal {
    /// Not a code at all.
    Malformed,
    /// Not sealed by us.
    Forged,
    /// Too old.
    Expired,
    /// Somebody was faster, or the cart's state changed.
    Used,
}

impl Failure {
    /// One wrong field.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError { field: field.into(), message: message.into() }])
    }
}

impl From<crate::qr::Refusal> for QrRefusal {
    fn from(refusal: crate::qr::Refusal) -> Self {
        match refusal {
            crate::qr::Refusal::Malformed => Self::Malformed,
            crate::qr::Refusal::Forged => Self::Forged,
        }
    }
}

impl From<session::Refusal> for Failure {
    fn from(refusal: session::Refusal) -> Self {
        Self::Session(refusal)
    }
}

fn summary(errors: &[FieldError]) -> String {
    let fields: Vec<String> = errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect();
    fields.join("; ")
}

fn refusal_text(refusal: session::Refusal) -> &'static str {
    match refusal {
        session::Refusal::Over => "The session is over; scan a cart's code to start a new one",
        session::Refusal::NotFetched => "The cart has not picked the session up yet; wait until its screen shows it",
        session::Refusal::CheckoutOpen => "A checkout is under way; finish it, or wait until it has failed",
        session::Refusal::NoSuchCheckout => "This checkout is not under way",
        session::Refusal::Moving => "The session is on its way to another cart; wait until that one has it, or 30 s",
        session::Refusal::TooLate => "It is too late to say \"not you?\" at the cart; end the session on the phone",
    }
}

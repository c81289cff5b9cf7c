//! One table: what can go wrong → status, code and a sentence for whoever asked.
//!
//! Answers are RFC 9457 `application/problem+json`. `message` repeats `detail`, because clients in
//! the field read it. Causes are for the log: no SQL and no stack ever leaves the server.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Map, Value, json};

pub use crate::failure::{Failure, FieldError, QrRefusal, Result};
use crate::{session, telemetry};

/// A row of the table.
struct Row {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
}

fn row(status: StatusCode, code: &'static str, title: &'static str) -> Row {
    Row { status, code, title }
}

impl Failure {
    /// The table.
    fn row(&self) -> Row {
        use StatusCode as S;
        use session::Refusal as R;
        match self {
            Self::Malformed(_) => row(S::BAD_REQUEST, "malformed", "Malformed request"),
            Self::Invalid(_) => row(S::UNPROCESSABLE_ENTITY, "invalid-fields", "Invalid fields"),
            Self::NotAuthenticated => row(S::UNAUTHORIZED, "not-authenticated", "Not authenticated"),
            Self::BadCredential(_) => row(S::UNAUTHORIZED, "invalid-credential", "Invalid credential"),
            Self::WrongPassword => row(S::UNAUTHORIZED, "wrong-password", "Sign-in refused"),
            Self::WrongKey => row(S::FORBIDDEN, "wrong-key", "Wrong device key"),
            Self::Forbidden(_) => row(S::FORBIDDEN, "forbidden", "Not allowed"),
            Self::NotFound(_) | Self::Nothing(_) => row(S::NOT_FOUND, "not-found", "Not found"),
            Self::NoRoute => row(S::NOT_FOUND, "no-such-route", "No such route"),
            Self::MethodNotAllowed(_) => row(S::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed"),
            Self::NotAcceptable(_) => row(S::NOT_ACCEPTABLE, "not-acceptable", "Not acceptable"),
            Self::Qr(QrRefusal::Malformed) => row(S::UNAUTHORIZED, "qr-malformed", "QR code refused"),
            Self::Qr(QrRefusal::Forged) => row(S::UNAUTHORIZED, "qr-invalid", "QR code refused"),
            Self::Qr(QrRefusal::Expired) => row(S::UNAUTHORIZED, "qr-expired", "QR code refused"),
            Self::Qr(QrRefusal::Used) => row(S::UNAUTHORIZED, "qr-already-used", "QR code refused"),
            Self::CartUnavailable(_) => row(S::BAD_REQUEST, "cart-unavailable", "Cart unavailable"),
            Self::NoCode(_) => row(S::CONFLICT, "cart-unavailable", "Cart unavailable"),
            Self::SessionOpen(_) => row(S::CONFLICT, "session-open", "Session open"),
            Self::Session(R::Over) => row(S::CONFLICT, "session-ended", "Session ended"),
            Self::Session(R::NotFetched) => row(S::CONFLICT, "session-not-fetched", "Cart not ready"),
            Self::Session(R::CheckoutOpen) => row(S::CONFLICT, "checkout-open", "Checkout open"),
            Self::Session(R::NoSuchCheckout) => row(S::CONFLICT, "no-such-checkout", "No such checkout"),
            Self::Session(R::Moving) => row(S::CONFLICT, "transfer-open", "Transfer open"),
            Self::Session(R::TooLate) => row(S::CONFLICT, "release-too-late", "Too late"),
            Self::Conflict { code, .. } => row(S::CONFLICT, code, "Conflict"),
            Self::OAuth { error: "invalid_client", .. } => row(S::UNAUTHORIZED, "invalid_client", "Service refused"),
            Self::OAuth { error, .. } => row(S::BAD_REQUEST, error, "Service refused"),
            Self::KeyReused => row(S::UNPROCESSABLE_ENTITY, "idempotency-key-reused", "Idempotency-Key reused"),
            Self::TooMany { .. } => row(S::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests"),
            Self::TooLarge(_) => row(S::PAYLOAD_TOO_LARGE, "too-large", "Body too large"),
            Self::UnsupportedMedia(_) => {
                row(S::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported media type")
            }
            Self::Unavailable(_) | Self::Undone => row(S::SERVICE_UNAVAILABLE, "unavailable", "Unavailable"),
            Self::InDoubt => row(S::SERVICE_UNAVAILABLE, "in-doubt", "Unavailable"),
            Self::Internal(_) => row(S::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
        }
    }

    /// `code` in the problem: stable, for programs.
    pub fn code(&self) -> &'static str {
        self.row().code
    }

    /// The problem as JSON.
    pub fn problem(&self) -> Value {
        let Row { status, code, title } = self.row();
        let detail = self.to_string();
        let mut problem = Map::new();
        problem.insert("type".into(), "about:blank".into());
        problem.insert("title".into(), title.into());
        problem.insert("status".into(), status.as_u16().into());
        problem.insert("detail".into(), detail.clone().into());
        problem.insert("message".into(), detail.into());
        problem.insert("code".into(), code.into());
        problem.insert("request_id".into(), telemetry::request_id().into());
        match self {
            Self::Invalid(errors) => {
                problem.insert("errors".into(), json!(errors));
            }
            Self::OAuth { error, detail } => {
                problem.insert("error".into(), (*error).into());
                problem.insert("error_description".into(), (*detail).into());
            }
            Self::SessionOpen(id) => {
                problem.insert("session_id".into(), json!(id));
                problem.insert("session".into(), json!(format!("/customer-session/{id}")));
                problem.insert("transfer".into(), json!(format!("/customer-session/{id}/transfer")));
            }
            _ => {}
        }
        Value::Object(problem)
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        self.row().status
    }

    fn error_response(&self) -> HttpResponse {
        if let Self::Internal(cause) = self {
            tracing::error!(cause, request_id = telemetry::request_id(), "request failed");
        }
        let mut answer = HttpResponse::build(self.status_code());
        answer.content_type("application/problem+json").insert_header((header::CACHE_CONTROL, "no-store"));
        match self {
            Self::NotAuthenticated | Self::BadCredential(_) | Self::WrongPassword | Self::Qr(_) => {
                answer.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
            }
            Self::OAuth { error: "invalid_client", .. } => {
                answer.append_header((header::WWW_AUTHENTICATE, "Bearer"));
                answer.append_header((header::WWW_AUTHENTICATE, "Basic realm=\"cartlink\""));
            }
            Self::MethodNotAllowed(methods) => {
                answer.insert_header((header::ALLOW, methods.as_str()));
            }
            Self::SessionOpen(id) => {
                answer.insert_header((header::LINK, format!("</customer-session/{id}>; rel=\"related\"")));
            }
            Self::TooMany { quota, window, retry_after, .. } => {
                // draft-ietf-httpapi-ratelimit-headers: policy and what is left of it.
                let seconds = retry_after.as_secs_f64().ceil().max(1.0) as u64;
                answer
                    .insert_header((header::RETRY_AFTER, seconds))
                    .insert_header(("RateLimit-Policy", format!("\"default\";q={quota};w={}", window.as_secs().max(1))))
                    .insert_header(("RateLimit", format!("\"default\";r=0;t={seconds}")));
            }
            Self::Unavailable(_) | Self::Undone | Self::InDoubt => {
                answer.insert_header((header::RETRY_AFTER, HeaderValue::from_static("2")));
            }
            _ => {}
        }
        answer.body(self.problem().to_string())
    }
}

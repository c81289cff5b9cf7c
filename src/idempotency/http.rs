//! Reading the key beside a POST's body, and sending an answer that may have been given before.

use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::web::Bytes;
use actix_web::{FromRequest, HttpRequest, HttpResponse, Responder, ResponseError};
use serde::de::DeserializeOwned;

use super::{Answer, Key};
use crate::auth::Principal;
use crate::body;
use crate::error::{Failure, Result};
use crate::token;

/// Characters of a key, at most.
const LONGEST: usize = 255;

/// Says that an answer was given before.
pub const REPLAYED: (&str, &str) = ("Idempotent-Replayed", "true");

/// A POST: its body, and its key if it has one.
pub struct Posted {
    body: Bytes,
    route: String,
    key: Option<String>,
}

impl Posted {
    /// The body as it came.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body, as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        body::json(&self.body)
    }

    /// The key, in `principal`'s name.
    pub fn key(&self, principal: &Principal) -> Option<Key> {
        self.key_in_the_name_of(principal.key())
    }

    /// The key, in the name of somebody who is not signed in.
    pub fn key_in_the_name_of(&self, principal: String) -> Option<Key> {
        let text = self.key.clone()?;
        let body_hash = token::hex(&token::digest(&self.body));
        Some(Key { principal, route: self.route.clone(), text, body_hash })
    }
}

impl FromRequest for Posted {
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let route = format!("{} {}", request.method(), request.path());
        let key = key_of(request);
        let body = Bytes::from_request(request, payload);
        Box::pin(async move { Ok(Self { body: body.await.map_err(body::unread)?, route, key: key? }) })
    }
}

fn key_of(request: &HttpRequest) -> Result<Option<String>> {
    let Some(value) = request.headers().get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let fits = (1..=LONGEST).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if fits {
        Ok(Some(text.to_owned()))
    } else {
        Err(Failure::field("Idempotency-Key", "1 to 255 visible ASCII characters"))
    }
}

impl Answer {
    /// A refusal that is nevertheless an effect, and is kept as one.
    pub fn refusal(failure: &Failure) -> Self {
        Self {
            status: failure.status_code().as_u16(),
            body: failure.problem().to_string(),
            about: None,
            replayed: false,
        }
    }
}

impl Responder for Answer {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = if status.is_success() { "application/json" } else { "application/problem+json" };
        let mut answer = HttpResponse::build(status);
        answer.content_type(kind).insert_header((header::CACHE_CONTROL, "no-store"));
        if self.replayed {
            answer.insert_header(REPLAYED);
        }
        answer.body(self.body)
    }
}

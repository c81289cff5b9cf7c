//! Reading request bodies: JSON or a form, and every wrong field told at once.

use std::ops::Deref;
use std::pin::Pin;

use actix_web::body::BoxBody;
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::web::{Bytes, Query};
use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse, Responder};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::error::Category;

use crate::auth::Anyone;
use crate::error::{Failure, FieldError, Result};

/// The largest body anything here needs.
pub const LIMIT: usize = 64 * 1024;

/// A body that came as a form, or as JSON.
pub struct FormOrJson<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for FormOrJson<T> {
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let kind = request.content_type().trim().to_ascii_lowercase();
        let body = Bytes::from_request(request, payload);
        Box::pin(async move {
            let body = body.await.map_err(unread)?;
            match kind.as_str() {
                "application/x-www-form-urlencoded" => form(&body).map(Self),
                "application/json" | "" => json(&body).map(Self),
                _ => Err(Failure::UnsupportedMedia("application/json or application/x-www-form-urlencoded")),
            }
        })
    }
}

/// A JSON body, and a JSON answer.
///
/// A body that cannot be read is told only to somebody who may send one: who has a wrong credential is
/// told that, as without a body. Clients in the field do not all say what they send, so `Content-Type` is
/// not asked for.
pub struct Json<T>(pub T);

impl<T> Json<T> {
    /// What it holds.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Json<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = Bytes::from_request(request, payload);
        let request = request.clone();
        Box::pin(async move {
            let read = match body.await {
                Ok(body) => json(&body),
                Err(error) => Err(unread(error)),
            };
            if read.is_err() {
                Anyone::extract(&request).await?;
            }
            read.map(Self)
        })
    }
}

impl<T: Serialize> Responder for Json<T> {
    type Body = BoxBody;
    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        HttpResponse::Ok().json(self.0)
    }
}

/// Why a body did not arrive.
pub fn unread(error: actix_web::Error) -> Failure {
    match error.as_error::<PayloadError>() {
        Some(PayloadError::Overflow) => Failure::TooLarge(LIMIT),
        _ => Failure::Malformed("The body did not arrive in full".into()),
    }
}

/// Reads a form.
fn form<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    let text = std::str::from_utf8(body).map_err(|_| Failure::Malformed("The form is not UTF-8".into()))?;
    let form = Query::<T>::from_query(text)
        .map_err(|error| Failure::Malformed(format!("The form cannot be read: {error}")))?;
    Ok(form.into_inner())
}

/// Reads JSON. What does not fit is named by its path.
pub fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        (path, error.into_inner())
    });
    let value = match read {
        Ok(value) => value,
        Err((path, error)) if error.classify() == Category::Data => return Err(wrong(&path, &error.to_string())),
        Err((_, error)) => return Err(not_json(&error)),
    };
    reader.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

fn not_json(error: &serde_json::Error) -> Failure {
    Failure::Malformed(format!("The body is not JSON: {error}"))
}

/// serde names a missing field in backticks, and any other by its path.
fn wrong(path: &str, text: &str) -> Failure {
    let text = text.split(" at line ").next().unwrap_or(text);
    let missing = text.starts_with("missing field").then(|| text.split('`').nth(1)).flatten();
    let field = match (path, missing) {
        ("." | "", Some(field)) => field.to_owned(),
        (path, Some(field)) => format!("{path}.{field}"),
        ("." | "", None) => "body".to_owned(),
        (path, None) => path.to_owned(),
    };
    Failure::field(field, text)
}

/// A field that is a text. Anything else reads as missing, so that [`Fields`] can tell of it
/// together with whatever else is wrong.
pub fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => Some(text),
        _ => None,
    })
}

/// A field that may be there, and may be `null`: `null` is not the same as missing.
pub fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Reads the fields of a request one after the other and keeps what is wrong with each.
#[derive(Default)]
pub struct Fields(Vec<FieldError>);

impl Fields {
    /// A field that must be there.
    pub fn required<T>(
        &mut self,
        field: &str,
        text: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Option<T> {
        match text {
            Some(text) => self.check(field, parse(text)),
            None => self.wrong(field, "is missing, or not a text"),
        }
    }

    /// A field that may be missing: `Some(None)` then.
    pub fn optional<T>(
        &mut self,
        field: &str,
        text: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Option<Option<T>> {
        match text {
            Some(text) => self.check(field, parse(text)).map(Some),
            None => Some(None),
        }
    }

    /// Keeps what is wrong with a field, if anything is.
    pub fn check<T>(&mut self, field: &str, read: Result<T, &'static str>) -> Option<T> {
        read.map_or_else(|wrong| self.wrong(field, wrong), Some)
    }

    /// Takes in fields that were read together.
    pub fn and<T>(&mut self, read: Result<T>) -> Option<T> {
        match read {
            Ok(read) => Some(read),
            Err(Failure::Invalid(errors)) => {
                self.0.extend(errors);
                None
            }
            Err(other) => self.wrong("body", other.to_string()),
        }
    }

    /// Notes that a field is wrong.
    pub fn wrong<T>(&mut self, field: &str, message: impl Into<String>) -> Option<T> {
        self.0.push(FieldError { field: field.into(), message: message.into() });
        None
    }

    /// What was read, where nothing was wrong.
    pub fn finish<T>(self, read: Option<T>) -> Result<T> {
        match read {
            Some(read) if self.0.is_empty() => Ok(read),
            _ => Err(Failure::Invalid(self.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Two {
        #[serde(default, deserialize_with = "text")]
        one: Option<String>,
        #[serde(default, deserialize_with = "text")]
        two: Option<String>,
    }

    #[test]
    fn a_form_and_json_read_alike_and_a_wrong_type_reads_as_missing() {
        let by_form: Two = form(b"one=a%40b.c&three=x").unwrap();
        let by_json: Two = json(br#"{"one":"a@b.c","two":7}"#).unwrap();
        assert_eq!((by_form.one, by_form.two), (by_json.one, by_json.two));
        assert!(matches!(json::<Two>(b"{"), Err(Failure::Malformed(_))));
        assert!(matches!(json::<Two>(b"7"), Err(Failure::Invalid(_))));
    }

    #[test]
    fn every_wrong_field_is_told_at_once() {
        let mut fields = Fields::default();
        let one = fields.required("one", None, |text| Ok(text.len()));
        let two: Option<()> = fields.required("two", Some("x"), |_| Err("is odd"));
        let Err(Failure::Invalid(errors)) = fields.finish(one.zip(two)) else { panic!("wrong fields were taken") };
        let told: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(told, ["one", "two"]);
    }
}

//! The pages: `static/`, embedded in the binary, served with a strict content security policy.

use actix_web::http::header::{self, EntityTag, IfNoneMatch};
use actix_web::web::{Header, Path};
use actix_web::{HttpRequest, HttpResponse};
use rust_embed::RustEmbed;

use crate::error::{Failure, Result};
use crate::token;

#[derive(RustEmbed)]
#[folder = "static/"]
struct Static;

/// Everything from here and nothing inline; `wasm-unsafe-eval` lets the code reader compile its module.
const POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' data: blob:; media-src 'self' blob:; \
    object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'";

/// A page by its folder: `/cart/`, `/app/`, `/s`, `/admin/`, `/demo`.
pub async fn page(request: HttpRequest) -> Result<HttpResponse> {
    let folder = match request.path().trim_matches('/') {
        "app" | "s" => "phone",
        path => path,
    };
    file(&request, &format!("{folder}/index.html"))
}

/// `GET /static/{path}`.
pub async fn asset(request: HttpRequest, path: Path<String>) -> Result<HttpResponse> {
    file(&request, &path)
}

/// `GET /`: what is here, by its way in.
pub async fn root() -> HttpResponse {
    HttpResponse::SeeOther().insert_header((header::LOCATION, "/app/")).finish()
}

fn file(request: &HttpRequest, path: &str) -> Result<HttpResponse> {
    let file = Static::get(path).ok_or(Failure::NoRoute)?;
    let tag = EntityTag::new_strong(token::hex(&file.metadata.sha256_hash()[..12]));
    let known = <Header<IfNoneMatch> as actix_web::FromRequest>::extract(request).into_inner();
    let known = known.is_ok_and(
        |Header(known)| matches!(known, IfNoneMatch::Items(tags) if tags.iter().any(|known| known.weak_eq(&tag))),
    );
    let mut answer = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer
        .insert_header(header::ETag(tag))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header(("Permissions-Policy", "camera=(self), screen-wake-lock=(self)"));
    if known {
        return Ok(answer.finish());
    }
    Ok(answer.content_type(media_type(path)).body(file.data))
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "wasm" => "application/wasm",
        "woff2" => "font/woff2",
        "txt" | "md" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

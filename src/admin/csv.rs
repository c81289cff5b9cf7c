//! Tables as RFC 4180 has them, for those who open them with a spreadsheet.

use actix_web::HttpRequest;
use actix_web::http::header::{Accept, Header};

/// What such an answer calls itself.
pub const CONTENT_TYPE: &str = "text/csv; charset=utf-8";

/// Whether the request would rather have a table than JSON.
pub fn wanted(request: &HttpRequest) -> bool {
    let accepted = Accept::parse(request).map(|accept| accept.ranked()).unwrap_or_default();
    accepted.first().is_some_and(|first| first.essence_str() == "text/csv")
}

/// A field, quoted. One that a spreadsheet would take for a formula begins with an apostrophe.
pub fn cell(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn a_field_is_quoted_and_never_a_formula() {
        assert_eq!(cell("a \"b\", c"), "\"a \"\"b\"\", c\"");
        assert_eq!(cell("=1+1"), "\"'=1+1\"");
    }
}

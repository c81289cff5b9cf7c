//! Frames of an event stream, as WHATWG HTML §9.2.5 reads them.

use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use serde_json::Value;

use super::Entry;
use crate::event::{Event, EventId, Kind};

/// A heartbeat: a comment, which no client shows.
pub const HEARTBEAT: &[u8] = b":\n\n";

/// The first bytes: how long to wait before coming back, a comment that opens buffers, and the `place` of a client that
/// may be away before there is anything to tell. The block dispatches nothing, for it has no data; its id counts.
pub fn opening(place: Option<&EventId>) -> String {
    let retry = retry(Duration::from_secs(2), Duration::from_secs(5));
    let id = place.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("{retry}: connected\n{id}\n")
}

/// `retry:` somewhere between the two, so that clients do not come back all at once.
pub fn retry(from: Duration, to: Duration) -> String {
    let millis = rand::rng().random_range(from.as_millis()..=to.as_millis());
    format!("retry: {millis}\n")
}

/// One frame. `data` may hold any line ends: each line gets a field of its own, for a bare `\r` or `\n`
/// would end the field, and the next line could pose as another.
pub fn frame(id: Option<&dyn std::fmt::Display>, name: Option<&str>, data: &str) -> String {
    let mut text = String::with_capacity(data.len() + 64);
    let mut put = |field: &str, value: &dyn std::fmt::Display| {
        writeln!(text, "{field}: {value}").expect("writing to a String cannot fail");
    };
    if let Some(id) = id {
        put("id", id);
    }
    if let Some(name) = name {
        put("event", &name);
    }
    for line in lines(data) {
        put("data", &line);
    }
    text.push('\n');
    text
}

/// The lines of a text by the rules of event streams: CRLF, CR and LF all end one.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\r', '\n']) else {
            rest = None;
            return Some(text);
        };
        let (line, tail) = text.split_at(end);
        rest = Some(tail.strip_prefix("\r\n").unwrap_or(&tail[1..]));
        Some(line)
    })
}

/// Who looks at an event on a cart's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Viewer {
    /// The session's customer, or staff.
    Watcher = 0,
    /// The cart, which is also told how to greet.
    Cart = 1,
}

/// The frame of an event on a cart's stream: encoded once per kind of viewer. The `token` of a started session is not in
/// it: that one is made singly ([`started`]).
pub fn of_cart(entry: &Entry, viewer: Viewer) -> Bytes {
    let made = entry.frames[viewer as usize].get_or_init(|| {
        let data = object(&entry.event, viewer, None);
        frame(Some(&entry.event.id()), None, &data).into()
    });
    made.clone()
}

/// The frame of a started session for the cart it started on, with the session's `token`.
pub fn started(event: &Event, id: Option<&EventId>, token: &str) -> Bytes {
    let id = id.map(|id| id as &dyn std::fmt::Display);
    frame(id, None, &object(event, Viewer::Cart, Some(token))).into()
}

/// The frame of an emitted event, with the name its caller gave it.
pub fn emitted(entry: &Entry) -> Bytes {
    let event = &entry.event;
    let made = entry.frames[0].get_or_init(|| {
        let name = event.kind.as_str();
        frame(Some(&event.id()), (!name.is_empty()).then_some(name), &event.data).into()
    });
    made.clone()
}

/// `{"type":…,"event_type":…}` with what the log holds and what this viewer is told besides.
fn object(event: &Event, viewer: Viewer, token: Option<&str>) -> String {
    let kind = Value::from(event.kind.as_str());
    let mut text = format!("{{\"type\":{kind},\"event_type\":{kind}");
    let mut put = |key: &str, value: &str| {
        write!(text, ",\"{key}\":{value}").expect("writing to a String cannot fail");
    };
    if event.kind == Kind::SessionStarted && viewer == Viewer::Cart {
        if let Some(token) = token {
            put("token", &Value::from(token).to_string());
        }
        put("display_name", &Value::from(event.joined.display_name.as_deref()).to_string());
    }
    if let (Kind::CheckoutCompleted, Some(receipt)) = (&event.kind, &event.joined.receipt) {
        put("receipt", receipt);
    }
    // The log holds an object; what it says follows without its opening brace.
    match event.data.strip_prefix('{') {
        Some("}") | None => text.push('}'),
        Some(fields) => {
            text.push(',');
            text.push_str(fields);
        }
    }
    text
}

/// A frame's bytes with an `event:` line in front, for clients that ask for names.
pub fn named(kind: &str, frame: &[u8]) -> Bytes {
    [b"event: ", kind.as_bytes(), b"\n", frame].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_end_starts_a_field_of_its_own() {
        assert_eq!(
            frame(Some(&7), Some("x"), "a\r\nb\rc\nd"),
            "id: 7\nevent: x\ndata: a\ndata: b\ndata: c\ndata: d\n\n"
        );
        assert_eq!(frame(None, None, ""), "data: \n\n");
        assert_eq!(lines("a\r\n\r\n").collect::<Vec<_>>(), ["a", "", ""]);
        assert_eq!(lines("\r\rb").collect::<Vec<_>>(), ["", "", "b"]);
    }
}

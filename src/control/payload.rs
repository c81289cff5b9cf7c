//! Reads the frames of an emitted payload, as WHATWG HTML §9.2.6 reads an event stream.

use std::sync::Arc;

use crate::broadcast::frame::lines;

/// An event as its caller wrote it: what is dispatched, and nothing else of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// `event:`; empty where there was none.
    pub name: Arc<str>,
    /// `data:`, its lines joined by line feeds.
    pub data: String,
}

/// The events of a payload. Its ids, retries and comments are dropped, and the blank line after the
/// last frame may be missing. `Err` says what is wrong with it.
pub fn parse(payload: &str) -> Result<Vec<Frame>, &'static str> {
    let mut frames = Vec::with_capacity(1);
    let (mut name, mut data) = ("", None::<String>);
    // The blank line at the end completes a last frame that lacks one; after another it does nothing.
    for line in lines(payload.strip_prefix('\u{feff}').unwrap_or(payload)).chain([""]) {
        if line.is_empty() {
            let name = std::mem::take(&mut name);
            if let Some(data) = data.take() {
                frames.push(Frame { name: name.into(), data });
            }
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match (field, &mut data) {
            ("event", _) => name = value,
            ("data", Some(data)) => {
                data.push('\n');
                data.push_str(value);
            }
            ("data", none) => *none = Some(value.to_owned()),
            _ => {}
        }
    }
    if frames.is_empty() {
        return Err("holds no event: write at least one line `data: …`");
    }
    // PostgreSQL's texts cannot hold it, and in a name it could only be mischief.
    if frames.iter().any(|frame| frame.name.contains('\0') || frame.data.contains('\0')) {
        return Err("holds U+0000");
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broadcast::frame;
    use proptest::prelude::*;

    /// The events as (name, data).
    #[track_caller]
    fn read(payload: &str) -> Vec<(String, String)> {
        parse(payload).unwrap().into_iter().map(|frame| (frame.name.to_string(), frame.data)).collect()
    }

    #[test]
    fn odd_frames_read_as_browsers_read_them() {
        let corpus: &[(&str, &[(&str, &str)])] = &[
            ("data: a\n\n", &[("", "a")]),
            ("data: a", &[("", "a")]),
            ("data:a\n", &[("", "a")]),
            ("data:  a \n\n", &[("", " a ")]),
            ("\u{feff}data: a\n\n", &[("", "a")]),
            ("\n\u{feff}data: a\ndata: b\n\n", &[("", "b")]),
            ("data: a\rdata: b\r\r", &[("", "a\nb")]),
            ("data: a\r\ndata: b\r\n\r\n", &[("", "a\nb")]),
            ("data: a\n\rdata: b\r\n\n", &[("", "a"), ("", "b")]),
            ("data\n\n", &[("", "")]),
            ("data:\n\n", &[("", "")]),
            ("data\ndata\n\n", &[("", "\n")]),
            ("data:\ndata:\ndata:\n\n", &[("", "\n\n")]),
            ("event: x\ndata: 1\n\nevent: y\n\ndata: 2\n\n", &[("x", "1"), ("", "2")]),
            ("event: x\nevent: y\ndata: 1\n\n", &[("y", "1")]),
            ("event: x\nevent\ndata: 1\n\n", &[("", "1")]),
            ("event:  x\ndata: 1", &[(" x", "1")]),
            (": comment\ndata: 1\n:\n:data: 2\n\n", &[("", "1")]),
            ("id: 7\nretry: 1\ndata: 1\n\nid: 8\n\nretry: x\n\n", &[("", "1")]),
            ("id: a\0b\ndata: 1\n\n", &[("", "1")]),
            (" data: 0\ndata : 0\nDATA: 0\ndata: 1\n\n", &[("", "1")]),
            ("data: a:b: c\n\n", &[("", "a:b: c")]),
            ("data: žluťoučký 🛒\n\n", &[("", "žluťoučký 🛒")]),
            ("data: a\u{2028}b\u{85}c\u{b}d\n\n", &[("", "a\u{2028}b\u{85}c\u{b}d")]),
        ];
        for (payload, events) in corpus {
            let events: Vec<_> = events.iter().map(|(name, data)| ((*name).to_owned(), (*data).to_owned())).collect();
            assert_eq!(read(payload), events, "{payload:?}");
        }
    }

    #[test]
    fn a_payload_without_an_event_is_refused() {
        for payload in [
            "",
            "\n\n",
            ": comment\n\n",
            "event: x\n\n",
            "id: 1\n",
            "hello",
            "{\"a\":1}",
            " data: 1",
            "\u{feff}\u{feff}data: 1",
        ] {
            assert!(parse(payload).is_err(), "{payload:?}");
        }
        assert!(parse("data: a\0b").is_err() && parse("event: a\0b\ndata: 1").is_err());
    }

    proptest! {
        #[test]
        fn what_is_encoded_reads_back_as_one_event(name in "[^\r\n\0]{0,12}", data in "[^\0]{0,40}") {
            let written = frame::frame(Some(&"e.1"), (!name.is_empty()).then_some(&name), &data);
            // Every line end arrives as a line feed: which one it was is not part of an event.
            let data = data.replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(read(&written), vec![(name, data)]);
        }

        #[test]
        fn no_payload_breaks_out_of_its_frames(payload in "(data|event|id|retry|:|: |\r|\n|\r\n|x|\u{feff}|é){0,30}") {
            for Frame { name, data } in parse(&payload).unwrap_or_default() {
                let written = frame::frame(Some(&"e.1"), (!name.is_empty()).then_some(&name), &data);
                prop_assert_eq!(read(&written), vec![(name.to_string(), data.clone())]);
            }
        }
    }
}

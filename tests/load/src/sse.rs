//! Cutting an event stream into events, reading no more of each than its id and its first data line.

/// One event as it stands in the read buffer. A block with an id alone moves the client's place: its data is empty.
pub struct Event<'a> {
    pub id: &'a [u8],
    pub data: &'a [u8],
}

/// What is left of an event whose end has not arrived yet. Empty, and without memory, most of the time.
#[derive(Default)]
pub struct Partial(Vec<u8>);

impl Partial {
    /// Takes body bytes and calls `event` for each complete event in them.
    pub fn feed(&mut self, bytes: &[u8], mut event: impl FnMut(Event<'_>)) {
        if self.0.is_empty() {
            let used = cut(bytes, &mut event);
            if used < bytes.len() {
                self.0 = bytes[used..].to_vec();
            }
            return;
        }
        self.0.extend_from_slice(bytes);
        let used = cut(&self.0, &mut event);
        self.0.drain(..used);
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
    }
}

/// Calls `event` for each complete event and gives the number of bytes they took.
fn cut(bytes: &[u8], event: &mut impl FnMut(Event<'_>)) -> usize {
    let (mut block, mut line_start) = (0, 0);
    let (mut id, mut data): (&[u8], Option<&[u8]>) = (&[], None);
    for end in memchr::memchr_iter(b'\n', bytes) {
        let line = &bytes[line_start..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        line_start = end + 1;
        if line.is_empty() {
            if data.is_some() || !id.is_empty() {
                event(Event { id, data: data.take().unwrap_or_default() });
            }
            (block, id) = (line_start, &[]);
        } else if let Some(value) = field(line, b"data:") {
            data.get_or_insert(value);
        } else if let Some(value) = field(line, b"id:") {
            id = value;
        }
    }
    block
}

fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = line.strip_prefix(name)?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_wherever_the_reads_are_cut() {
        let whole = b"retry: 3000\n: hello\n\nid: e.0\n\nid: e.1\ndata: one\n\n: beat\n\nid: e.2\r\ndata: two\r\n\r\n";
        for at in 0..whole.len() {
            let mut partial = Partial::default();
            let mut seen = Vec::new();
            for piece in [&whole[..at], &whole[at..]] {
                partial.feed(piece, |event| seen.push((event.id.to_vec(), event.data.to_vec())));
            }
            assert_eq!(
                seen,
                [(b"e.0".to_vec(), Vec::new()), (b"e.1".to_vec(), b"one".to_vec()), (b"e.2".to_vec(), b"two".to_vec())],
                "cut at {at}"
            );
        }
    }
}

//! Reading HTTP/1.1 answers as they trickle in: the head once, then the body's bytes with chunk framing taken off.
//! Only what a load client needs; anything unexpected is an error that names what was seen.

/// How the body ends.
#[derive(Clone, Copy, PartialEq)]
enum Framing {
    Length(usize),
    Chunked(Chunk),
    UntilClose,
}

/// Where we are inside chunked framing.
#[derive(Clone, Copy, PartialEq)]
enum Chunk {
    Size(usize),
    Extension(usize),
    Data(usize),
    AfterData(u8),
    Trailer { blank: bool },
    Done,
}

/// One answer being read.
pub struct Answer {
    head: Vec<u8>,
    status: u16,
    framing: Option<Framing>,
}

impl Answer {
    pub fn new() -> Self {
        Self { head: Vec::new(), status: 0, framing: None }
    }

    /// The status, once the head is complete.
    pub fn status(&self) -> Option<u16> {
        self.framing.map(|_| self.status)
    }

    /// Whether the body's last byte was read.
    pub fn complete(&self) -> bool {
        matches!(self.framing, Some(Framing::Length(0) | Framing::Chunked(Chunk::Done)))
    }

    /// Takes bytes from the socket; `body` is called with each piece of the body.
    pub fn feed(&mut self, mut bytes: &[u8], mut body: impl FnMut(&[u8])) -> Result<(), String> {
        if self.framing.is_none() {
            let Some(rest) = self.feed_head(bytes)? else {
                return Ok(());
            };
            bytes = &bytes[bytes.len() - rest..];
        }
        match self.framing.as_mut().expect("the head was read above") {
            Framing::UntilClose => body(bytes),
            Framing::Length(left) => {
                let take = bytes.len().min(*left);
                *left -= take;
                body(&bytes[..take]);
            }
            Framing::Chunked(chunk) => feed_chunked(chunk, bytes, body)?,
        }
        Ok(())
    }

    /// Collects the head; gives how many of `bytes` lie behind it once it is complete.
    fn feed_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, String> {
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let from = before.saturating_sub(3);
        let Some(end) = memchr::memmem::find(&self.head[from..], b"\r\n\r\n").map(|at| from + at + 4) else {
            return if self.head.len() > 16_384 {
                Err("an answer's head of more than 16 KiB".to_owned())
            } else {
                Ok(None)
            };
        };
        let rest = self.head.len() - end;
        self.parse_head(end)?;
        self.head = Vec::new();
        Ok(Some(rest))
    }

    fn parse_head(&mut self, end: usize) -> Result<(), String> {
        let head = String::from_utf8_lossy(&self.head[..end]).to_ascii_lowercase();
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap_or_default();
        self.status = first
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .ok_or_else(|| format!("not a status line: {first}"))?;
        let mut framing = if matches!(self.status, 204 | 304) { Framing::Length(0) } else { Framing::UntilClose };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            match name {
                "transfer-encoding" if value.contains("chunked") => framing = Framing::Chunked(Chunk::Size(0)),
                "content-length" => {
                    framing = Framing::Length(value.trim().parse().map_err(|_| format!("content-length {value}"))?)
                }
                _ => {}
            }
        }
        self.framing = Some(framing);
        Ok(())
    }
}

fn feed_chunked(chunk: &mut Chunk, mut bytes: &[u8], mut body: impl FnMut(&[u8])) -> Result<(), String> {
    while let Some(&first) = bytes.first() {
        *chunk = match *chunk {
            Chunk::Data(left) => {
                let take = left.min(bytes.len());
                body(&bytes[..take]);
                bytes = &bytes[take..];
                if take == left { Chunk::AfterData(2) } else { Chunk::Data(left - take) }
            }
            other => {
                bytes = &bytes[1..];
                frame_byte(other, first)?
            }
        };
    }
    Ok(())
}

/// One byte of the framing itself.
fn frame_byte(chunk: Chunk, byte: u8) -> Result<Chunk, String> {
    let after_size = |size: usize| {
        if size == 0 { Chunk::Trailer { blank: true } } else { Chunk::Data(size) }
    };
    Ok(match (chunk, byte) {
        (Chunk::Size(size) | Chunk::Extension(size), b'\n') => after_size(size),
        (Chunk::Size(size), b'\r' | b';') => Chunk::Extension(size),
        (Chunk::Size(size), digit) => {
            let value =
                char::from(digit).to_digit(16).ok_or_else(|| format!("byte {digit} where a chunk's size belongs"))?;
            Chunk::Size(size * 16 + value as usize)
        }
        (Chunk::Extension(size), _) => Chunk::Extension(size),
        (Chunk::AfterData(left), _) => {
            if left == 1 {
                Chunk::Size(0)
            } else {
                Chunk::AfterData(left - 1)
            }
        }
        (Chunk::Trailer { blank: true }, b'\n') => Chunk::Done,
        (Chunk::Trailer { .. }, b'\n') => Chunk::Trailer { blank: true },
        (Chunk::Trailer { blank }, byte) => Chunk::Trailer { blank: blank && byte == b'\r' },
        (Chunk::Done | Chunk::Data(_), _) => {
            return Err("bytes behind the end of an answer".to_owned());
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> (Option<u16>, Vec<u8>, bool) {
        let mut answer = Answer::new();
        let mut body = Vec::new();
        for piece in pieces {
            answer.feed(piece, |bytes| body.extend_from_slice(bytes)).unwrap();
        }
        (answer.status(), body, answer.complete())
    }

    #[test]
    fn a_chunked_body_is_the_same_wherever_the_reads_are_cut() {
        let whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\n";
        for cut in 1..whole.len() {
            assert_eq!(read(&[&whole[..cut], &whole[cut..]]), (Some(200), b"hello!".to_vec(), true), "cut at {cut}");
        }
    }

    #[test]
    fn a_counted_body_ends_at_its_length() {
        let got = read(&[b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n", b"OK"]);
        assert_eq!(got, (Some(201), b"OK".to_vec(), true));
    }
}

//! The connection under a request, and how a stream takes it over.
//!
//! A framework keeps for each connection what its next request will need: buffers, timers, a pipeline. A stream is its
//! connection's last answer and needs none of it: once its head is on the way, the stream takes the socket and the
//! framework lets go of the rest, which is three quarters of what an open stream would cost.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_web::dev::Extensions;
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The last chunk of a chunked body (RFC 9112 §7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Reads in a row from a client that has nothing to say: others want to be served too.
const READS: usize = 8;

/// A connection the framework serves, for as long as no stream takes it over. To the framework it then looks like one
/// whose client has gone.
pub struct Line(Rc<Shared>);

/// Who is given the socket.
type Taker = Box<dyn FnOnce(TcpStream)>;

#[derive(Default)]
struct Shared {
    socket: RefCell<Option<TcpStream>>,
    taker: Cell<Option<Taker>>,
}

/// What a request has of its connection.
#[derive(Clone)]
pub struct Takeover(Rc<Shared>);

impl Line {
    /// Of an accepted socket.
    pub fn new(socket: TcpStream) -> Self {
        Self(Rc::new(Shared { socket: RefCell::new(Some(socket)), taker: Cell::default() }))
    }

    /// Leaves the connection's requests a way to take it over.
    pub fn introduce(&self, connection: &mut Extensions) {
        connection.insert(Takeover(Rc::clone(&self.0)));
    }

    /// Asks the socket, if it is still here; else the answer is `gone`.
    fn ask<T>(
        &self,
        gone: io::Result<T>,
        ask: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.0.socket.borrow_mut().as_mut().map_or(Poll::Ready(gone), |socket| ask(Pin::new(socket)))
    }
}

impl Takeover {
    /// Has `taker` given the socket as soon as all that was written before has been sent.
    pub fn give_to(self, taker: impl FnOnce(TcpStream) + 'static) {
        self.0.taker.set(Some(Box::new(taker)));
    }
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.ask(Ok(()), |socket| socket.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.ask(Err(io::ErrorKind::BrokenPipe.into()), |socket| socket.poll_write(cx, bytes))
    }

    /// The framework asks for this once all of its buffer has been written.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.ask(Ok(()), |socket| socket.poll_flush(cx)))?;
        if let Some(taker) = self.0.taker.take()
            && let Some(socket) = self.0.socket.take()
        {
            taker(socket);
            // It is to find out at once that there is nobody here any more.
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ask(Ok(()), |socket| socket.poll_shutdown(cx))
    }
}

/// What is sent, until it is over.
pub trait Source: Unpin {
    /// The next bytes; `None` once there is nothing more to come.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>>;
}

/// A stream that has its socket for itself: sends what its source gives as chunks, as the head has promised, and is over
/// when the source is, or when the client goes away.
pub struct Relay<S> {
    socket: TcpStream,
    source: S,
    /// What the socket has not taken yet. The source is not asked for more before it has.
    rest: Bytes,
    over: bool,
}

impl<S: Source> Relay<S> {
    /// Goes on behind an answer's head.
    pub fn new(socket: TcpStream, source: S) -> Self {
        Self { socket, source, rest: Bytes::new(), over: false }
    }

    /// Whether the client has closed its side. What it says is nobody's business any more.
    fn is_gone(&self, cx: &mut Context<'_>) -> bool {
        for _ in 0..READS {
            match self.socket.poll_read_ready(cx) {
                Poll::Pending => return false,
                Poll::Ready(Err(_)) => return true,
                Poll::Ready(Ok(())) => {}
            }
            match self.socket.try_read(&mut [0; 512]) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return true,
            }
        }
        cx.waker().wake_by_ref();
        false
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            ready!(self.socket.poll_write_ready(cx))?;
            match self.socket.try_write(&self.rest) {
                Ok(sent) => self.rest.advance(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends a chunk without copying it; only what the socket does not take is kept.
    fn send(&mut self, bytes: &Bytes) -> io::Result<()> {
        let head = format!("{:x}\r\n", bytes.len());
        let parts: [&[u8]; 3] = [head.as_bytes(), bytes, b"\r\n"];
        let mut sent = match self.socket.try_write_vectored(&parts.map(IoSlice::new)) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        let whole: usize = parts.iter().map(|part| part.len()).sum();
        if sent < whole {
            let mut rest = BytesMut::with_capacity(whole - sent);
            for part in parts {
                let skipped = sent.min(part.len());
                sent -= skipped;
                rest.extend_from_slice(&part[skipped..]);
            }
            self.rest = rest.freeze();
        }
        Ok(())
    }
}

impl<S: Source> Future for Relay<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.is_gone(cx) {
            return Poll::Ready(());
        }
        loop {
            if ready!(this.poll_rest(cx)).is_err() || this.over {
                return Poll::Ready(());
            }
            match ready!(this.source.poll_bytes(cx)) {
                // An empty chunk would be the last one.
                Some(bytes) if bytes.is_empty() => {}
                Some(bytes) => {
                    if this.send(&bytes).is_err() {
                        return Poll::Ready(());
                    }
                }
                None => {
                    this.over = true;
                    this.rest = Bytes::from_static(LAST_CHUNK);
                }
            }
        }
    }
}

//! The connection under a request, and how a stream takes it over.
//!
//! A framework keeps for each connection what its next request will need: buffers, timers, a pipeline. A stream is its
//! connection's last answer and needs none of it: once its head is on the way, the stream takes the socket and the
//! framework lets go of the rest, which is three quarters of what an open stream would cost.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_web::dev::Extensions;
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The last chunk of a chunked body (RFC 9112 §7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Reads in a row from a client that has nothing to say: others want to be served too.
const READS: usize = 8;

/// What bytes go through, plain or encrypted.
pub trait Socket: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket for S {}

/// A connection the framework serves, for as long as no stream takes it over. To the framework it then looks like one
/// whose client has gone.
pub struct Line(Rc<Shared>);

/// Who is given the socket.
type Taker = Box<dyn FnOnce(Box<dyn Socket>)>;

#[derive(Default)]
struct Shared {
    socket: RefCell<Option<Box<dyn Socket>>>,
    taker: Cell<Option<Taker>>,
}

/// What a request has of its connection.
#[derive(Clone)]
pub struct Takeover(Rc<Shared>);

impl Line {
    /// Of an accepted socket.
    pub fn new(socket: impl Socket + 'static) -> Self {
        Self(Rc::new(Shared { socket: RefCell::new(Some(Box::new(socket))), taker: Cell::default() }))
    }

    /// Leaves the connection's requests a way to take it over.
    pub fn introduce(&self, connection: &mut Extensions) {
        connection.insert(Takeover(Rc::clone(&self.0)));
    }

    /// Asks the socket, if it is still here; else the answer is `gone`.
    fn ask<T>(
        &self,
        gone: io::Result<T>,
        ask: impl FnOnce(Pin<&mut dyn Socket>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.0.socket.borrow_mut().as_mut().map_or(Poll::Ready(gone), |socket| ask(Pin::new(&mut **socket)))
    }
}

impl Takeover {
    /// Has `taker` given the socket as soon as all that was written before has been sent.
    pub fn give_to(self, taker: impl FnOnce(Box<dyn Socket>) + 'static) {
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

    /// Ready once it must not go on, whether the client has taken what was given or not.
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// By what a client knows where a body ends (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By the last of its chunks.
    Chunked,
    /// By the end of the connection: HTTP/1.0 knows no chunks.
    UntilClose,
}

/// A stream that has its socket for itself: sends what its source gives as the head has promised, and is over when the
/// source is, or when the client goes away.
pub struct Relay<S> {
    socket: Box<dyn Socket>,
    framing: Framing,
    source: S,
    /// What the socket has not taken yet. The source is not asked for more before it has.
    rest: Bytes,
    over: bool,
}

impl<S: Source> Relay<S> {
    /// Goes on behind an answer's head.
    pub fn new(socket: Box<dyn Socket>, framing: Framing, source: S) -> Self {
        Self { socket, framing, source, rest: Bytes::new(), over: false }
    }

    fn socket(&mut self) -> Pin<&mut dyn Socket> {
        Pin::new(&mut *self.socket)
    }

    /// Whether the client has closed its side. What it says is nobody's business any more.
    fn is_gone(&mut self, cx: &mut Context<'_>) -> bool {
        for _ in 0..READS {
            let mut heard = [0; 512];
            let mut heard = ReadBuf::new(&mut heard);
            match self.socket().poll_read(cx, &mut heard) {
                Poll::Pending => return false,
                Poll::Ready(Ok(())) if !heard.filled().is_empty() => {}
                Poll::Ready(_) => return true,
            }
        }
        cx.waker().wake_by_ref();
        false
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            match ready!(Pin::new(&mut *self.socket).poll_write(cx, &self.rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.rest.advance(sent),
            }
        }
        self.socket().poll_flush(cx)
    }

    /// Sends a piece without copying it; only what the socket does not take is kept.
    fn send(&mut self, bytes: &Bytes, cx: &mut Context<'_>) -> io::Result<()> {
        // A length of 64 bits has 16 digits.
        let mut head = io::Cursor::new([0; 18]);
        write!(head, "{:x}\r\n", bytes.len())?;
        let (head, len) = (head.get_ref(), usize::try_from(head.position()).unwrap_or_default());
        let parts: [&[u8]; 3] = match self.framing {
            Framing::Chunked => [&head[..len], bytes, b"\r\n"],
            Framing::UntilClose => [&[], bytes, &[]],
        };
        let mut sent = match self.socket().poll_write_vectored(cx, &parts.map(IoSlice::new)) {
            Poll::Ready(sent) => sent?,
            Poll::Pending => 0,
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
            match this.poll_rest(cx) {
                Poll::Ready(Ok(())) if this.over => return this.socket().poll_shutdown(cx).map(drop),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return this.source.poll_cut(cx),
            }
            match ready!(this.source.poll_bytes(cx)) {
                // An empty chunk would be the last one.
                Some(bytes) if bytes.is_empty() => {}
                Some(bytes) => {
                    if this.send(&bytes, cx).is_err() {
                        return Poll::Ready(());
                    }
                }
                None => {
                    this.over = true;
                    if this.framing == Framing::Chunked {
                        this.rest = Bytes::from_static(LAST_CHUNK);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::mpsc;

    use super::*;

    const HEADS: [(&str, Framing); 2] = [
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Framing::Chunked),
        ("HTTP/1.0 200 OK\r\n\r\n", Framing::UntilClose),
    ];

    /// Gives what it has, then ends.
    struct Script(VecDeque<Bytes>);

    impl Source for Script {
        fn poll_bytes(&mut self, _: &mut Context<'_>) -> Poll<Option<Bytes>> {
            Poll::Ready(self.0.pop_front())
        }

        fn poll_cut(&mut self, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }
    }

    /// Gives what is put into the channel.
    struct Live(mpsc::UnboundedReceiver<Bytes>);

    impl Source for Live {
        fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
            self.0.poll_recv(cx)
        }

        fn poll_cut(&mut self, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }
    }

    #[actix_web::test]
    async fn whatever_the_socket_takes_at_a_time_the_body_arrives_whole() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        // From one byte to more than any socket's buffer, and an empty one, which must not end it.
        let pieces: VecDeque<Bytes> = [1, 2_000_000, 0, 15, 16, 300_000, 4096]
            .iter()
            .zip(b'a'..)
            .map(|(len, byte)| vec![byte; *len].into())
            .collect();
        let whole = pieces.iter().fold(Vec::new(), |whole, piece| [whole, piece.to_vec()].concat());
        for (head, framing) in HEADS {
            let server = async {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = BytesMut::new();
                while !request.ends_with(b"\r\n\r\n") {
                    socket.read_buf(&mut request).await.unwrap();
                }
                socket.write_all(head.as_bytes()).await.unwrap();
                Relay::new(Box::new(socket), framing, Script(pieces.clone())).await;
            };
            let (got, ()) = tokio::join!(async { reqwest::get(&url).await.unwrap().bytes().await.unwrap() }, server);
            assert!(got == whole, "{} bytes of {} in {framing:?}", got.len(), whole.len());
        }
    }

    #[actix_web::test]
    async fn a_client_may_talk_and_the_stream_is_over_when_it_leaves() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let (sender, receiver) = mpsc::unbounded_channel();
        let relay = tokio::task::spawn_local(Relay::new(Box::new(socket), Framing::Chunked, Live(receiver)));
        client.write_all(&[b'x'; 300_000]).await.unwrap();
        sender.send(Bytes::from_static(b"still here")).unwrap();
        let mut got = [0; 15];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"a\r\nstill here\r\n");
        drop(client);
        relay.await.unwrap();
        assert!(sender.is_closed());
    }

    #[actix_web::test]
    async fn the_socket_is_given_once_all_is_sent_and_the_framework_sees_a_client_that_has_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut line = Line::new(listener.accept().await.unwrap().0);
        let mut connection = Extensions::new();
        line.introduce(&mut connection);
        let (sender, mut given) = mpsc::unbounded_channel();
        connection.get::<Takeover>().unwrap().clone().give_to(move |socket| sender.send(socket).unwrap());
        line.write_all(b"head").await.unwrap();
        assert!(given.try_recv().is_err(), "not before the framework has sent all it has");
        poll_fn(|cx| Pin::new(&mut line).poll_flush(cx)).await.unwrap();
        let mut socket = given.try_recv().unwrap();
        assert_eq!(line.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(line.write(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        line.shutdown().await.unwrap();
        drop((line, connection));
        socket.write_all(b", body").await.unwrap();
        let mut got = [0; 10];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"head, body");
    }
}

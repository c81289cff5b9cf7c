//! The sockets: thousands of open streams and a few keep-alive connections for requests, all on one thread and one epoll.
//! Streams come from many 127.0.0.x addresses, as phones and carts do.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::http::Answer;
use crate::sse::{Event, Partial};

/// Servers close kept connections after some seconds; one this old may be closing as it is used.
const IDLE: Duration = Duration::from_secs(2);

/// What a turn of the loop found.
pub enum What<'a> {
    /// A stream's head arrived.
    Opened { stream: u32, status: u16 },
    /// An event arrived on a stream.
    Event { stream: u32, event: Event<'a>, at: Instant },
    /// A stream ended, or could not be opened.
    Ended { stream: u32 },
    /// A request was answered; its connection is free again.
    Answered { tag: u64, status: u16, body: &'a [u8], at: Instant },
    /// A request's connection broke before the answer.
    Failed,
}

enum Role {
    Stream { stream: u32, opened: bool, partial: Partial },
    Client { asked: Option<u64>, body: Vec<u8> },
}

struct Conn {
    socket: TcpStream,
    unsent: Vec<u8>,
    answer: Answer,
    role: Role,
}

/// Every socket of this process.
pub struct Net {
    poll: Poll,
    conns: Vec<Option<Conn>>,
    vacant: Vec<usize>,
    idle: Vec<(usize, Instant)>,
    clients: usize,
    buf: Vec<u8>,
    sources: u32,
}

impl Net {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            conns: Vec::new(),
            vacant: Vec::new(),
            idle: Vec::new(),
            clients: 0,
            buf: vec![0; 128 * 1024],
            sources: 0,
        })
    }

    /// Opens a stream; `stream` is the caller's name for it.
    pub fn open(&mut self, to: SocketAddr, request: &[u8], stream: u32) -> io::Result<()> {
        self.sources += 1;
        let role = Role::Stream { stream, opened: false, partial: Partial::default() };
        self.connect(to, request, role, 2 + self.sources % 200).map(drop)
    }

    /// How many request connections are idle or could be made below `limit`.
    pub fn capacity(&self, limit: usize) -> usize {
        self.idle.len() + limit.saturating_sub(self.clients)
    }

    /// Requests not answered yet.
    pub fn busy(&self) -> usize {
        self.clients - self.idle.len()
    }

    /// Sends a request on an idle keep-alive connection, or a new one.
    pub fn ask(&mut self, to: SocketAddr, request: &[u8], tag: u64) -> io::Result<()> {
        while let Some((at, since)) = self.idle.pop() {
            // The slot may have changed hands since it was noted as idle.
            let Some(conn) =
                self.conns[at].as_mut().filter(|conn| matches!(conn.role, Role::Client { asked: None, .. }))
            else {
                continue;
            };
            if since.elapsed() > IDLE {
                self.drop_conn(at);
                continue;
            }
            conn.answer = Answer::new();
            conn.role = Role::Client { asked: Some(tag), body: Vec::new() };
            conn.unsent.extend_from_slice(request);
            match flush(conn) {
                Ok(()) => return Ok(()),
                // The server closed an idle connection: the next one will do.
                Err(_) => self.drop_conn(at),
            }
        }
        self.clients += 1;
        self.connect(to, request, Role::Client { asked: Some(tag), body: Vec::new() }, 1).map(drop)
    }

    fn connect(&mut self, to: SocketAddr, request: &[u8], role: Role, source: u32) -> io::Result<usize> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if to.ip().is_loopback() {
            let from = SocketAddrV4::new(Ipv4Addr::from(0x7f00_0000 + source), 0);
            socket.bind(&SocketAddr::V4(from).into())?;
        }
        match socket.connect(&to.into()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(115) => {}
            Err(error) => return Err(error),
        }
        let at = self.vacant.pop().unwrap_or_else(|| {
            self.conns.push(None);
            self.conns.len() - 1
        });
        let mut conn =
            Conn { socket: TcpStream::from_std(socket.into()), unsent: request.to_vec(), answer: Answer::new(), role };
        self.poll.registry().register(&mut conn.socket, Token(at), Interest::READABLE | Interest::WRITABLE)?;
        self.conns[at] = Some(conn);
        Ok(at)
    }

    fn drop_conn(&mut self, at: usize) {
        if let Some(conn) = self.conns[at].take() {
            if matches!(conn.role, Role::Client { .. }) {
                self.clients -= 1;
            }
            self.vacant.push(at);
        }
    }

    /// Waits at most `wait`, then tells `handler` what happened.
    pub fn turn(&mut self, wait: Duration, events: &mut Events, handler: &mut impl FnMut(What<'_>)) -> io::Result<()> {
        match self.poll.poll(events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in events.iter() {
            let at = event.token().0;
            let Some(conn) = self.conns[at].as_mut() else {
                continue;
            };
            let mut alive = true;
            let busy = matches!(conn.role, Role::Client { asked: Some(_), .. });
            if event.is_writable() && !conn.unsent.is_empty() {
                alive = flush(conn).is_ok();
            }
            if alive && event.is_readable() {
                alive = read(conn, &mut self.buf, event.is_read_closed(), handler);
            }
            if !alive {
                ended(conn, handler);
                self.drop_conn(at);
            } else if busy && matches!(conn.role, Role::Client { asked: None, .. }) {
                self.idle.push((at, Instant::now()));
            }
        }
        Ok(())
    }
}

fn flush(conn: &mut Conn) -> io::Result<()> {
    while !conn.unsent.is_empty() {
        match conn.socket.write(&conn.unsent) {
            Ok(sent) => drop(conn.unsent.drain(..sent)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                break;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if conn.unsent.is_empty() {
        conn.unsent = Vec::new();
    }
    Ok(())
}

/// Reads what is there. A read that did not fill the buffer has emptied the socket: asking again would only cost a call.
fn read(conn: &mut Conn, buf: &mut [u8], closing: bool, handler: &mut impl FnMut(What<'_>)) -> bool {
    loop {
        match conn.socket.read(buf) {
            Ok(0) => return false,
            Ok(got) => match take(conn, &buf[..got], handler) {
                Ok(true) if got < buf.len() && !closing => return true,
                Ok(true) => {}
                Ok(false) => return false,
                Err(why) => {
                    eprintln!("a connection was given up: {why}");
                    return false;
                }
            },
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

/// Hands on what was read; false once the server has ended a stream.
fn take(conn: &mut Conn, bytes: &[u8], handler: &mut impl FnMut(What<'_>)) -> Result<bool, String> {
    let at = Instant::now();
    let Conn { answer, role, .. } = conn;
    match role {
        Role::Stream { stream, opened, partial } => {
            let stream = *stream;
            if !*opened {
                let mut first = Vec::new();
                answer.feed(bytes, |piece| first.extend_from_slice(piece))?;
                let Some(status) = answer.status() else {
                    return Ok(true);
                };
                *opened = true;
                handler(What::Opened { stream, status });
                partial.feed(&first, |event| handler(What::Event { stream, event, at }));
            } else {
                answer.feed(bytes, |piece| partial.feed(piece, |event| handler(What::Event { stream, event, at })))?;
            }
            Ok(!answer.complete())
        }
        Role::Client { asked, body } => {
            answer.feed(bytes, |piece| body.extend_from_slice(piece))?;
            if answer.complete()
                && let Some(tag) = asked.take()
            {
                let status = answer.status().expect("a complete answer has a status");
                handler(What::Answered { tag, status, body, at });
            }
            Ok(true)
        }
    }
}

fn ended(conn: &Conn, handler: &mut impl FnMut(What<'_>)) {
    match conn.role {
        Role::Stream { stream, .. } => handler(What::Ended { stream }),
        Role::Client { asked: Some(_), .. } => handler(What::Failed),
        Role::Client { asked: None, .. } => {}
    }
}

//! What an event and an idle stream cost, counted and not timed: allocations, system calls, queries and memory, each
//! against a bound. A bound is some way above what was measured when it was set; what breaks it is a change for the worse.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cartlink::clock::SystemClock;
use cartlink::config::Config;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tempfile::TempDir;

#[global_allocator]
static COUNTED: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// Per delivered event, with its share of the emission it came from.
const ALLOCATIONS: f64 = 4.0;

/// Per delivered event: one write, and its share of writing the event down.
const CALLS: f64 = 2.0;

/// Per delivered event, too: waiting and being woken, of which there is more on a busy machine. One for each would be too many.
const WAITS: f64 = 1.0;

/// Per emission, of the database's files: what one COMMIT takes. A query per stream would be a hundred and more.
const DATABASE_CALLS: usize = 20;

/// Per emission, however many listen: the head's and the event's own, and, however slow the machine, what the server asks
/// by itself meanwhile. A query per stream would be two thousand.
const STATEMENTS: usize = 20;

/// Per idle stream of the program as it is tested, unoptimised.
const BYTES: usize = 4 * 1024;

/// Per idle stream over https, beside: keys, the record being read, the record being written.
const SECRETS: usize = 10 * 1024;

/// The longest anything here waits for.
const PATIENCE: Duration = Duration::from_secs(120);

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// A back end on one connection. Once it is made it allocates nothing, so that only the server is counted.
struct Till {
    socket: TcpStream,
    request: Vec<u8>,
}

impl Till {
    fn new(control: SocketAddr, path: &str, form: &str) -> Self {
        let head = "Content-Type: application/x-www-form-urlencoded";
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\n{head}\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        );
        Self { socket: connect(control), request: request.into_bytes() }
    }

    /// Sends it, and reads the answer into `buffer`. Returns how long that is.
    fn post(&mut self, buffer: &mut [u8; 4096]) -> usize {
        self.socket.write_all(&self.request).unwrap();
        let mut filled = 0;
        loop {
            filled += self.socket.read(&mut buffer[filled..]).unwrap();
            let answer = &buffer[..filled];
            assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(answer));
            let body = answer.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
            if body.is_some_and(|body| body < filled) {
                return filled;
            }
        }
    }
}

fn token(control: SocketAddr, channel: &str) -> String {
    let mut buffer = [0; 4096];
    let answer = Till::new(control, "/token/", &format!("userId=u&channel={channel}&exp=3600")).post(&mut buffer);
    let text = std::str::from_utf8(&buffer[..answer]).unwrap();
    text.rsplit_once("\r\n\r\n").unwrap().1.to_owned()
}

/// An open stream; its first bytes have come.
fn subscribe(public: SocketAddr, token: &str) -> TcpStream {
    subscribe_on(connect(public), token)
}

fn subscribe_on<S: Read + Write>(mut socket: S, token: &str) -> S {
    write!(socket, "GET /events/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n").unwrap();
    let mut lines = BufReader::new(&mut socket).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "HTTP/1.1 200 OK");
    assert!(lines.any(|line| line.unwrap() == ": connected"));
    socket
}

/// Reads until so many events have come, and allocates nothing.
fn read_events(socket: &mut TcpStream, count: usize) {
    let (mut seen, mut buffer, mut line_start) = (0, [0; 16 * 1024], true);
    while seen < count {
        let read = socket.read(&mut buffer).unwrap();
        assert!(read > 0, "the stream has ended after {seen} events");
        for byte in &buffer[..read] {
            seen += usize::from(line_start && *byte == b'd');
            line_start = *byte == b'\n';
        }
    }
}

const EMIT: &str = "userId=*&channel=c&payload=data:%20%7B%22item%22%3A%22tea%22%2C%22amount%22%3A3%7D";

/// A server of this process, on one worker, so that its allocations are counted.
fn serve_here(folder: &TempDir) -> (SocketAddr, SocketAddr) {
    let data = folder.path().to_owned();
    let (sender, bound) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let local = "127.0.0.1:0".to_owned();
        let config = Config { data, bind: local.clone(), bindctl: local, workers: Some(1), ..Config::standard() };
        actix_web::rt::System::new().block_on(async move {
            let running = cartlink::start::start(config, Arc::new(SystemClock), None).await.unwrap();
            sender.send(*running.app.bound.get().unwrap()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    let bound = bound.recv().unwrap();
    (bound.public, bound.control)
}

#[test]
fn a_delivered_event_costs_few_allocations() {
    const STREAMS: usize = 100;
    const EVENTS: usize = 200;
    let folder = tempfile::tempdir().unwrap();
    let (public, control) = serve_here(&folder);
    let token = token(control, "c");
    let mut streams: Vec<TcpStream> = (0..STREAMS).map(|_| subscribe(public, &token)).collect();
    let (mut till, mut buffer) = (Till::new(control, "/emit/", EMIT), [0; 4096]);
    let mut round = |events: usize| {
        for _ in 0..events {
            till.post(&mut buffer);
        }
        streams.iter_mut().for_each(|stream| read_events(stream, events));
    };
    round(50);
    let counted = Region::new(COUNTED);
    round(EVENTS);
    let change = counted.change();
    let each = (change.allocations + change.reallocations) as f64 / (STREAMS * EVENTS) as f64;
    println!("{each:.2} allocations, {} bytes per delivered event", change.bytes_allocated / (STREAMS * EVENTS));
    assert!(each < ALLOCATIONS, "{each:.2} allocations per delivered event");
}

/// The real program, stopped when it goes out of scope.
struct Program {
    child: Child,
    public: SocketAddr,
    control: SocketAddr,
    _folder: TempDir,
}

impl Program {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(flags: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = folder.path().join("ports");
        let child = Command::new(env!("CARGO_BIN_EXE_cartlink"))
            .args(["serve", "--bind=127.0.0.1:0", "--bindctl=127.0.0.1:0", "--workers=1", "--log=error"])
            .arg(format!("--data={}", folder.path().display()))
            .arg(format!("--ports-file={}", ports.display()))
            .args(flags)
            .spawn()
            .unwrap();
        let text = loop {
            if let Ok(text) = fs::read_to_string(&ports) {
                break text;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let mut lines = text.lines().map(|line| line.parse().unwrap());
        Self { child, public: lines.next().unwrap(), control: lines.next().unwrap(), _folder: folder }
    }

    /// A counter among its metrics.
    fn counted(&self, name: &str) -> usize {
        let mut socket = connect(self.control);
        write!(socket, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let line = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {answer}")).parse().unwrap()
    }

    /// Memory that is this process's own, in bytes: not the program's text, which whoever else runs it shares.
    fn memory(&self) -> usize {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss_Anon:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<usize>().unwrap() * 1024
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn an_idle_stream_costs_little_memory() {
    const STREAMS: usize = 2000;
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let program = Program::start();
    // What the first ones make is not theirs alone.
    let warm: Vec<TcpStream> =
        (0..20).map(|n| subscribe(program.public, &token(program.control, &format!("warm{n}")))).collect();
    let before = program.memory();
    // Two on each channel, as a cart has its screen and its customer's phone.
    let open: Vec<TcpStream> = (0..STREAMS / 2)
        .map(|n| token(program.control, &format!("c{n}")))
        .flat_map(|token| [subscribe(program.public, &token), subscribe(program.public, &token)])
        .collect();
    let each = (program.memory() - before) / open.len();
    println!("{each} bytes per idle stream");
    assert!(each < BYTES, "{each} bytes per idle stream");
    drop(warm);
}

#[test]
fn an_idle_stream_over_https_costs_what_its_secrets_take_beside() {
    const STREAMS: usize = 500;
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let files = [format!("--tls-cert={}", cert.display()), format!("--tls-key={}", key.display())];
    let program = Program::start_with(&files);
    let mut trusted = RootCertStore::empty();
    trusted.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_root_certificates(trusted).with_no_client_auth());
    let open = |channel: &str| {
        let token = token(program.control, channel);
        let client = ClientConnection::new(Arc::clone(&config), "localhost".try_into().unwrap()).unwrap();
        subscribe_on(StreamOwned::new(client, connect(program.public)), &token)
    };
    let warm: Vec<_> = (0..20).map(|n| open(&format!("warm{n}"))).collect();
    let before = program.memory();
    let streams: Vec<_> = (0..STREAMS).map(|n| open(&format!("c{n}"))).collect();
    let each = (program.memory() - before) / streams.len();
    println!("{each} bytes per idle stream over https");
    assert!(each < BYTES + SECRETS, "{each} bytes per idle stream over https");
    drop(warm);
}

#[test]
fn two_thousand_deliveries_of_an_event_ask_the_database_nothing() {
    const STREAMS: usize = 2000;
    const ROUNDS: usize = 5;
    // Fewer than a tail holds: a reader that is further behind asks the log, and rightly.
    const EVENTS: usize = 20;
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let program = Program::start();
    let subscriber = token(program.control, "c");
    let mut streams: Vec<TcpStream> = (0..STREAMS).map(|_| subscribe(program.public, &subscriber)).collect();
    let (mut till, mut buffer) = (Till::new(program.control, "/emit/", EMIT), [0; 4096]);
    let before = program.counted("cartlink_database_statements_total");
    for _ in 0..ROUNDS {
        for _ in 0..EVENTS {
            till.post(&mut buffer);
        }
        streams.iter_mut().for_each(|stream| read_events(stream, EVENTS));
    }
    let statements = program.counted("cartlink_database_statements_total") - before;
    let events = ROUNDS * EVENTS;
    println!("{statements} statements for {events} events and {} deliveries", events * STREAMS);
    assert!(statements >= events, "{statements} statements: they are not counted");
    assert!(statements < events * STATEMENTS, "{statements} statements for {events} events: deliveries ask");
}

#[test]
fn a_delivered_event_costs_about_one_system_call() {
    const STREAMS: usize = 50;
    const EVENTS: usize = 100;
    let program = Program::start();
    let subscriber = token(program.control, "c");
    let mut streams: Vec<TcpStream> = (0..STREAMS).map(|_| subscribe(program.public, &subscriber)).collect();
    let (mut till, mut buffer) = (Till::new(program.control, "/emit/", EMIT), [0; 4096]);
    let mut round = |events: usize| {
        for _ in 0..events {
            till.post(&mut buffer);
        }
        streams.iter_mut().for_each(|stream| read_events(stream, events));
    };
    round(10);
    let folder = tempfile::tempdir().unwrap();
    let summary = folder.path().join("summary");
    let mut strace = Command::new("strace")
        .args(["-f", "-c", "-p", &program.child.id().to_string(), "-o"])
        .arg(&summary)
        .stderr(Stdio::piped())
        .spawn()
        .expect("strace is installed: tests/run does it");
    let mut said = BufReader::new(strace.stderr.take().unwrap()).lines();
    let attached = said.find(|line| line.as_ref().is_ok_and(|line| line.contains("attached")));
    assert!(attached.is_some(), "strace says that it has attached");
    round(EVENTS);
    Command::new("kill").args(["-INT", &strace.id().to_string()]).status().unwrap();
    strace.wait().unwrap();
    let text = fs::read_to_string(&summary).unwrap();
    let calls = |name: &str| -> usize {
        let line = text.lines().find(|line| line.split_whitespace().last() == Some(name));
        line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok()).unwrap_or_default()
    };
    let of_database = calls("pread64") + calls("fcntl") + calls("fcntl64");
    assert!(of_database < EVENTS * DATABASE_CALLS, "deliveries ask the database:\n{text}");
    let waits = calls("futex") + calls("epoll_wait") + calls("epoll_pwait");
    let each = |calls: usize| calls as f64 / (STREAMS * EVENTS) as f64;
    let (work, waits) = (each(calls("total") - waits), each(waits));
    println!("{work:.2} system calls per delivered event, and {waits:.2} to wait\n{text}");
    assert!(
        work < CALLS && waits < WAITS,
        "{work:.2} system calls per delivered event, and {waits:.2} to wait\n{text}"
    );
}

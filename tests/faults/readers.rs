//! Readers that never read, beside a thousand that do.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::follower::Follower;
use crate::program::Program;

const LIVE: usize = 1_000;

#[tokio::test]
async fn readers_that_never_read_cost_a_thousand_live_ones_nothing() {
    let program = Program::start(&[]).await;
    let epoch = Instant::now();
    let token = program.token("live").await;
    let mut live = Vec::new();
    for _ in 0..LIVE {
        live.push(Follower::connect(&program.http, program.public("/events/"), token.clone(), epoch).await);
    }
    tell(&program, &live, epoch, 1..=5).await;
    let alone = typical_delay(&live);

    let flood_token = program.token("flood").await;
    let stuck: Vec<TcpStream> =
        (0..20).map(|n| stuck_reader(&program, if n % 2 == 0 { &token } else { &flood_token })).collect();
    let before = program.memory_kib();
    let long = "x".repeat(16_000);
    for n in 1..=200 {
        assert_eq!(program.emit("flood", &long).await, Ok(n));
    }
    tell(&program, &live, epoch, 6..=25).await;
    let beside = typical_delay(&live);
    let grown = program.memory_kib().saturating_sub(before);
    assert!(beside < alone * 3 + Duration::from_millis(50), "{beside:?} beside stuck readers, {alone:?} without");
    // 3.2 MB were sent to each of ten: what is queued for them would show. The kernel's buffers are not in this figure.
    assert!(grown < 24_000, "{grown} KiB more");
    drop(stuck);
}

/// Publishes these events one after the other; each has reached everybody before the next is sent.
async fn tell(program: &Program, live: &[Follower], epoch: Instant, events: std::ops::RangeInclusive<u64>) {
    for n in events {
        assert_eq!(program.emit("live", &format!("{} hello", epoch.elapsed().as_micros())).await, Ok(n));
        for follower in live {
            follower.until("the event", |heard| heard.last_seq == n).await;
        }
    }
}

/// The median over all readers and events since the last call.
fn typical_delay(live: &[Follower]) -> Duration {
    let mut delays: Vec<Duration> =
        live.iter().flat_map(|follower| follower.read(|heard| std::mem::take(&mut heard.delays))).collect();
    delays.sort();
    delays[delays.len() / 2]
}

fn stuck_reader(program: &Program, token: &str) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], program.port)).into()).unwrap();
    let mut stream = TcpStream::from(socket);
    write!(stream, "GET /events/ HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n").unwrap();
    stream
}

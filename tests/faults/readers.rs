//! Readers that never read, beside a thousand that do.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::follower::Follower;
use crate::program::Program;

const LIVE: usize = 1_000;
const STUCK: usize = 40;

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
    let (mut told, mut flooded) = (5, 0);
    // A machine may stand still until the kernel gives readers up that take nothing, but not each time.
    for _ in 0..5 {
        all_streams(&program, LIVE).await;
        let stuck: Vec<TcpStream> =
            (0..STUCK).map(|n| stuck_reader(&program, if n % 2 == 0 { &token } else { &flood_token })).collect();
        all_streams(&program, LIVE + STUCK).await;
        let before = program.memory_kib();
        let long = "x".repeat(16_000);
        for n in flooded + 1..=flooded + 200 {
            assert_eq!(program.emit("flood", &long).await, Ok(n));
        }
        flooded += 200;
        // Each reaches all of the thousand while those who never read are there, and before the next is sent.
        tell(&program, &live, epoch, told + 1..=told + 20).await;
        told += 20;
        let beside = typical_delay(&live);
        let grown = program.memory_kib().saturating_sub(before);
        let still = program.gauge("cartlink_streams").await;
        println!("{beside:?} beside {still} streams with readers that never read, {alone:?} without; {grown} KiB more");
        // 3.2 MB were sent to each of twenty: what is queued for them would show. The kernel's buffers are not in this figure.
        assert!(grown < 32_000, "{grown} KiB more");
        drop(stuck);
        if still as usize == LIVE + STUCK {
            for follower in &live {
                follower.read(|heard| assert_eq!((heard.connects, heard.wrong.len()), (1, 0)));
            }
            return;
        }
    }
    panic!("no event reached everybody before those who never read were given up");
}

/// Waits until the server counts so many streams.
async fn all_streams(program: &Program, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while program.gauge("cartlink_streams").await as usize != count {
        assert!(Instant::now() < deadline, "{} streams, not {count}", program.gauge("cartlink_streams").await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
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

//! A network that drops packets. It is a network namespace of the test's own, where packets to the clients' address can be
//! sent into a black hole and let through again, or are lost at random.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::load::Load;
use crate::namespace::{self, run};
use crate::program::Program;

const CLIENTS: &str = "127.0.0.9";

/// Runs the calling test again inside its own network and mount namespaces. True in there; false outside, where the test
/// is over: it has passed inside.
pub fn within_namespaces(test: &str) -> bool {
    namespace::within(&["--map-root-user", "--net", "--mount"], test)
}

fn drop_packets(on: bool) {
    let verb = if on { "add" } else { "del" };
    run(&mut Command::new("ip"), &format!("route {verb} blackhole {CLIENTS}/32 table local"));
}

/// A server that forty clients follow from the address whose packets are in danger; publishers come from another.
async fn followed_from_afar() -> (Program, Load) {
    let mut program = Program::start(&[]).await;
    let near = program.http.clone();
    program.http =
        reqwest::Client::builder().local_address(CLIENTS.parse::<std::net::IpAddr>().unwrap()).build().unwrap();
    let load = Load::gather(&program, &program.public(""), 4, 10).await;
    program.http = near;
    (program, load)
}

#[tokio::test]
async fn packets_dropped_for_seconds_at_a_time_cost_nobody_an_event() {
    if !within_namespaces("network::packets_dropped_for_seconds_at_a_time_cost_nobody_an_event") {
        return;
    }
    let (program, mut load) = followed_from_afar().await;
    load.publish(&program, Duration::from_millis(2));
    for _ in 0..5 {
        let more = load.promised() + 200;
        load.until_promised(more).await;
        drop_packets(true);
        let more = load.promised() + 200;
        load.until_promised(more).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop_packets(false);
    }
    load.rest_and_check().await;
    assert_eq!(load.statuses(), Vec::<u16>::new(), "publishers were never disturbed");
}

/// One in twenty, both ways: what TCP repairs by sending again, out of order and late, and a reader that waits for it.
const LOSSY: &str = "table ip lossy {
    chain lossy {
        type filter hook input priority 0
        ip saddr 127.0.0.9 numgen random mod 20 0 counter drop
        ip daddr 127.0.0.9 numgen random mod 20 0 counter drop
    }
}";

/// How many packets those rules have dropped.
fn lost() -> u64 {
    let rules = Command::new("nft").args(["list", "table", "ip", "lossy"]).output().unwrap();
    let rules = String::from_utf8(rules.stdout).unwrap();
    rules.split("counter packets ").skip(1).map(|rest| rest.split(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[tokio::test]
async fn packets_lost_at_random_cost_nobody_an_event() {
    if !within_namespaces("network::packets_lost_at_random_cost_nobody_an_event") {
        return;
    }
    const EVENTS: u64 = 2_000;
    let (program, mut load) = followed_from_afar().await;
    assert!(Command::new("nft").arg(LOSSY).status().unwrap().success());
    load.publish(&program, Duration::from_millis(2));
    load.until_promised(EVENTS).await;
    let lost = lost();
    run(&mut Command::new("nft"), "delete table ip lossy");
    load.rest_and_check().await;
    println!("{lost} packets were lost");
    assert!(lost > EVENTS / 10, "only {lost} packets were lost");
    assert_eq!(load.statuses(), Vec::<u16>::new(), "publishers were never disturbed");
}

/// `TCP_USER_TIMEOUT` is 25 s; two heartbeats at most pass before it starts to run.
#[tokio::test]
async fn a_client_whose_network_is_gone_for_good_is_freed() {
    if !within_namespaces("network::a_client_whose_network_is_gone_for_good_is_freed") {
        return;
    }
    let program = Program::start(&["--heartbeat=2s"]).await;
    let before = program.open_files();
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(silent_client(&program, &program.token("quiet").await));
    }
    assert!(program.open_files() >= before + clients.len());
    drop_packets(true);
    let gone = Instant::now();
    // Idle connections that tokens were asked through are kept for longer than this takes.
    while program.open_files() > before + clients.len() / 2 {
        assert!(
            gone.elapsed() < Duration::from_secs(180),
            "{} files are open, {before} were before",
            program.open_files()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    drop_packets(false);
}

fn silent_client(program: &Program, token: &str) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(CLIENTS.parse().unwrap(), 0).into()).unwrap();
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], program.port)).into()).unwrap();
    let mut stream = TcpStream::from(socket);
    write!(stream, "GET /events/ HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n").unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    stream
}

//! Coming and going: what a connection cost is given back when it ends.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::program::Program;

const CYCLES: usize = 100_000;
const ROUND: usize = 25_000;

#[tokio::test]
async fn after_many_connections_memory_and_open_files_are_where_they_were() {
    // Whoever has gone is counted until the server has noticed.
    let program = Program::start(&["--streams-per-subscriber=100000", "--limit-streams=1000000/1s"]).await;
    let token = program.token("door").await;
    // Buffers and pools grow to their size first.
    come_and_go(&program, &token, 2_000).await;
    let files = all_gone(&program, usize::MAX).await;
    let (mut memory, mut cycles) = (vec![program.memory_kib()], 0);
    // What is kept of each connection is kept of the last ones as of the first: a heap that was cut up comes to rest.
    while cycles < CYCLES || (at_rest(&memory) > 1_000 && cycles < 3 * CYCLES) {
        come_and_go(&program, &token, ROUND).await;
        all_gone(&program, files).await;
        cycles += ROUND;
        memory.push(program.memory_kib());
    }
    println!("memory after each {ROUND} connections, in KiB: {memory:?}");
    assert!(at_rest(&memory) <= 1_000, "it grows with each {ROUND} connections, in KiB: {memory:?}");
}

/// How much the memory has grown in the round of the last four in which it grew least.
fn at_rest(memory: &[u64]) -> u64 {
    memory.windows(2).rev().take(4).map(|two| two[1].saturating_sub(two[0])).min().unwrap_or(u64::MAX)
}

/// Opens streams and drops them as soon as the first bytes are there, 50 at a time.
async fn come_and_go(program: &Program, token: &str, count: usize) {
    let mut tasks = JoinSet::new();
    for worker in 0..50 {
        let request = format!("GET /events/ HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n");
        let port = program.port;
        tasks.spawn(async move {
            for _ in (worker..count).step_by(50) {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                stream.write_all(request.as_bytes()).await.unwrap();
                let mut first = [0; 12];
                stream.read_exact(&mut first).await.unwrap();
                assert_eq!(&first, b"HTTP/1.1 200");
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

/// Waits until no stream is counted and no more than `files` are open, or their number has come to rest; gives the number.
async fn all_gone(program: &Program, files: usize) -> usize {
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut last = usize::MAX;
    loop {
        let streams = program.gauge("cartlink_streams").await;
        let open = program.open_files();
        if streams == 0.0 && open <= files && (files < usize::MAX || open == last) {
            return open;
        }
        assert!(Instant::now() < deadline, "{streams} streams, {open} files are open, {files} were before");
        last = open;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

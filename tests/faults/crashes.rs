//! `kill -9`, again and again, under load.

use std::time::{Duration, Instant};

use crate::load::Load;
use crate::program::Program;

#[tokio::test]
async fn killed_in_a_loop_for_a_minute_nobody_misses_or_repeats_an_event() {
    let mut program = Program::start(&[]).await;
    let mut load = Load::gather(&program, &program.public(""), 8, 12).await;
    load.publish(&program, Duration::ZERO);
    let (start, mut kills) = (Instant::now(), 0);
    // A minute, and on a slow machine until enough has happened.
    while start.elapsed() < Duration::from_secs(60) || kills < 5 || load.heard() < 100_000 {
        let more = load.promised() + 200;
        load.until_promised(more).await;
        program.again().await;
        kills += 1;
    }
    let more = load.promised() + 200;
    load.until_promised(more).await;
    let heard = load.rest_and_check().await;
    println!("{kills} crashes and {heard} events heard in {:?}", start.elapsed());
    assert!(kills >= 5 && heard >= 100_000, "{kills} crashes, {heard} events");
}

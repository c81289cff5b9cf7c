//! P11 and P12: what more streams and a longer past cost those who come now.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::crowd::Crowd;
use crate::fleet::{Asker, Fleet};
use crate::ours::{self, Ours};
use crate::report::Report;
use crate::scan::{PAIRS, Store};
use crate::stage::{Kind, Stage};

/// Streams, two per channel.
const STREAMS: [u32; 3] = [1_000, 5_000, 19_000];

/// Sessions that are over.
const STORED: [usize; 3] = [1_000, 100_000, 1_000_000];

/// The same work for few streams and for many, for a short past and a long one.
pub fn flat(stage: &Stage, report: &mut Report) -> Result<(), String> {
    let mut prices = Vec::new();
    for streams in STREAMS {
        let (peer, server) = stage.set()?;
        let mut crowd = Crowd::gather(&peer, streams / 2, 2)?;
        crowd.publish_at(2_000.0, Duration::from_secs(2))?;
        crowd.reset();
        let before = server.cpu();
        crowd.publish_at(2_000.0, stage.time)?;
        let price = (server.cpu() - before) * 100_000.0 / crowd.tally.delivered.max(1) as f64;
        let what = format!("{streams} streams, 2,000 publishes/s: CPU s per 100 k deliveries");
        report.add("P11", what, "", &peer.name, price);
        prices.push(price);
    }
    let Kind::Cartlink { program } = &stage.kind else { return Ok(()) };
    report.add("P11", "dearest / cheapest of them", "≤ 1.2", "cartlink", ratio(&prices));
    let (mut delays, mut prices) = (Vec::new(), Vec::new());
    for stored in STORED {
        let ours = with_past(stage, program, PAIRS, stored)?;
        let screens = ours.0.public_addr();
        let mut store = Store::of(ours.0, screens, ours.1)?;
        store.round(Some(500.0), PAIRS / 2)?;
        let round = store.round(Some(500.0), PAIRS)?;
        for (what, figures, figure) in [
            ("scan → answered and told, p50 ms", &mut delays, round.delay_ms(0.5)),
            ("CPU ms of the server per scan", &mut prices, round.cpu_ms()),
        ] {
            report.add("P11", format!("{stored} stored sessions, 500 scans/s: {what}"), "", "cartlink", figure);
            figures.push(figure);
        }
    }
    report.add("P11", "slowest / fastest of them", "≤ 1.2", "cartlink", ratio(&delays));
    report.add("P11", "most / least CPU of them", "≤ 1.2", "cartlink", ratio(&prices));
    Ok(())
}

/// P12: from the command to `/readyz`, with files that the system still has in memory.
pub fn cold_start(stage: &Stage, report: &mut Report, runs: u32) -> Result<(), String> {
    let Kind::Cartlink { program } = &stage.kind else { return Ok(()) };
    start_after(stage, program, report, STORED[0], "", runs)?;
    start_after(stage, program, report, STORED[2], "≤ 300", runs)
}

fn start_after(
    stage: &Stage,
    program: &Path,
    report: &mut Report,
    stored: usize,
    goal: &str,
    runs: u32,
) -> Result<(), String> {
    let (mut ours, _) = with_past(stage, program, 100, stored)?;
    for _ in 0..runs {
        ours = ours.crash_and_restart(stage, program, |_| Ok(()))?;
        let mut asker = Asker::new(ours.public_addr())?;
        let ready = |_| b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_vec();
        while asker.wave(1, ready).is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let took = ours.began.elapsed().as_secs_f64() * 1000.0;
        report.add("P12", format!("start to ready with {stored} stored sessions, ms"), goal, "cartlink", took);
    }
    Ok(())
}

fn ratio(figures: &[f64]) -> f64 {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    figures.iter().copied().fold(0.0, f64::max) / least
}

/// A furnished store, whose carts and customers have `stored` sessions behind them.
fn with_past(stage: &Stage, program: &Path, pairs: usize, stored: usize) -> Result<(Ours, Fleet), String> {
    let ours = ours::start(stage, program, &[])?;
    let fleet = Fleet::furnish(&ours, pairs, pairs)?;
    let ours = ours.crash_and_restart(stage, program, |folder| make_past(&folder.join("cartlink.db"), stored))?;
    Ok((ours, fleet))
}

fn make_past(file: &Path, stored: usize) -> Result<(), String> {
    let mut shell = Command::new("sqlite3")
        .args(["-bail".as_ref(), file.as_os_str()])
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|why| format!("P11 and P12 need sqlite3: {why}"))?;
    let text = include_str!("../stored.sql").replace(":count", &stored.to_string());
    let mut input = shell.stdin.take().expect("standard input is a pipe");
    input.write_all(text.as_bytes()).map_err(|why| why.to_string())?;
    drop(input);
    let made = shell.wait().map_err(|why| why.to_string())?;
    if made.success() { Ok(()) } else { Err("sqlite3 could not store the past".to_owned()) }
}

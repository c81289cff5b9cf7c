//! P1–P5: what open streams cost, and how fast an event reaches them.

use std::time::{Duration, Instant};

use crate::crowd::{Crowd, PUBLISHERS};
use crate::fleet::Fleet;
use crate::ours;
use crate::report::Report;
use crate::stage::{Kind, Stage};

const CHANNELS: u32 = 5_000;
const PER_CHANNEL: u32 = 2;

/// Screens that follow one cart in P1.
const SCREENS: u32 = 4;

/// P1: kilobytes per idle stream. Ours are carts' streams, signed in; a peer's are whatever it has.
pub fn idle(stage: &Stage, report: &mut Report) -> Result<(), String> {
    let carts = stage.idle_streams / SCREENS;
    let (peer, server) = match &stage.kind {
        Kind::Cartlink { program } => {
            let ours = ours::start(stage, program, &[])?;
            let fleet = Fleet::furnish(&ours, carts as usize, 0)?;
            // Started again, so that what furnishing left behind is not counted.
            let ours = ours.crash_and_restart(stage, program, |_| Ok(()))?;
            (ours.carts_peer(fleet.device_keys)?, ours.server)
        }
        _ => stage.set()?,
    };
    let before = server.pss_kib();
    let start = Instant::now();
    let mut crowd = Crowd::gather(&peer, carts, SCREENS)?;
    let took = start.elapsed().as_secs_f64();
    crowd.idle(Duration::from_secs(3))?;
    let streams = f64::from(carts * SCREENS);
    let each = (server.pss_kib() - before) as f64 / streams;
    report.add("P1", format!("KB (PSS) per idle stream, {streams} streams"), "≤ 12", &peer.name, each);
    report.add("P1", "streams opened per second", "", &peer.name, streams / took);
    Ok(())
}

/// P2 and P4: the cart shape at a steady rate.
pub fn steady(stage: &Stage, report: &mut Report, rate: f64, cpu_goal: &str) -> Result<(), String> {
    let (peer, server) = stage.set()?;
    let mut crowd = Crowd::gather(&peer, CHANNELS, PER_CHANNEL)?;
    crowd.publish_at(rate, Duration::from_secs(2))?;
    crowd.reset();
    let before = server.cpu();
    crowd.publish_at(rate, stage.time)?;
    let cpu = server.cpu() - before;
    let tally = &crowd.tally;
    let at = format!("at {rate:.0} publishes/s");
    report.add(
        "P2",
        format!("{at}: CPU s per 100 k deliveries"),
        cpu_goal,
        &peer.name,
        cpu * 100_000.0 / tally.delivered.max(1) as f64,
    );
    report.add(
        "P2",
        format!("{at}: % delivered"),
        "100",
        &peer.name,
        share(tally.delivered, (rate * stage.time.as_secs_f64()) as u64 * u64::from(PER_CHANNEL)),
    );
    let (p50_goal, p99_goal) = if rate <= 2_000.0 { ("≤ 1", "≤ 5") } else { ("", "") };
    report.add("P4", format!("{at}: publish → receipt p50 ms"), p50_goal, &peer.name, tally.delay_ms(0.5));
    report.add("P4", format!("{at}: publish → receipt p99 ms"), p99_goal, &peer.name, tally.delay_ms(0.99));
    Ok(())
}

/// P3: as many deliveries as the server's core can make.
pub fn most(stage: &Stage, report: &mut Report) -> Result<(), String> {
    let (peer, server) = stage.set()?;
    let mut crowd = Crowd::gather(&peer, CHANNELS, PER_CHANNEL)?;
    crowd.publish_most(PUBLISHERS, Duration::from_secs(1))?;
    crowd.reset();
    let (before, start) = (server.cpu(), Instant::now());
    crowd.publish_most(PUBLISHERS, stage.time)?;
    let seconds = start.elapsed().as_secs_f64();
    report.add("P3", "most deliveries/s, cart shape", "≥ 30 k", &peer.name, crowd.tally.delivered as f64 / seconds);
    report.add(
        "P3",
        "% of the server's core in use meanwhile",
        "",
        &peer.name,
        (server.cpu() - before) * 100.0 / seconds,
    );
    report.add("P3", "publishes that failed", "0", &peer.name, crowd.tally.failed as f64);
    Ok(())
}

/// P5: one channel with 5,000 listeners.
pub fn hot(stage: &Stage, report: &mut Report, rate: f64) -> Result<(), String> {
    let listeners = 5_000;
    let (peer, server) = stage.set()?;
    let mut crowd = Crowd::gather(&peer, 1, listeners)?;
    crowd.publish_at(rate, Duration::from_secs(2))?;
    crowd.reset();
    let before = server.cpu();
    crowd.publish_at(rate, stage.time)?;
    let cpu = server.cpu() - before;
    let tally = &crowd.tally;
    let at = format!("one channel × {listeners} at {rate:.0}/s");
    report.add(
        "P5",
        format!("{at}: CPU s per 100 k deliveries"),
        "≤ 0.9",
        &peer.name,
        cpu * 100_000.0 / tally.delivered.max(1) as f64,
    );
    report.add(
        "P5",
        format!("{at}: % delivered"),
        "100",
        &peer.name,
        share(tally.delivered, (rate * stage.time.as_secs_f64()) as u64 * u64::from(listeners)),
    );
    report.add("P5", format!("{at}: publish → receipt p99 ms"), "≤ 60", &peer.name, tally.delay_ms(0.99));
    Ok(())
}

fn share(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

//! What is left of P2 when there is no server: SQLite alone writes the same rows into the same tables, in groups of a
//! given size. No durable server on this machine and disk can take less for an event.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use rusqlite::Connection;

use crate::process::{cpu_of, pin_self};
use crate::report::Report;
use crate::unix_seconds;

const CHANNELS: u32 = 5_000;

/// Events per group size.
const EVENTS: u32 = 20_000;

/// Bytes of an event, as P2's have them.
const DATA: usize = 200;

/// Appends on the server's core, one COMMIT for each group, as durable as the server's.
pub fn sqlite(program: &Path, scratch: &Path, core: usize, report: &mut Report) -> Result<(), String> {
    let data = scratch.join("floor");
    let made = Command::new(program).arg("migrate").arg("--data").arg(&data).status();
    if !made.is_ok_and(|status| status.success()) {
        return Err("cartlink migrate made no database".to_owned());
    }
    pin_self(core);
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open(data.join("cartlink.db"))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -32_000)?;
        Ok(connection)
    };
    let connection = open().map_err(|why| why.to_string())?;
    connection.execute_batch(&channels()).map_err(|why| why.to_string())?;
    // The first fills tables and cache, and is not reported.
    for (turn, group) in [64, 1, 2, 4, 8, 16].into_iter().enumerate() {
        let (before, start) = (cpu_of(std::process::id()).unwrap_or_default(), Instant::now());
        append(&connection, group).map_err(|why| why.to_string())?;
        let cpu = cpu_of(std::process::id()).unwrap_or_default() - before;
        if turn > 0 {
            let what = format!("SQLite alone, {group} events a COMMIT");
            let each = f64::from(EVENTS);
            report.add("P2", format!("{what}: CPU s per 50 k events"), "", "floor", cpu * 50_000.0 / each);
            report.add("P2", format!("{what}: µs per event"), "", "floor", start.elapsed().as_secs_f64() * 1e6 / each);
        }
    }
    Ok(())
}

/// All channels, as their first events have made them.
fn channels() -> String {
    let made = (0..CHANNELS).map(|n| format!("('emitted/channel-{n}', 'a channel''s life', 0)"));
    format!("INSERT INTO channel_heads (channel, epoch, dropped) VALUES {}", made.collect::<Vec<_>>().join(", "))
}

fn append(connection: &Connection, group: u32) -> rusqlite::Result<()> {
    let (data, now) = ("x".repeat(DATA), i64::try_from(unix_seconds() * 1_000).unwrap_or_default());
    let mut head = connection.prepare_cached(
        "SELECT h.epoch, COALESCE((SELECT MAX(e.seq) FROM events e WHERE e.channel = h.channel), h.dropped) \
         FROM channel_heads h WHERE h.channel = ?1",
    )?;
    let mut event = connection.prepare_cached(
        "INSERT INTO events (channel, seq, audience, kind, data, created_at) VALUES (?1, ?2, '*', 'message', ?3, ?4)",
    )?;
    // Any order will do that goes from leaf to leaf: 2,657 and 5,000 have no common divisor.
    let mut channel = 0;
    for _ in 0..EVENTS / group {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        for _ in 0..group {
            channel = (channel + 2_657) % CHANNELS;
            let name = format!("emitted/channel-{channel}");
            let seq: i64 = head.query_row([&name], |row| row.get(1))?;
            event.execute((&name, seq + 1, &data, now))?;
        }
        connection.execute_batch("COMMIT")?;
    }
    Ok(())
}

//! `cartlink-load`: measures the rows P1–P12 and prints them as one table.
//!
//! The server runs on one core and this client on another. Each row starts a fresh server, warms it up and measures it;
//! rows are repeated, and with `--against` two servers take turns (A B A B) so that a noisy minute hurts both.

mod crowd;
mod fleet;
mod floor;
mod growth;
mod http;
mod net;
mod ours;
mod peer;
mod plan;
mod process;
mod report;
mod resume;
mod scan;
mod simulate;
mod sse;
mod stage;
mod streams;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::peer::{Peer, Templates};
use crate::report::Report;
use crate::stage::{Kind, Stage};

/// Measures cartlink by the rows of its goals, alone or in turns with another server.
#[derive(Parser)]
struct Args {
    /// The rows to measure; `all` stands for every one.
    #[arg(required = true)]
    rows: Vec<Row>,
    /// Take turns with this server; works for rows p1 to p5.
    #[arg(long)]
    against: Option<Against>,
    /// Times each row is run.
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Seconds each run is measured, after its warm-up.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Carts for plan and simulate.
    #[arg(long, default_value_t = 1_000_000)]
    carts: u32,
    #[command(flatten, next_help_heading = "Prices for plan")]
    prices: plan::Prices,
    #[command(flatten, next_help_heading = "For simulate")]
    simulated: simulate::Inputs,
    /// Streams for p1.
    #[arg(long, default_value_t = 19_000)]
    streams: u32,
    /// A cartlink binary to measure instead of building one.
    #[arg(long)]
    program: Option<PathBuf>,
    /// The cargo profile to build the server with; `bench-quick` builds faster.
    #[arg(long, default_value = "release")]
    profile: String,
    /// Core of the server; the client takes the next one.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// With `--against other`: its stream, with {channel} and {token} to fill in.
    #[arg(long, default_value = "")]
    url_template: String,
    /// With `--against other`: a header of each stream request (repeatable).
    #[arg(long)]
    header: Vec<String>,
    /// With `--against other`: where events are posted, with {channel}.
    #[arg(long, default_value = "")]
    publish_template: String,
    /// With `--against other`: what is posted, with {channel}, {data} and {frame:form}.
    #[arg(long, default_value = "{data}")]
    publish_body: String,
    /// With `--against other`: the content type of what is posted.
    #[arg(long, default_value = "text/plain")]
    publish_type: String,
    /// With `--against other`: the HS256 secret that signs {token}.
    #[arg(long, default_value = "")]
    secret: String,
    /// With `--against other`: the pid whose processor time and memory are read.
    #[arg(long, default_value_t = 0)]
    pid: u32,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Row {
    All,
    P1,
    P2,
    P3,
    P4,
    P5,
    P6,
    P7,
    P8,
    P9,
    P10,
    /// Of P2, what SQLite alone takes for the same rows.
    Floor,
    P11,
    P12,
    /// No measurement: what fleets up to `--carts` cost, reckoned from measured prices.
    Plan,
    /// No measurement but one: what many nodes' head checks and the return of many streams lead to.
    Simulate,
}

/// In the order they are run. P4 is measured where P2 is.
const ROWS: [Row; 12] =
    [Row::P1, Row::P2, Row::P3, Row::P5, Row::P6, Row::P7, Row::P8, Row::P9, Row::P10, Row::P11, Row::P12, Row::Floor];

#[derive(Clone, Copy, ValueEnum)]
enum Against {
    Nchan,
    Other,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("cartlink-load: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), String> {
    if args.rows == [Row::Plan] {
        let sizes = [1_000, 35_000, 350_000].into_iter().filter(|size| *size < args.carts).chain([args.carts]);
        sizes.for_each(|carts| plan::print(f64::from(carts), &args.prices));
        return Ok(());
    }
    if args.rows == [Row::Simulate] {
        return simulate::print(&args.simulated, args.carts);
    }
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let scratch = std::env::temp_dir().join(format!("cartlink-load-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).map_err(|why| why.to_string())?;
    let stages = stages(args, &scratch)?;
    process::pin_self(args.core + 1);
    let circumstances = report::circumstances();
    let mut report = Report::default();
    for turn in 1..=args.runs {
        for row in ROWS {
            for stage in stages.iter().filter(|_| args.wants(row)) {
                if let Err(why) = measure(row, stage, args, turn, &mut report) {
                    eprintln!("  turn {turn}: {why}");
                }
            }
        }
    }
    let _ = std::fs::remove_dir_all(&scratch);
    println!("{}\n{circumstances}; {} runs of {} s", report.table(), args.runs, args.seconds);
    Ok(())
}

impl Args {
    /// Flags that have the server use a PostgreSQL; `tests/load/run` starts one.
    fn postgres(&self) -> Result<Vec<String>, String> {
        let url = std::env::var("CARTLINK_TEST_POSTGRES")
            .map_err(|_| "P7 needs CARTLINK_TEST_POSTGRES: start it with tests/load/run".to_owned())?;
        Ok(vec!["--database-url".to_owned(), url])
    }

    /// Flags of every node of a cluster: a database of its own, for P7 has filled the other.
    fn cluster(&self) -> Result<Vec<String>, String> {
        let bus = std::env::var("CARTLINK_TEST_NATS")
            .map_err(|_| "P10 needs CARTLINK_TEST_NATS: start it with tests/load/run")?;
        let url = self.postgres()?.pop().unwrap_or_default();
        let made = Command::new("psql").args([&url, "-qc", "CREATE DATABASE p10"]).status();
        if !made.is_ok_and(|status| status.success()) {
            return Err("psql could not create a database for P10".to_owned());
        }
        let own = url.rsplit_once('/').map_or_else(String::new, |(server, _)| format!("{server}/p10"));
        let secret = "--master-secret=one secret that all nodes of this run share".to_owned();
        Ok(vec![format!("--database-url={own}"), format!("--bus={bus}"), secret])
    }

    fn wants(&self, row: Row) -> bool {
        self.rows.iter().any(|asked| *asked == row || *asked == Row::All || (*asked == Row::P4 && row == Row::P2))
    }
}

fn measure(row: Row, stage: &Stage, args: &Args, turn: u32, report: &mut Report) -> Result<(), String> {
    match row {
        Row::P1 => streams::idle(stage, report),
        Row::P2 | Row::P4 => {
            streams::steady(stage, report, 2_000.0, "≤ 6")?;
            streams::steady(stage, report, 5_000.0, "≤ 5")
        }
        Row::P3 => streams::most(stage, report),
        Row::P5 => {
            streams::hot(stage, report, 20.0)?;
            streams::hot(stage, report, 40.0)
        }
        // A furnished store is used for all its runs.
        Row::P6 if turn == 1 => scan::main_job(stage, report, "P6", &[], args.runs),
        Row::P7 if turn == 1 => scan::main_job(stage, report, "P7", &args.postgres()?, args.runs),
        Row::P8 if turn == 1 => scan::pictures(stage, report, args.runs),
        Row::P9 => resume::crash(stage, report),
        Row::P10 if turn == 1 => scan::across_nodes(stage, report, &args.cluster()?, args.runs),
        Row::Floor => {
            let Kind::Cartlink { program } = &stage.kind else { return Ok(()) };
            let measured = floor::sqlite(program, &stage.scratch, args.core, report);
            process::pin_self(args.core + 1);
            measured
        }
        Row::P11 => growth::flat(stage, report),
        Row::P12 if turn == 1 => growth::cold_start(stage, report, args.runs),
        Row::P6 | Row::P7 | Row::P8 | Row::P10 | Row::P12 | Row::Plan | Row::Simulate | Row::All => Ok(()),
    }
}

fn stages(args: &Args, scratch: &std::path::Path) -> Result<Vec<Stage>, String> {
    let stage = |kind| Stage {
        kind,
        server_core: args.core,
        time: Duration::from_secs(args.seconds),
        idle_streams: args.streams,
        scratch: scratch.to_owned(),
    };
    let program = match &args.program {
        Some(program) => program.clone(),
        None => build(&args.profile)?,
    };
    let mut stages = vec![stage(Kind::Cartlink { program })];
    match args.against {
        Some(Against::Nchan) => stages.push(stage(Kind::Nchan)),
        Some(Against::Other) => {
            let peer = Peer::new(&Templates {
                name: "other",
                stream_url: &args.url_template,
                headers: &args.header,
                publish_url: &args.publish_template,
                publish_body: &args.publish_body,
                publish_type: &args.publish_type,
                secret: &args.secret,
            })?;
            stages.push(stage(Kind::Other { peer: Box::new(peer), pid: args.pid }));
        }
        None => {}
    }
    Ok(stages)
}

/// Builds the server the way it is shipped and gives its path.
fn build(profile: &str) -> Result<PathBuf, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let built = Command::new(cargo).args(["build", "--locked", "--bin", "cartlink", "--profile", profile]).status();
    if !built.is_ok_and(|status| status.success()) {
        return Err("the server did not build".to_owned());
    }
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    Ok(PathBuf::from(target).join(profile).join("cartlink"))
}

/// Seconds since 1970, for tokens that other back ends would mint.
#[expect(clippy::disallowed_methods, reason = "a client of the server has no Clock but the machine's")]
pub fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

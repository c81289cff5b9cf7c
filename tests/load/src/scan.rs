//! P6–P8 and P10: the main job. A phone posts the code it has read; it is answered, and the cart's screen is told.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::Events;

use crate::fleet::{Asker, Fleet, get, post_json, text};
use crate::net::{Net, What};
use crate::ours::{self, Ours};
use crate::process;
use crate::report::Report;
use crate::stage::{Kind, Stage};

/// Carts, and as many customers: one scan each per round.
pub const PAIRS: usize = 4_000;
/// Phones that wait for an answer at the same time, when as many scans as possible are asked for.
const PHONES: usize = 128;

/// A store whose screens are all listening.
pub struct Store {
    ours: Ours,
    /// Where the screens are.
    screens: SocketAddr,
    fleet: Fleet,
    net: Net,
    events: Events,
    asker: Asker,
}

/// One round: every customer scanned one cart.
pub struct Round {
    seconds: f64,
    /// Scan sent → answered and told, in microseconds.
    delays: Histogram<u64>,
    /// Answered → told, in microseconds.
    between: Histogram<u64>,
    cpu: f64,
    /// Seconds of all cores.
    busy: f64,
    idle_percent: f64,
}

impl Round {
    /// Milliseconds within which this share of the scans was answered and told.
    pub fn delay_ms(&self, quantile: f64) -> f64 {
        self.delays.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// Milliseconds of processor time that the server spent on each.
    pub fn cpu_ms(&self) -> f64 {
        self.cpu * 1000.0 / self.delays.len() as f64
    }
}

/// When the two halves of one scan were over.
#[derive(Clone, Copy, Default)]
struct Halves {
    due: Option<Instant>,
    answered: Option<Instant>,
    told: Option<Instant>,
}

/// P6 on SQLite, P7 with flags that name a PostgreSQL.
pub fn main_job(
    stage: &Stage,
    report: &mut Report,
    row: &'static str,
    database: &[String],
    runs: u32,
) -> Result<(), String> {
    let Kind::Cartlink { program } = &stage.kind else {
        return Ok(());
    };
    let (rate_goal, p50_goal, p99_goal) =
        if row == "P6" { ("≥ 3,000", "≤ 2", "≤ 10") } else { ("≥ 2,500", "≤ 3", "≤ 12") };
    let ours = ours::start(stage, program, database)?;
    let screens = ours.public_addr();
    let mut store = Store::open(ours, screens)?;
    store.round(None, PAIRS / 2)?;
    for _ in 0..runs {
        let most = store.round(None, PAIRS)?;
        let per_scan = |seconds: f64| seconds * 1000.0 / PAIRS as f64;
        report.add(row, "most scans/s", rate_goal, "cartlink", PAIRS as f64 / most.seconds);
        report.add(row, "CPU ms of the server per scan", "", "cartlink", per_scan(most.cpu));
        // With the database and the phones, which share the machine.
        report.add(row, "CPU ms of the whole machine per scan", "", "cartlink", per_scan(most.busy));
        report.add(row, "% of the machine that was idle", "", "cartlink", most.idle_percent);
        let steady = store.round(Some(500.0), PAIRS)?;
        report.add(row, "at 500/s: scan → answered and told, p50 ms", p50_goal, "cartlink", steady.delay_ms(0.5));
        report.add(row, "at 500/s: scan → answered and told, p99 ms", p99_goal, "cartlink", steady.delay_ms(0.99));
    }
    Ok(())
}

/// P10: phones scan on one node while the screens are on another, and a third has nobody who follows anything.
pub fn across_nodes(stage: &Stage, report: &mut Report, cluster: &[String], runs: u32) -> Result<(), String> {
    let Kind::Cartlink { program } = &stage.kind else {
        return Ok(());
    };
    let scanned = ours::start(stage, program, cluster)?;
    let screens = ours::join(stage, program, cluster)?;
    let idle = ours::join(stage, program, cluster)?;
    let mut store = Store::open(scanned, screens.public_addr())?;
    store.round(Some(500.0), PAIRS / 2)?;
    let rest = at_rest(&idle);
    for _ in 0..runs {
        let (began, told, other) = (Instant::now(), screens.server.cpu(), idle.server.cpu());
        let round = store.round(Some(500.0), PAIRS)?;
        // With each scan a code is drawn before and a session ended after it: two events.
        let (told, other) = (screens.server.cpu() - told, idle.server.cpu() - other);
        let other = other - rest * began.elapsed().as_secs_f64();
        let quantile = |histogram: &Histogram<u64>, at| histogram.value_at_quantile(at) as f64 / 1000.0;
        for (what, goal, value) in [
            ("at 500/s: answered by one node → told by another, p50 ms", "≤ 2", quantile(&round.between, 0.5)),
            ("at 500/s: answered by one node → told by another, p99 ms", "≤ 15", quantile(&round.between, 0.99)),
            ("at 500/s: scan on one node → told by another, p50 ms", "", quantile(&round.delays, 0.5)),
            ("at 500/s: scan on one node → told by another, p99 ms", "", quantile(&round.delays, 0.99)),
            ("CPU ms per event of a node that tells it to a screen", "", told * 1000.0 / (2 * PAIRS) as f64),
            (
                "CPU ms per event of a node without listeners, beyond what it costs at rest",
                "0",
                other * 1000.0 / (2 * PAIRS) as f64,
            ),
            ("CPU ms per second of that node at rest", "", rest * 1000.0),
        ] {
            report.add("P10", what, goal, "cartlink", value);
        }
    }
    Ok(())
}

/// CPU seconds per second of a node while nothing happens anywhere.
fn at_rest(node: &Ours) -> f64 {
    let (began, before) = (Instant::now(), node.server.cpu());
    std::thread::sleep(Duration::from_secs(10));
    (node.server.cpu() - before) / began.elapsed().as_secs_f64()
}

/// P8: a new code as a picture, asked for by the cart.
pub fn pictures(stage: &Stage, report: &mut Report, runs: u32) -> Result<(), String> {
    let Kind::Cartlink { program } = &stage.kind else {
        return Ok(());
    };
    let ours = ours::start(stage, program, &[])?;
    let carts = 100;
    let fleet = Fleet::furnish(&ours, carts, 0)?;
    let mut asker = Asker::new(ours.public_addr())?;
    for _ in 0..runs {
        for (suffix, goal) in [("svg", "≤ 0.6"), ("png", "≤ 0.8")] {
            let count = 3_000;
            let ask = |n: usize| {
                get(&format!("/customer-session/qr/{}.{suffix}", n % carts), &fleet.device_keys[n % carts], "*/*")
            };
            asker.wave_of(carts, 4, ask)?;
            let before = ours.server.cpu();
            asker.wave_of(count, 4, ask)?;
            let cpu = ours.server.cpu() - before;
            report.add(
                "P8",
                format!("new code and {} picture, CPU ms", suffix.to_uppercase()),
                goal,
                "cartlink",
                cpu * 1000.0 / count as f64,
            );
        }
    }
    Ok(())
}

impl Store {
    /// Furnishes the store and opens every cart's screen.
    pub fn open(ours: Ours, screens: SocketAddr) -> Result<Self, String> {
        let fleet = Fleet::furnish(&ours, PAIRS, PAIRS)?;
        Self::of(ours, screens, fleet)
    }

    /// As [`open`](Self::open), where the store is furnished already.
    pub fn of(ours: Ours, screens: SocketAddr, fleet: Fleet) -> Result<Self, String> {
        let net = Net::new().map_err(|why| why.to_string())?;
        let asker = Asker::new(ours.public_addr())?;
        let mut store = Self { ours, screens, fleet, net, events: Events::with_capacity(4096), asker };
        store.open_screens()?;
        Ok(store)
    }

    fn open_screens(&mut self) -> Result<(), String> {
        let (mut asked, mut open, mut refused) = (0, 0, 0);
        while open < PAIRS {
            while asked < PAIRS && asked - open < 200 {
                let request = get(&format!("/sse/{asked}"), &self.fleet.device_keys[asked], "text/event-stream");
                self.net.open(self.screens, &request, asked as u32).map_err(|why| why.to_string())?;
                asked += 1;
            }
            self.net
                .turn(Duration::from_millis(100), &mut self.events, &mut |what| match what {
                    What::Opened { status: 200, .. } => open += 1,
                    What::Opened { .. } | What::Ended { .. } => refused += 1,
                    _ => {}
                })
                .map_err(|why| why.to_string())?;
            if refused > 0 {
                return Err(format!("{refused} of {asked} screens were refused"));
            }
        }
        Ok(())
    }

    /// Codes are drawn before and sessions ended after; only the scans are timed.
    pub fn round(&mut self, rate: Option<f64>, scans: usize) -> Result<Round, String> {
        let Self { fleet, asker, .. } = self;
        let codes = asker
            .wave(scans, |n| get(&format!("/customer-session/qr/{n}"), &fleet.device_keys[n], "application/json"))?;
        let requests: Vec<Vec<u8>> = codes
            .iter()
            .zip(&fleet.customers)
            .map(|(code, customer)| {
                post_json(
                    "/customer-session/scan-qr",
                    customer,
                    &format!(r#"{{"token":{}}}"#, String::from_utf8_lossy(code)),
                )
            })
            .collect();
        let (round, sessions) = self.scan(&requests, rate)?;
        let Self { fleet, asker, .. } = self;
        asker.wave(scans, |n| post_json(&format!("/customer-session/{}/end", sessions[n]), &fleet.customers[n], ""))?;
        // What the screens were told of the ends is read before the next round.
        self.net.turn(Duration::from_millis(50), &mut self.events, &mut |_| {}).map_err(|why| why.to_string())?;
        Ok(round)
    }

    fn scan(&mut self, requests: &[Vec<u8>], rate: Option<f64>) -> Result<(Round, Vec<String>), String> {
        let mut halves = vec![Halves::default(); requests.len()];
        let mut sessions = vec![String::new(); requests.len()];
        let mut refusal = None;
        let (before, machine, start) = (self.ours.server.cpu(), process::machine(), Instant::now());
        let (mut next, mut answered, mut told) = (0, 0, 0);
        let mut last = start;
        while answered < requests.len() || told < requests.len() {
            let due =
                |n: usize| rate.map_or_else(Instant::now, |rate| start + Duration::from_secs_f64(n as f64 / rate));
            while next < requests.len() && due(next) <= Instant::now() && self.net.capacity(PHONES) > 0 {
                halves[next].due = Some(due(next));
                self.net.ask(self.ours.public_addr(), &requests[next], next as u64).map_err(|why| why.to_string())?;
                next += 1;
            }
            let awake = rate.is_some() && next < requests.len();
            self.net
                .turn(if awake { Duration::ZERO } else { Duration::from_millis(10) }, &mut self.events, &mut |what| {
                    match what {
                        What::Answered { tag, status: 200, body, at } => {
                            halves[tag as usize].answered = Some(at);
                            sessions[tag as usize] = text(body, "session_id").unwrap_or_default();
                            (answered, last) = (answered + 1, at);
                        }
                        What::Answered { status, body, .. } => {
                            refusal = Some(format!("{status}: {}", String::from_utf8_lossy(body)))
                        }
                        What::Event { stream, event, at }
                            if is_start(event.data) && halves[stream as usize].due.is_some() =>
                        {
                            halves[stream as usize].told = Some(at);
                            (told, last) = (told + 1, at);
                        }
                        What::Failed | What::Ended { .. } => refusal = Some("a connection broke".to_owned()),
                        _ => {}
                    }
                })
                .map_err(|why| why.to_string())?;
            if let Some(refusal) = refusal {
                return Err(format!("a scan was refused with {refusal}"));
            }
            if last.elapsed() > Duration::from_secs(10) {
                return Err(format!(
                    "{answered} scans answered and {told} told of {next}, then nothing for ten seconds"
                ));
            }
        }
        let after = process::machine();
        let (busy, idle) = (after.0 - machine.0, after.1 - machine.1);
        let round = Round {
            seconds: last.duration_since(start).as_secs_f64(),
            delays: histogram(&halves, |due, answered, told| answered.max(told).saturating_duration_since(due)),
            between: histogram(&halves, |_, answered, told| told.saturating_duration_since(answered)),
            cpu: self.ours.server.cpu() - before,
            busy,
            idle_percent: 100.0 * idle / (busy + idle),
        };
        Ok((round, sessions))
    }
}

fn is_start(data: &[u8]) -> bool {
    memchr::memmem::find(data, b"\"session-started\"").is_some()
}

fn histogram(halves: &[Halves], of: impl Fn(Instant, Instant, Instant) -> Duration) -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are sound");
    for half in halves {
        if let (Some(due), Some(answered), Some(told)) = (half.due, half.answered, half.told) {
            histogram.saturating_record(of(due, answered, told).as_micros() as u64);
        }
    }
    histogram
}

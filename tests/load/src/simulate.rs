//! A simulation of what no test machine holds: many nodes that compare heads with one database, and the return of all
//! the streams of a node that is gone.
//!
//! Nodes, database and streams are queues: whoever comes waits for a free core, in the order of coming. Prices are
//! inputs, and printed with what comes out; that of a head check is measured where a PostgreSQL is at hand. What is not
//! in it: network delays, locks, and a database's bad days.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::process::Command;

use clap::Args;

/// Channels one head check asks for, as in the program.
const CHUNK: f64 = 1000.0;

/// Between two looks at the log while the bus is not whole, in ms.
const POLL: f64 = 500.0;

/// What is simulated, and at which prices.
#[derive(Args, Debug, Clone)]
pub struct Inputs {
    /// Nodes.
    #[arg(long, default_value_t = 29)]
    nodes: usize,
    /// Open streams per cart: its screen, and the phone of whoever shops.
    #[arg(long, default_value_t = 1.7)]
    per_cart: f64,
    /// Seconds between two head checks while all is well (`--heartbeat`).
    #[arg(long, default_value_t = 15.0)]
    heartbeat: f64,
    /// Databases the stores are divided over.
    #[arg(long, default_value_t = 3)]
    databases: usize,
    /// Cores of each database.
    #[arg(long, default_value_t = 8)]
    database_cores: usize,
    /// Share of those that the stores' own work takes.
    #[arg(long, default_value_t = 0.5)]
    busy: f64,
    /// Cores of each node.
    #[arg(long, default_value_t = 2)]
    node_cores: usize,
    /// Database ms per head check of a thousand channels, or of what a thousand streams live by. Measured if not given.
    #[arg(long)]
    head_ms: Option<f64>,
    /// Database ms per stream that is opened: credential, cart, head.
    #[arg(long, default_value_t = 0.3)]
    open_ms: f64,
    /// CPU ms of a node per stream that is opened.
    #[arg(long, default_value_t = 0.4)]
    open_cpu_ms: f64,
}

/// Prints what the inputs lead to.
pub fn print(inputs: &Inputs, carts: u32) -> Result<(), String> {
    let (head_ms, source) = match inputs.head_ms {
        Some(given) => (given, "given"),
        None => (measured_head_check()?, "measured here"),
    };
    let streams = f64::from(carts) * inputs.per_cart / inputs.databases as f64;
    let nodes = (inputs.nodes / inputs.databases).max(2);
    println!(
        "inputs: {carts} carts × {} streams over {} nodes and {} databases: {nodes} nodes and {streams:.0} streams per database;\n\
         \x20 a database of {} cores, {:.0} % busy with the stores' own work; nodes of {} cores; heartbeat {} s;\n\
         \x20 {head_ms:.2} ms per head check of 1,000 ({source}); per opened stream {} ms of the database and {} ms of a node",
        inputs.per_cart,
        inputs.nodes,
        inputs.databases,
        inputs.database_cores,
        inputs.busy * 100.0,
        inputs.node_cores,
        inputs.heartbeat,
        inputs.open_ms,
        inputs.open_cpu_ms,
    );
    // Each look asks for heads, for what streams live by, and for the time.
    let queries = (2.0 * (streams / nodes as f64 / CHUNK).ceil()) as usize + 1;
    for (what, pause) in [
        ("bus whole: a look per heartbeat", (inputs.heartbeat * 800.0, inputs.heartbeat * 1000.0)),
        ("bus down: a look every 0.5 s", (POLL, POLL)),
    ] {
        let looks = looks(inputs, nodes, queries, head_ms, pause);
        println!(
            "{what}: {queries} queries per look and node, look p50 {:.0} ms, p99 {:.0} ms; the database {:.0} % busy with them; \
             an event nobody was told of is found after {:.1} s at most",
            looks.took.p(0.5),
            looks.took.p(0.99),
            looks.load * 100.0,
            (pause.1 + looks.took.p(1.0)) / 1000.0,
        );
    }
    let each = (streams / nodes as f64) as usize;
    let all = streams as usize;
    for (what, coming, survivors, wait) in [
        ("a node dies, its clients return after `retry` (2–5 s)", each, nodes - 1, (2_000.0, 5_000.0)),
        ("a node is restarted, goodbyes over 3.5 s and retry 1–8 s", each, nodes - 1, (1_000.0, 11_500.0)),
        ("all streams of all nodes return at once, retry 2–5 s", all, nodes, (2_000.0, 5_000.0)),
    ] {
        let waits = returns(inputs, coming, survivors, wait);
        println!(
            "{what}: {coming} streams on {survivors} nodes, waiting for their opening p50 {:.0} ms, p99 {:.0} ms; the last is back after {:.1} s",
            waits.waited.p(0.5),
            waits.waited.p(0.99),
            waits.last / 1000.0,
        );
    }
    Ok(())
}

/// Cores that take whoever comes next, in the order of coming.
struct Cores(BinaryHeap<Reverse<Moment>>);

/// A time in ms that can be ordered.
#[derive(Clone, Copy)]
struct Moment(f64);

impl PartialEq for Moment {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Moment {}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Moment {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Cores {
    fn new(number: usize) -> Self {
        Self((0..number).map(|_| Reverse(Moment(0.0))).collect())
    }

    /// Work of `cost` that comes at `at`: when it is done.
    fn work(&mut self, at: f64, cost: f64) -> f64 {
        let free = self.0.pop().map_or(0.0, |Reverse(free)| free.0);
        let done = at.max(free) + cost;
        self.0.push(Reverse(Moment(done)));
        done
    }
}

/// Ordered measurements.
struct Sorted(Vec<f64>);

impl Sorted {
    fn of(mut all: Vec<f64>) -> Self {
        all.sort_by(f64::total_cmp);
        Self(all)
    }

    fn p(&self, share: f64) -> f64 {
        self.0.get(((self.0.len() - 1) as f64 * share) as usize).copied().unwrap_or_default()
    }
}

/// The database's cores that are left, and how much longer a query takes on a share of one that is not whole.
fn database(inputs: &Inputs) -> (Cores, f64) {
    let left = (inputs.database_cores as f64 * (1.0 - inputs.busy)).max(0.1);
    let whole = left.ceil();
    (Cores::new(whole as usize), whole / left)
}

struct Looks {
    took: Sorted,
    load: f64,
}

/// Ten minutes of nodes that look at the log: each asks one query after the other, pauses, and looks again.
fn looks(inputs: &Inputs, nodes: usize, queries: usize, head_ms: f64, pause: (f64, f64)) -> Looks {
    const SPAN: f64 = 600_000.0;
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut cores, slower) = database(inputs);
    let mut coming: BinaryHeap<Reverse<(Moment, usize)>> =
        (0..nodes).map(|node| Reverse((Moment(dice.between(pause)), node))).collect();
    let mut left = vec![queries; nodes];
    let mut began = vec![None; nodes];
    let (mut took, mut worked) = (Vec::new(), 0.0);
    while let Some(Reverse((Moment(at), node))) = coming.pop() {
        if at > SPAN {
            break;
        }
        let start = *began[node].get_or_insert(at);
        worked += head_ms;
        let done = cores.work(at, head_ms * slower);
        left[node] -= 1;
        if left[node] > 0 {
            coming.push(Reverse((Moment(done), node)));
            continue;
        }
        took.push(done - start);
        (left[node], began[node]) = (queries, None);
        coming.push(Reverse((Moment(done + dice.between(pause)), node)));
    }
    Looks { took: Sorted::of(took), load: worked / SPAN / inputs.database_cores as f64 }
}

struct Returns {
    waited: Sorted,
    last: f64,
}

/// Streams that come back to the nodes that are left, each after its own wait.
fn returns(inputs: &Inputs, coming: usize, nodes: usize, wait: (f64, f64)) -> Returns {
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let mut arrivals: Vec<f64> = (0..coming).map(|_| dice.between(wait)).collect();
    arrivals.sort_by(f64::total_cmp);
    let mut cores: Vec<Cores> = (0..nodes).map(|_| Cores::new(inputs.node_cores)).collect();
    let on_nodes: Vec<(f64, f64)> = arrivals
        .iter()
        .enumerate()
        .map(|(at, arrival)| (cores[at % nodes].work(*arrival, inputs.open_cpu_ms), *arrival))
        .collect();
    let mut asking = on_nodes;
    asking.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (mut database, slower) = database(inputs);
    let done: Vec<(f64, f64)> =
        asking.iter().map(|(at, arrival)| (database.work(*at, inputs.open_ms * slower), *arrival)).collect();
    let last = done.iter().map(|(done, _)| *done).fold(0.0, f64::max);
    Returns { waited: Sorted::of(done.iter().map(|(done, arrival)| done - arrival).collect()), last }
}

/// Chance that falls the same way in each run.
struct Dice(u64);

impl Dice {
    fn between(&mut self, (least, most): (f64, f64)) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        least + (most - least) * (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The database's time for a head check of a thousand among a hundred thousand channels, in ms.
fn measured_head_check() -> Result<f64, String> {
    let url = std::env::var("CARTLINK_TEST_POSTGRES")
        .map_err(|_| "give --head-ms, or have it measured: tests/load/run simulate".to_owned())?;
    // As the program asks it, a hundred times; other thousands each time.
    let script = "SET client_min_messages = warning; \
        CREATE TEMP TABLE channel_heads (channel TEXT PRIMARY KEY, epoch TEXT NOT NULL, seq BIGINT NOT NULL, dropped BIGINT NOT NULL); \
        INSERT INTO channel_heads SELECT 'cart/' || n, 'epoch', n, 0 FROM generate_series(1, 100000) n; ANALYZE channel_heads; \
        CREATE TEMP TABLE asked AS SELECT i, (SELECT json_agg('cart/' || (1 + (i * 7919 + j * 97) % 100000)) FROM generate_series(1, 1000) j)::text AS names FROM generate_series(1, 100) i; \
        CREATE TEMP TABLE told (ms DOUBLE PRECISION); \
        DO $$ DECLARE began TIMESTAMPTZ; one RECORD; sum BIGINT; BEGIN began := clock_timestamp(); \
          FOR one IN SELECT names FROM asked LOOP \
            SELECT sum(seq) INTO sum FROM (SELECT channel, seq FROM channel_heads WHERE channel IN (SELECT json_array_elements_text(one.names::json))) heads; \
          END LOOP; INSERT INTO told VALUES (extract(epoch FROM clock_timestamp() - began) * 1000 / 100); END $$; \
        SELECT ms FROM told";
    let output = Command::new("psql").args([&url, "-qAtc", script]).output().map_err(|why| format!("psql: {why}"))?;
    let told = String::from_utf8_lossy(&output.stdout);
    let last = told.lines().rev().find_map(|line| line.trim().parse().ok());
    last.ok_or_else(|| format!("psql could not measure a head check: {}", String::from_utf8_lossy(&output.stderr)))
}

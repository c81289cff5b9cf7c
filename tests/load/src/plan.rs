//! What a fleet of carts costs, reckoned from measured prices: for sizes no test machine holds.
//!
//! Prices are what the rows named beside them print, in README's *Figures* or on your machines. The plan is arithmetic on
//! purpose: every number in it can be followed to a row.

use clap::Args;

/// What carts do at the busiest hour.
struct Habits {
    /// Sessions a cart sees in an hour.
    sessions: f64,
    /// Transactions of one session: scan, pick-up, two signs of activity, checkout started and completed.
    transactions: f64,
    /// Events of one session, each committed, published and told.
    events: f64,
    /// Streams per cart: its screen, and the phone of whoever shops with it.
    streams: f64,
    /// Seconds between two codes a free cart draws, and the share of carts that are free.
    draws: (f64, f64),
}

const HABITS: Habits = Habits { sessions: 2.0, transactions: 6.0, events: 5.0, streams: 1.7, draws: (40.0, 0.3) };

/// What things cost, and the row that says so.
#[derive(Args, Debug, Clone)]
pub struct Prices {
    /// KB per open stream (P1), the kernel's socket buffers included.
    #[arg(long, default_value_t = 8.0)]
    stream_kb: f64,
    /// CPU ms of a node per scan (P7); other transactions are no dearer.
    #[arg(long, default_value_t = 0.4)]
    transaction_ms: f64,
    /// CPU ms to tell one event to one stream (P2).
    #[arg(long, default_value_t = 0.06)]
    delivery_ms: f64,
    /// CPU ms per code with its picture (P8).
    #[arg(long, default_value_t = 0.6)]
    code_ms: f64,
    /// Transactions per second one PostgreSQL takes (P7), of which half is planned with.
    #[arg(long, default_value_t = 1_900.0)]
    database: f64,
    /// Messages per second one NATS server carries with room to spare.
    #[arg(long, default_value_t = 500_000.0)]
    messages: f64,
}

/// Streams one node is given; its cap is higher, so that it can take over a dead one's.
const STREAMS_PER_NODE: f64 = 60_000.0;

/// Prints the plan for so many carts.
pub fn print(carts: f64, prices: &Prices) {
    let sessions = carts * HABITS.sessions / 3600.0;
    let transactions = sessions * HABITS.transactions + presence(carts);
    let events = sessions * HABITS.events;
    let streams = carts * HABITS.streams;
    let codes = carts * HABITS.draws.1 / HABITS.draws.0;
    let cpu =
        (transactions * prices.transaction_ms + events * 2.0 * prices.delivery_ms + codes * prices.code_ms) / 1000.0;
    let nodes = (streams / STREAMS_PER_NODE).max(cpu / 0.5).ceil().max(1.0);
    let databases = (transactions / (prices.database / 2.0)).ceil().max(1.0);
    println!(
        "{carts:>9.0} carts: {sessions:>6.1} sessions/s, {transactions:>7.0} transactions/s, {events:>6.0} events/s, {streams:>9.0} streams | \
         {cpu:>5.1} cores and {:>5.1} GB over {nodes:.0} node(s), {databases:.0} database(s), bus at {:.2} %",
        streams * prices.stream_kb / 1e6,
        events * 100.0 / prices.messages,
    );
}

/// Open streams are noted in batches of five hundred carts, every ten seconds; heartbeats without news every fifteen.
fn presence(carts: f64) -> f64 {
    carts / 500.0 / 10.0 + carts / 500.0 / 15.0
}

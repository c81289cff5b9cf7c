//! The bus over NATS core: at most once, in no hurry to be more, for the log is the truth.
//!
//! Subjects are `cartlink.<cluster>.p.<partition>` for events, and `cartlink.<cluster>.all` for what
//! every node must hear: revocations, and each node's beacon. The beacon says once a second that the
//! node is there and how often it could not tell something; a node that falls silent without a goodbye,
//! or has missed telling, makes the others look into the log.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_nats::connection::State as Connection;
use async_nats::{Client, ConnectOptions, Event as Happening, ServerAddr, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{Bus, Partition, partition};
use crate::app::App;
use crate::broadcast::streams::Owner;
use crate::config::Config;
use crate::event::Event;

/// Messages on their way out: what a second's burst makes. More are dropped, and the others look into the log.
const OUTBOX: usize = 16 * 1024;

/// Time between two beacons.
const BEACON: Duration = Duration::from_secs(1);

/// A node that was silent this long is cut off, or dead with something untold.
const SILENT: Duration = Duration::from_millis(3500);

/// A node that was silent this long is gone: what it may write in spite of that is found at each heartbeat.
const GONE: Duration = Duration::from_secs(300);

/// What finds a server that no longer answers, in three of them.
const PING: Duration = Duration::from_secs(2);

/// The bus, as the rest of the program holds it.
pub struct Nats {
    outbox: mpsc::Sender<Letter>,
    orders: mpsc::UnboundedSender<Order>,
    state: Arc<State>,
}

/// What the background is to do for it.
pub struct Work {
    outbox: mpsc::Receiver<Letter>,
    orders: mpsc::UnboundedReceiver<Order>,
    state: Arc<State>,
}

enum Letter {
    Event(Partition, Bytes),
    Note(Bytes),
    Goodbye(oneshot::Sender<()>),
}

enum Order {
    Listen(Partition),
    Leave(Partition),
}

/// What every node hears.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Note {
    /// This node is there; `missed` grows whenever it could not tell something.
    Beacon { node: String, missed: u64 },
    /// This node stops on purpose.
    Goodbye { node: String },
    /// What these streams live by has ended, but for those that the key of this hash has opened.
    Revoked {
        owner: Owner,
        #[serde(default)]
        but: Option<String>,
    },
}

struct State {
    node: String,
    client: OnceLock<Client>,
    missed: AtomicU64,
    doubt: Arc<Notify>,
    peers: Mutex<HashMap<String, Peer>>,
    /// When it was last said that messages come faster than they are read.
    slow: Mutex<Option<Instant>>,
}

struct Peer {
    heard: Instant,
    missed: u64,
}

impl Nats {
    /// A bus that is not connected yet, and the work that connects it.
    pub fn new(doubt: Arc<Notify>) -> (Self, Work) {
        let (outbox, letters) = mpsc::channel(OUTBOX);
        let (orders, ordered) = mpsc::unbounded_channel();
        let state = Arc::new(State {
            node: crate::token::hex(&crate::token::random::<8>()),
            client: OnceLock::new(),
            missed: AtomicU64::new(0),
            doubt,
            peers: Mutex::default(),
            slow: Mutex::default(),
        });
        let work = Work { outbox: letters, orders: ordered, state: Arc::clone(&state) };
        (Self { outbox, orders, state }, work)
    }

    fn send(&self, letter: Letter) {
        if self.outbox.try_send(letter).is_err() {
            self.state.missed();
        }
    }
}

impl Bus for Nats {
    fn publish(&self, events: &[Event]) {
        for event in events {
            match serde_json::to_vec(event) {
                Ok(body) => self.send(Letter::Event(partition(&event.channel), body.into())),
                Err(_) => self.state.missed(),
            }
        }
    }

    fn revoke(&self, owner: &Owner, but: Option<&str>) {
        let revoked = Note::Revoked { owner: owner.clone(), but: but.map(str::to_owned) };
        self.send(Letter::Note(note(&revoked)));
    }

    fn doubt(&self) {
        self.state.missed();
    }

    fn listen(&self, partition: Partition) {
        // Only a program that ends has nobody to take orders.
        let _gone = self.orders.send(Order::Listen(partition));
    }

    fn leave(&self, partition: Partition) {
        let _gone = self.orders.send(Order::Leave(partition));
    }

    fn is_whole(&self) -> bool {
        let mut peers = self.state.peers();
        peers.retain(|_, peer| peer.heard.elapsed() < GONE);
        self.state.connected() && peers.values().all(|peer| peer.heard.elapsed() < SILENT)
    }

    fn say_goodbye(&self) -> oneshot::Receiver<()> {
        let (said, hearing) = oneshot::channel();
        self.send(Letter::Goodbye(said));
        hearing
    }
}

fn note(note: &Note) -> Bytes {
    serde_json::to_vec(note).expect("a note is plain data").into()
}

impl State {
    fn peers(&self) -> std::sync::MutexGuard<'_, HashMap<String, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connected(&self) -> bool {
        self.client.get().is_some_and(|client| client.connection_state() == Connection::Connected)
    }

    /// Something could not be told: the next beacon that gets through says so.
    fn missed(&self) {
        self.missed.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("cartlink_bus_missed").increment(1);
    }

    fn happened(&self, happening: &Happening) {
        match happening {
            Happening::Connected => tracing::info!("the bus is connected"),
            Happening::Disconnected => {
                tracing::warn!("the bus is not connected; polling the log until it is");
                // What was last handed to the connection may never have left.
                self.missed();
            }
            Happening::SlowConsumer(_) => {
                metrics::counter!("cartlink_bus_dropped_total").increment(1);
                // Each message that is dropped is such an event.
                let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
                if slow.is_none_or(|said| said.elapsed() >= BEACON) {
                    *slow = Some(Instant::now());
                    tracing::warn!("the bus brings more than is read here (slow consumer); looking into the log");
                }
            }
            other => tracing::warn!(event = %other, "the bus had a hiccup"),
        }
        self.doubt.notify_one();
    }

    fn heard_beacon(&self, node: String, missed: u64) {
        if node == self.node {
            return;
        }
        let peer = Peer { heard: Instant::now(), missed };
        let before = self.peers().insert(node, peer);
        if before.is_some_and(|before| before.missed != missed || before.heard.elapsed() > SILENT) {
            self.doubt.notify_one();
        }
    }
}

/// The subjects of one cluster: two that share a NATS never hear each other.
struct Subjects(String);

impl Subjects {
    fn partition(&self, partition: Partition) -> String {
        format!("cartlink.{}.p.{partition}", self.0)
    }

    fn all(&self) -> String {
        format!("cartlink.{}.all", self.0)
    }
}

impl Work {
    /// Connects, and carries messages both ways for as long as the server runs.
    pub async fn run(self, app: Arc<App>, cluster: String) {
        let Self { outbox, orders, state } = self;
        let subjects = Subjects(cluster);
        let client = loop {
            match connect(&app.config, &state).await {
                Ok(client) => break client,
                Err(error) => tracing::error!(%error, "the bus cannot be set up; polling the log, and trying again"),
            }
            tokio::time::sleep(BEACON).await;
        };
        // Set once, here.
        let _first = state.client.set(client.clone());
        tokio::join!(
            deliver(&client, &subjects, outbox, &state),
            beacon(&client, &subjects, &state),
            hear_all(&client, &subjects, &app, &state),
            follow_orders(&client, &subjects, orders, &app, &state),
        );
    }
}

/// Several servers are written with commas: `nats://a:4222,nats://b:4222`.
pub fn servers(urls: &str) -> Result<Vec<ServerAddr>, String> {
    let known = |url: &str| url.starts_with("nats://") || url.starts_with("tls://");
    let server = |url: &str| url.parse().ok().filter(|_| known(url));
    let servers: Option<Vec<ServerAddr>> = urls.split(',').map(|url| server(url.trim())).collect();
    let servers = servers.ok_or("is `local`, or NATS servers as nats://host:4222,…")?;
    let own = |server: &ServerAddr| (server.username().map(str::to_owned), server.password().map(str::to_owned));
    if servers.iter().any(|server| own(server) != own(&servers[0])) {
        return Err("names one cluster: give all its servers the same user and password".into());
    }
    Ok(servers)
}

/// Who the node is to the servers. A client learns of further servers from those it knows, so this is its own, and not an
/// address's: the library takes no notice of what stands there.
fn introduced(options: ConnectOptions, servers: &[ServerAddr]) -> ConnectOptions {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let Some(server) = servers.first() else { return options };
    match (server.username(), server.password()) {
        (Some(user), Some(password)) => options.user_and_password(decoded(user), decoded(password)),
        (Some(token), None) => options.token(decoded(token)),
        (None, _) => options,
    }
}

async fn connect(config: &Config, state: &Arc<State>) -> Result<Client, String> {
    let told = Arc::clone(state);
    let mut options = ConnectOptions::new()
        .name(format!("cartlink {}", state.node))
        .no_echo()
        .retry_on_initial_connect()
        .ping_interval(PING)
        .subscription_capacity(config.bus_pending.max(1))
        .reconnect_delay_callback(|tries| Duration::from_millis(50 << tries.min(4)))
        .event_callback(move |happening| {
            told.happened(&happening);
            async {}
        });
    if let Some(ca) = &config.bus_ca {
        options = options.add_root_certificates(ca.clone());
    }
    if let (Some(cert), Some(key)) = (&config.bus_cert, &config.bus_key) {
        options = options.add_client_certificate(PathBuf::clone(cert), PathBuf::clone(key));
    }
    let servers = servers(&config.bus.0)?;
    introduced(options, &servers).connect(servers).await.map_err(|error| error.to_string())
}

/// Sends what waits. What comes while there is no connection is dropped and counted, not kept: the
/// log has it, and old news would only delay new.
async fn deliver(client: &Client, subjects: &Subjects, mut outbox: mpsc::Receiver<Letter>, state: &State) {
    while let Some(letter) = outbox.recv().await {
        if !state.connected() {
            state.missed();
            continue;
        }
        let sent = match letter {
            Letter::Event(partition, body) => client.publish(subjects.partition(partition), body).await,
            Letter::Note(body) => client.publish(subjects.all(), body).await,
            Letter::Goodbye(said) => {
                let sent = client.publish(subjects.all(), note(&Note::Goodbye { node: state.node.clone() })).await;
                let _late = tokio::time::timeout(BEACON, client.flush()).await;
                let _gone = said.send(());
                sent
            }
        };
        if let Err(error) = sent {
            tracing::warn!(%error, "the bus did not take a message");
            state.missed();
        }
    }
}

async fn beacon(client: &Client, subjects: &Subjects, state: &State) {
    let mut interval = tokio::time::interval(BEACON);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut down = 0_u32;
    loop {
        interval.tick().await;
        down = if state.connected() { 0 } else { down + 1 };
        // Not every refusal comes with a reason: a server that asks for a certificate just closes the connection.
        if down == 5 || (down > 0 && down.is_multiple_of(60)) {
            tracing::warn!(
                seconds = down,
                "no bus server takes this node (--bus): are they up, and address, credentials and certificates right?"
            );
        }
        if state.connected() {
            let beacon = Note::Beacon { node: state.node.clone(), missed: state.missed.load(Ordering::Relaxed) };
            // The next one will do as well.
            let _lost = client.publish(subjects.all(), note(&beacon)).await;
        }
    }
}

async fn hear_all(client: &Client, subjects: &Subjects, app: &App, state: &State) {
    let Some(mut notes) = subscribe(client, subjects.all()).await else { return };
    while let Some(message) = notes.next().await {
        match serde_json::from_slice(&message.payload) {
            Ok(Note::Beacon { node, missed }) => state.heard_beacon(node, missed),
            Ok(Note::Goodbye { node }) => drop(state.peers().remove(&node)),
            Ok(Note::Revoked { owner, but }) => {
                app.standings.forget(&owner);
                app.streams.close_here(&owner, but.as_deref());
            }
            // Of a newer release: whatever it says, the log says too.
            Err(_) => state.doubt.notify_one(),
        }
    }
}

async fn subscribe(client: &Client, subject: String) -> Option<Subscriber> {
    let subscribed = client.subscribe(subject).await;
    subscribed.inspect_err(|error| tracing::error!(%error, "the bus refused a subscription")).ok()
}

/// Listens where somebody follows.
async fn follow_orders(
    client: &Client,
    subjects: &Subjects,
    mut orders: mpsc::UnboundedReceiver<Order>,
    app: &Arc<App>,
    state: &Arc<State>,
) {
    let mut ears: HashMap<Partition, JoinHandle<()>> = HashMap::new();
    while let Some(first) = orders.recv().await {
        let mut order = Some(first);
        while let Some(next) = order {
            match next {
                Order::Listen(partition) => {
                    if let Some(heard) = subscribe(client, subjects.partition(partition)).await {
                        ears.insert(
                            partition,
                            tokio::task::spawn_local(hear(heard, Arc::clone(app), Arc::clone(state))),
                        );
                    }
                }
                // Its subscription ends as it is dropped.
                Order::Leave(partition) => drop(ears.remove(&partition).inspect(JoinHandle::abort)),
            }
            order = orders.try_recv().ok();
        }
        let (client, state) = (client.clone(), Arc::clone(state));
        tokio::task::spawn_local(async move { doubt_once_heard(&client, &state).await });
    }
}

/// What was committed between a follower's snapshot and the server's taking note of the subscription
/// is in no message: looks into the log once the server has, and again when its fellow servers have.
async fn doubt_once_heard(client: &Client, state: &State) {
    if client.flush().await.is_ok() {
        state.doubt.notify_one();
        tokio::time::sleep(Duration::from_millis(500)).await;
        state.doubt.notify_one();
    }
}

async fn hear(mut heard: Subscriber, app: Arc<App>, state: Arc<State>) {
    while let Some(message) = heard.next().await {
        match serde_json::from_slice::<Event>(&message.payload) {
            Ok(event) => app.broadcaster.publish(event),
            Err(error) => {
                tracing::warn!(%error, "the bus brought something that is no event");
                state.doubt.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_listed_with_commas_and_share_their_credentials() {
        assert_eq!(servers("nats://u:p@a:4222, nats://u:p@b:4222").map(|all| all.len()), Ok(2));
        assert_eq!(servers("tls://a:4222").map(|all| all.len()), Ok(1));
        assert!(servers("http://a:4222").is_err_and(|why| why.contains("nats://host:4222")));
        assert!(servers("nats://a:4222,").is_err_and(|why| why.contains("nats://host:4222")));
        assert!(servers("nats://u:p@a:4222,nats://b:4222").is_err_and(|why| why.contains("the same user")));
    }
}

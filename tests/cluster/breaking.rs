//! What clients see while nodes, the bus and the database break and come back under load: delay, and nothing else.
//!
//! By default at the pace two busy cores bear in a debug build. What the goals ask for, 500 scans per second for a minute
//! around each fault, is `CARTLINK_CLUSTER=full cargo nextest run --cargo-profile bench-quick --test cluster
//! --success-output immediate --test-threads 1 breaking::`. Recovery times are printed.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::helpers::{Answer, Cart, Cluster, Load, Pace, Screen, Tally, within_namespace};

/// For what has to last a while: an outage is one only if time passes in it.
async fn outage(span: Duration) {
    tokio::time::sleep(span).await;
}

/// Something that breaks while people shop.
struct Breakage<'l> {
    load: &'l Load,
    what: &'static str,
    since: Instant,
    before: Tally,
}

impl<'l> Breakage<'l> {
    fn begins(load: &'l Load, what: &'static str) -> Self {
        Self { load, what, since: Instant::now(), before: load.tally() }
    }

    /// From here on it should be as before.
    async fn recovery(&self, after: &str) {
        println!("{}, {after}: all have caught up {:?} later", self.what, self.load.recovery().await);
    }

    async fn over(self) {
        self.load.around(self.since, &self.before, self.what).await;
    }
}

#[tokio::test]
async fn a_killed_node_and_a_rolling_restart_lose_nothing() {
    let mut cluster = Cluster::start().await;
    let load = Load::start(&cluster, Pace::chosen()).await;
    load.scans(50).await;

    let breakage = Breakage::begins(&load, "kill -9 of a node");
    cluster.nodes[1].kill();
    breakage.recovery("killed").await;
    cluster.nodes[1].spawn();
    cluster.nodes[1].ready().await;
    breakage.recovery("started again").await;
    breakage.over().await;

    let before = load.tally();
    let breakage = Breakage::begins(&load, "rolling restart");
    for at in 0..3 {
        let stopped = Instant::now();
        cluster.nodes[at].stop().await;
        let partings = load.partings(stopped);
        cluster.nodes[at].spawn();
        cluster.nodes[at].ready().await;
        breakage.recovery("a node started again").await;
        let (first, last) = (partings.first().unwrap(), partings.last().unwrap());
        println!("restart of node {at}: its {} streams ended between {first:?} and {last:?}", partings.len());
        assert!(*last - *first > Duration::from_millis(700), "over a window of 6 s: {partings:?}");
    }
    breakage.over().await;
    let after = load.tally();
    assert_eq!(
        (after.refused, after.unanswered),
        (before.refused, before.unanswered),
        "a rolling restart fails no scan"
    );
    load.finish("killed and restarted").await;
}

#[tokio::test]
async fn a_bus_that_stops_is_replaced_or_is_out_of_one_nodes_reach_loses_nothing() {
    if !within_namespace("breaking::a_bus_that_stops_is_replaced_or_is_out_of_one_nodes_reach_loses_nothing") {
        return;
    }
    let (mut cluster, island) = Cluster::with_island(&[]).await;
    let load = Load::start(&cluster, Pace::chosen()).await;
    load.scans(50).await;

    let breakage = Breakage::begins(&load, "NATS stopped");
    cluster.nats.kill();
    breakage.recovery("stopped").await;
    outage(load.pace.outage).await;
    assert!(cluster.nodes[0].readiness().await.1.contains("\"bus\":\"down\""));
    cluster.nats.start_again().await;
    breakage.recovery("back").await;
    breakage.over().await;

    let breakage = Breakage::begins(&load, "NATS replaced");
    cluster.nats.kill();
    cluster.nats.start_again().await;
    breakage.recovery("replaced").await;
    breakage.over().await;

    let (a, b) = (&cluster.nodes[0], &cluster.nodes[1]);
    let cart = Cart::enrolled(a, &a.admin().await, "lone").await;
    let mut screen = cart.acking_screen().await;
    let (phone, code) = (b.phone().await, cart.qr().await);
    // Past the looks into the log that the screen's own coming caused.
    outage(Duration::from_secs(2)).await;

    let breakage = Breakage::begins(&load, "a node cut off from NATS");
    island.bus.cut();
    // The hardest case: one event, nothing after it that would show the gap, and the node that could tell cannot.
    phone.on(&cluster.nodes[2]).scan(&code).await.ok();
    let scanned = Instant::now();
    screen.expect("session-started").await;
    println!("a lone event of a node cut off from NATS: {:?} late", scanned.elapsed());
    outage(load.pace.outage).await;
    breakage.recovery("while it is").await;
    assert_eq!(cluster.nodes[2].readiness().await.0, 200, "it polls");
    island.bus.mend();
    breakage.recovery("mended").await;
    breakage.over().await;
    let tally = load.finish("bus").await;
    assert_eq!((tally.refused, tally.unanswered), (0, 0), "nobody needs the bus to scan");
}

#[tokio::test]
async fn a_database_that_restarts_stops_or_is_out_of_one_nodes_reach_delays_and_loses_nothing() {
    let name = "breaking::a_database_that_restarts_stops_or_is_out_of_one_nodes_reach_delays_and_loses_nothing";
    if !within_namespace(name) {
        return;
    }
    let (mut cluster, island) = Cluster::with_island(&[]).await;
    let load = Load::start(&cluster, Pace::chosen()).await;
    load.scans(50).await;

    let breakage = Breakage::begins(&load, "PostgreSQL restarted");
    cluster.postgres.stop().await;
    cluster.postgres.start_again().await;
    breakage.recovery("restarted").await;
    breakage.over().await;

    let breakage = Breakage::begins(&load, "PostgreSQL stopped");
    cluster.postgres.stop().await;
    outage(load.pace.outage).await;
    assert_eq!(cluster.nodes[0].readiness().await.0, 503);
    cluster.postgres.start_again().await;
    breakage.recovery("back").await;
    breakage.over().await;

    let breakage = Breakage::begins(&load, "a node cut off from PostgreSQL");
    island.database.cut();
    outage(load.pace.outage).await;
    assert_eq!(cluster.nodes[2].readiness().await.0, 503);
    breakage.recovery("while it is").await;
    island.database.mend();
    let mended = Instant::now();
    while cluster.nodes[2].readiness().await.0 != 200 {
        assert!(mended.elapsed() < Duration::from_secs(90), "{}", cluster.nodes[2].log());
    }
    println!("a node cut off from PostgreSQL, mended: ready {:?} later", mended.elapsed());
    breakage.recovery("mended").await;
    breakage.over().await;
    load.finish("database").await;
}

#[tokio::test]
async fn a_node_cut_off_from_the_database_refuses_keeps_up_heartbeats_and_ends_its_streams_in_time() {
    let name = "breaking::a_node_cut_off_from_the_database_refuses_keeps_up_heartbeats_and_ends_its_streams_in_time";
    if !within_namespace(name) {
        return;
    }
    let (cluster, island) = Cluster::with_island(&["--heartbeat=4s".into()]).await;
    let [a, _, c] = cluster.abc();
    let admin = a.admin().await;
    let cart = Cart::enrolled(a, &admin, "7").await;
    let mut screen = cart.on(c).acking_screen().await;
    let phone = a.phone().await;
    let session = phone.scan(&cart.qr().await).await.ok();
    screen.expect("session-started").await;
    let id = &session["session_id"];
    let others = [
        phone.on(c).stream("/sse/7").await,
        phone.on(c).stream(&format!("/session/{id}/events")).await,
        admin.on(c).stream("/sse/7").await,
        admin.on(c).stream("/admin/events").await,
    ];

    island.database.cut();
    let cut = Instant::now();
    let mut reading: Vec<_> = others.into_iter().map(|stream| tokio::spawn(silences(stream, cut))).collect();
    // What others commit reaches it over the bus all the same.
    cart.ack(id.as_i64().unwrap()).await.ok();
    screen.expect("session-fetched").await;
    // What it hears of without having heard what came before sends it to the log, which does not answer.
    island.bus.cut();
    phone.post(&format!("/customer-session/{id}/activity")).await.ok();
    let maintenance = serde_json::json!({ "label": "another" });
    admin.send_json(reqwest::Method::PATCH, "/carts/7", &maintenance).await.ok();
    island.bus.mend();
    assert_eq!(c.readiness().await.0, 503);
    let refused = Answer::of(c.http.get(c.url("/auth/me")).bearer_auth(&phone.token)).await;
    assert_eq!(refused.refusal(), (503, "unavailable".into()));
    assert!(refused.headers.contains_key("retry-after"));
    println!("cut off from PostgreSQL: refused after {:?}", cut.elapsed());

    reading.push(tokio::spawn(silences(screen, cut)));
    let ended: Vec<_> = join_all(reading).await.into_iter().map(Result::unwrap).collect();
    for (stream, longest, at) in &ended {
        println!("cut off from PostgreSQL: stream ended after {at:?}, silent for {longest:?} at most");
        // A heartbeat is due every 4 s, whatever the database does, until the stream ends after 30 s.
        let beats = stream.raw.matches("\n:\n").count();
        assert!(beats >= 4, "{beats} heartbeats in {at:?}: {}", stream.raw);
        assert!(stream.raw.trim_end().ends_with(": the log is out of reach"), "{}", stream.raw);
    }

    island.database.mend();
    let last = ended.last().unwrap().0.last_id.clone();
    let mended = Instant::now();
    while c.readiness().await.0 != 200 {
        assert!(mended.elapsed() < Duration::from_secs(90));
    }
    println!("mended: ready after {:?}", mended.elapsed());
    phone.post(&format!("/customer-session/{id}/end")).await.ok();
    let mut back = cart.on(c).stream_after("/sse/7?ack=1", last.as_deref()).await;
    while back.next().await.kind() != "session-ended" {}
    phone.scan(&cart.qr().await).await.ok();
    while back.next().await.kind() != "session-started" {}
}

/// Reads a stream to its end: the longest time in which not a byte came, and how long after `since` it ended.
async fn silences(mut stream: Screen, since: Instant) -> (Screen, Duration, Duration) {
    let (mut longest, mut last) = (Duration::ZERO, Instant::now());
    while stream.read_bytes().await {
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    (stream, longest, since.elapsed())
}

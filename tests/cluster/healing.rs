//! Healing: what no message told of is found by comparing heads, within the stated time and at the stated price.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::helpers::{Cluster, Nats, Postgres, Screen, World};

const HEARTBEAT: Duration = Duration::from_secs(4);

/// More than one query may ask for.
const CHANNELS: usize = 1050;

/// Writes an event as a node does whose message is lost without a sign, on the channels of these carts.
fn untold(carts: &str) -> String {
    format!(
        "WITH h AS (UPDATE channel_heads SET seq = seq + 1 FROM carts c WHERE channel = 'cart/' || c.num AND c.id {carts} \
           RETURNING channel, seq) \
         INSERT INTO events (channel, seq, audience, kind, data, created_at) \
           SELECT channel, seq, '*', 'cart-status', '{{\"status\":\"available\"}}', 0 FROM h"
    )
}

#[tokio::test]
async fn what_no_message_told_of_is_found_within_a_heartbeat_with_a_query_per_thousand_channels() {
    let postgres = Postgres::talkative().await;
    let nats = Nats::start().await;
    let mut node = World::prepare(&[
        format!("--database-url={}", postgres.url()),
        format!("--bus={}", nats.url()),
        format!("--heartbeat={}s", HEARTBEAT.as_secs()),
    ]);
    node.spawn();
    node.ready().await;
    node.create_admin();
    let rows = postgres.rows().await;
    rows.run(&format!(
        "INSERT INTO carts (id, store_id, label, lifecycle, pairing_epoch, created_at, updated_at) \
           SELECT 's' || n, 1, 's' || n, 'in_service', 1, 0, 0 FROM generate_series(1, {CHANNELS}) n; \
         INSERT INTO channel_heads SELECT 'cart/' || num, 'abcdefghij', 1, 0 FROM carts; \
         INSERT INTO events (channel, seq, audience, kind, data, created_at) \
           SELECT 'cart/' || num, 1, '*', 'cart-status', '{{}}', 0 FROM carts"
    ))
    .await;
    let staff = [node.admin().await, node.admin().await];
    let mut screens: Vec<Screen> = Vec::new();
    for some in (1..=CHANNELS).collect::<Vec<_>>().chunks(25) {
        let opened = some.iter().map(|n| {
            let path = format!("/sse/s{n}");
            let who = &staff[n % 2];
            async move { who.stream(&path).await }
        });
        screens.extend(join_all(opened).await);
    }

    let looked = async |looks: usize| {
        let wanted = postgres.said("", "clock_timestamp()").1 + looks;
        while postgres.said("", "clock_timestamp()").1 < wanted {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    // Past the looks that the streams' own coming caused.
    looked(3).await;
    let said = postgres.said("channel_heads WHERE channel IN", "clock_timestamp()");
    looked(4).await;
    let after = postgres.said("channel_heads WHERE channel IN", "clock_timestamp()");
    let (heads, looks) = (after.0 - said.0, after.1 - said.1);
    println!("{CHANNELS} channels: {heads} queries for heads in {looks} looks");
    // The first or the last look may have been half way.
    assert!(heads.abs_diff(2 * looks) <= 2, "two for each look");

    // A lost last message, and nothing after it that would show the gap.
    let mut late = Vec::new();
    for n in [1, 500, 1000] {
        // Right after a look, so that all of the wait until the next is waited.
        looked(1).await;
        rows.run(&untold(&format!("= 's{n}'"))).await;
        let (written, before) = (Instant::now(), postgres.said("", "clock_timestamp()").1);
        screens[n - 1].expect("cart-status").await;
        late.push((written.elapsed(), postgres.said("", "clock_timestamp()").1 - before));
    }
    println!(
        "with --heartbeat {HEARTBEAT:?}, events nobody was told of came so late, and with so many looks: {late:?}"
    );
    // The next look finds it; one more may have begun before the test noticed.
    assert!(late.iter().all(|(_, looks)| *looks <= 3));

    // A gap in every channel at once is one read per thousand, and not one per follower.
    let before = postgres.said("FROM events e JOIN channel_heads", "");
    rows.run(&untold("LIKE 's%'")).await;
    let written = Instant::now();
    join_all(screens.iter_mut().map(|screen| screen.expect("cart-status"))).await;
    let reads = postgres.said("FROM events e JOIN channel_heads", "").0 - before.0;
    println!("a gap in {CHANNELS} channels: closed after {:?} with {reads} reads", written.elapsed());
    assert!(reads <= 8, "{reads} reads");
}

/// Another node enrols the cart anew, and its word of that is lost: the log's reader finds the earlier key's streams, and
/// takes them alone for ended.
#[tokio::test]
async fn a_key_that_was_replaced_without_a_word_ends_its_own_streams_and_not_the_next_keys() {
    let postgres = Postgres::start().await;
    let mut node = World::prepare(&[
        format!("--database-url={}", postgres.url()),
        format!("--heartbeat={}s", HEARTBEAT.as_secs()),
    ]);
    node.spawn();
    node.ready().await;
    node.create_admin();
    let admin = node.admin().await;
    let earlier = crate::helpers::Cart::enrolled(&node, &admin, "7").await;
    let mut old = [earlier.screen().await, earlier.screen().await];
    let cart = crate::helpers::Cart { world: &node, id: "7".into(), key: "the key that another node gave out".into() };
    let hash = cartlink::token::hash(&cart.key);
    postgres.rows().await.run(&format!("UPDATE carts SET key_hash = '{hash}' WHERE id = '7'")).await;
    let mut new = cart.screen().await;
    for screen in &mut old {
        assert_eq!(screen.expect("error").await["code"], "revoked");
        assert_eq!(screen.rest().await, []);
    }
    admin.send_json(reqwest::Method::PATCH, "/carts/7", &serde_json::json!({ "lifecycle": "maintenance" })).await.ok();
    new.expect("cart-status").await;
}

/// A cluster's nodes find by themselves what was written while none of them had a bus.
#[tokio::test]
async fn what_was_written_before_the_bus_came_back_needs_no_message() {
    let mut cluster = Cluster::start().await;
    cluster.nats.kill();
    let [a, b, c] = cluster.abc();
    let cart = crate::helpers::Cart::enrolled(a, &a.admin().await, "7").await;
    let mut screen = cart.on(c).acking_screen().await;
    while !c.readiness().await.1.contains("\"bus\":\"down\"") {}
    let scanned = Instant::now();
    b.phone().await.scan(&cart.qr().await).await.ok();
    screen.expect("session-started").await;
    println!("without a bus, a scan on B is on C's screen after {:?}", scanned.elapsed());
}

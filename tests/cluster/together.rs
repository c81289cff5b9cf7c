//! Nodes that work together as one, while nothing breaks.

use std::time::Instant;

use futures_util::future::join_all;

use serde_json::json;

use crate::helpers::{Cart, Cluster, Nats, Phone, Postgres, Receiver};

/// A session that starts on `phone`'s node and ends on another.
async fn visit(cart: &Cart<'_>, phone: &Phone<'_>, ends: &Phone<'_>) -> i64 {
    let session = phone.scan(&cart.qr().await).await.ok()["session_id"].as_i64().unwrap();
    ends.post(&format!("/customer-session/{session}/end")).await.ok();
    session
}

#[tokio::test]
async fn a_scan_on_one_node_is_seen_by_screen_phone_and_admin_on_others_once_and_in_order() {
    let cluster = Cluster::start().await;
    let [a, b, c] = cluster.abc();
    let admin = a.admin().await;
    let cart = Cart::enrolled(a, &admin, "7").await;
    let on_b = cart.on(b);
    let phone = c.phone().await;
    let mut screen = on_b.acking_screen().await;
    let mut watching = phone.stream("/sse/7").await;
    let mut staff = admin.stream("/sse/7").await;
    let mut floor = admin.stream("/admin/events").await;
    let started_at = Instant::now();
    let session = phone.scan(&cart.qr().await).await.ok();
    let started = screen.expect("session-started").await;
    println!("scan on C, screen on B: {:?}", started_at.elapsed());
    assert_eq!(started["session_id"], session["session_id"]);
    while !floor.next().await.data.contains("\"in_use\":1") {}
    println!("scan on C, floor on A: {:?}", started_at.elapsed());
    let id = session["session_id"].as_i64().unwrap();
    on_b.ack(id).await.ok();
    phone.on(a).post(&format!("/customer-session/{id}/end")).await.ok();
    for stream in [&mut watching, &mut staff] {
        stream.expect("session-started").await;
        stream.expect("session-fetched").await;
        stream.expect("session-ended").await;
    }
    screen.expect("session-fetched").await;
    screen.expect("session-ended").await;
    assert!(screen.last_id.is_some() && screen.last_id == watching.last_id && screen.last_id == staff.last_id);
}

#[tokio::test]
async fn of_two_hundred_phones_on_three_nodes_scanning_one_code_one_wins() {
    let cluster = Cluster::start().await;
    let nodes = cluster.abc();
    let cart = Cart::enrolled(nodes[0], &nodes[0].admin().await, "7").await;
    let phones = join_all((0..200).map(|at| nodes[at % 3].phone())).await;
    let code = cart.qr().await;
    let answers = join_all(phones.iter().map(|phone| phone.scan(&code))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(answer.refusal(), (401, "qr-already-used".into()));
    }
}

#[tokio::test]
async fn what_ends_on_one_node_is_cut_on_the_others_by_a_message() {
    // One that tells when a node looks into the log, which every node does every few seconds, too.
    let engines = (Postgres::talkative().await, Nats::start().await);
    let cluster = Cluster::on(engines, |_| Vec::new()).await;
    let [a, b, c] = cluster.abc();
    let admin = a.admin().await;
    let looks = || cluster.postgres.said("", "clock_timestamp()").1;

    let mut by_message = false;
    for at in 0..20 {
        let cart = Cart::enrolled(a, &admin, &at.to_string()).await;
        let mut screen = cart.on(c).screen().await;
        let (revoked, before) = (Instant::now(), looks());
        admin.post(&format!("/carts/{at}/revoke")).await.ok();
        let last = screen.rest().await;
        by_message |= looks() == before;
        println!("a revoke on A cuts the cart's stream on C: {:?}", revoked.elapsed());
        assert!(last.iter().any(|frame| frame.data.contains("\"code\":\"revoked\"")), "{last:?}");
        assert_eq!(cart.get(&format!("/customer-session/qr/{at}")).await.refusal().0, 403);
        if by_message {
            break;
        }
    }
    assert!(by_message, "each time somebody had looked into the log before the stream was cut");

    by_message = false;
    for _ in 0..20 {
        let phone = b.phone().await;
        let mut watching = phone.stream("/sse/0").await;
        let (signed_out, before) = (Instant::now(), looks());
        phone.on(c).post("/auth/logout").await.ok();
        watching.rest().await;
        by_message |= looks() == before;
        println!("signing out on C cuts the customer's stream on B: {:?}", signed_out.elapsed());
        assert_eq!(phone.get("/auth/me").await.refusal().0, 401);
        if by_message {
            break;
        }
    }
    assert!(by_message, "each time somebody had looked into the log before the stream was cut");
}

#[tokio::test]
async fn without_a_bus_what_ends_on_one_node_is_cut_on_the_others_by_their_polling() {
    let mut cluster = Cluster::start().await;
    cluster.nats.kill();
    let [a, _, c] = cluster.abc();
    let admin = a.admin().await;
    let cart = Cart::enrolled(a, &admin, "7").await;
    let mut screen = cart.on(c).screen().await;
    while !c.readiness().await.1.contains("\"bus\":\"down\"") {}
    let revoked = Instant::now();
    admin.post("/carts/7/revoke").await.ok();
    screen.rest().await;
    println!("without a bus, a revoke on A cuts the cart's stream on C: {:?}", revoked.elapsed());
}

#[tokio::test]
async fn a_floor_shows_what_happens_on_other_nodes_though_nothing_else_of_it_is_followed_here() {
    let cluster = Cluster::start().await;
    let [a, b, c] = cluster.abc();
    let admin = a.admin().await;
    let cart = Cart::enrolled(a, &admin, "7").await;
    let phone = c.phone().await;
    let mut floor = admin.on(b).stream("/admin/events").await;
    let session = phone.scan(&cart.qr().await).await.ok();
    let started_at = Instant::now();
    while !floor.next().await.data.contains("\"in_use\":1") {}
    println!("scan on C, floor on B: {:?}", started_at.elapsed());
    phone.on(a).post(&format!("/customer-session/{}/end", session["session_id"])).await.ok();
    while !floor.next().await.data.contains("\"in_use\":0") {}
}

#[tokio::test]
async fn three_nodes_deliver_each_webhook_once_and_in_order() {
    let cluster = Cluster::start().await;
    let nodes = cluster.abc();
    let (admin, mut receiver) = (nodes[0].admin().await, Receiver::start().await);
    admin.post_json("/admin/webhooks", &json!({ "url": receiver.url })).await.ok();
    let (mut carts, mut phones) = (Vec::new(), Vec::new());
    for at in 0..12 {
        carts.push(Cart::enrolled(nodes[0], &admin, &at.to_string()).await);
        phones.push(nodes[at % 3].phone().await);
    }
    let visits = carts.iter().zip(&phones).enumerate().map(async |(at, (cart, phone))| {
        let ends = phone.on(nodes[(at + 1) % 3]);
        visit(cart, phone, &ends).await
    });
    let mut sessions = join_all(visits).await;
    let rows = cluster.postgres.rows().await;
    let mut told = Vec::new();
    for _ in 0..2 * carts.len() {
        told.push(receiver.next().await);
    }
    rows.until("SELECT count(*) FROM webhook_deliveries WHERE delivered_at IS NULL", 0).await;
    // Whatever else there is comes before what happens now.
    let last = visit(&carts[0], &phones[0], &phones[0]).await;
    sessions.push(last);
    for _ in 0..2 {
        told.push(receiver.next().await);
    }
    let ids: std::collections::HashSet<&str> = told.iter().map(|message| message.id.as_str()).collect();
    assert_eq!(ids.len(), told.len(), "each once: {told:?}");
    for session in sessions {
        let kinds: Vec<&str> = told.iter().filter(|of| of.session == session).map(|of| of.kind.as_str()).collect();
        assert_eq!(kinds, ["session-started", "session-ended"]);
    }
}

#[tokio::test]
async fn one_idempotency_key_on_two_nodes_at_once_takes_effect_once_and_is_answered_alike() {
    let cluster = Cluster::start().await;
    let [a, b, c] = cluster.abc();
    let cart = Cart::enrolled(a, &a.admin().await, "7").await;
    let mut screen = cart.acking_screen().await;
    let phone = a.phone().await;
    for round in 0..10 {
        let code = json!({ "token": cart.qr().await });
        let (start, end) = (format!("start-{round}"), format!("end-{round}"));
        let (on_a, on_b, on_c) = (phone.on(a), phone.on(b), phone.on(c));
        let path = "/customer-session/scan-qr";
        let (one, other) = tokio::join!(on_a.post_keyed(path, &start, &code), on_b.post_keyed(path, &start, &code));
        assert_eq!(one.ok(), other.ok());
        let replayed = |answer: &crate::helpers::Answer| answer.headers.contains_key("idempotent-replayed");
        assert_ne!(replayed(&one), replayed(&other), "one took effect, the other was told of it");
        let path = format!("/customer-session/{}/end", one.ok()["session_id"]);
        let nothing = json!({});
        let (one, other) = tokio::join!(on_b.post_keyed(&path, &end, &nothing), on_c.post_keyed(&path, &end, &nothing));
        assert_eq!(one.ok(), other.ok());
        screen.expect("session-started").await;
        screen.expect("session-ended").await;
    }
}

#[tokio::test]
async fn two_nodes_that_forget_at_once_forget_each_row_once_and_nothing_else() {
    let mut cluster = Cluster::start().await;
    let rows = cluster.postgres.rows().await;
    {
        let [a, b, _] = cluster.abc();
        let admin = a.admin().await;
        for at in 0..4 {
            let cart = Cart::enrolled(a, &admin, &at.to_string()).await;
            let phone = a.phone().await;
            for _ in 0..10 {
                visit(&cart, &phone, &phone.on(b)).await;
            }
        }
    }
    // Old enough for every rule, in more batches than one.
    rows.run(
        "INSERT INTO idempotency (principal, route, idempotency_key, body_hash, status, answer, created_at) \
           SELECT 'p', 'r', n, '', 200, '', 0 FROM generate_series(1, 3000) n; \
         UPDATE sessions SET ended_at = 1 WHERE ended_at IS NOT NULL; \
         UPDATE events SET created_at = 1; \
         INSERT INTO webhooks (id, url, kinds, created_at) VALUES ('w', 'http://127.0.0.1:9/', '', 1); \
         INSERT INTO webhook_deliveries (webhook_id, session_id, message_id, kind, data, attempts, delivered_at, created_at) \
           SELECT 'w', 1, 'm' || n, 'session-ended', '{}', 1, 1, 1 FROM generate_series(1, 3000) n",
    )
    .await;
    let events = rows.number("SELECT count(*) FROM events").await;
    for node in &mut cluster.nodes[1..] {
        node.stop().await;
    }
    // They look as they start.
    for node in &mut cluster.nodes[1..] {
        node.spawn();
    }
    for node in &mut cluster.nodes[1..] {
        node.ready().await;
    }
    for text in [
        "SELECT count(*) FROM idempotency WHERE created_at = 0",
        "SELECT count(*) FROM webhook_deliveries",
        "SELECT count(*) FROM sessions WHERE customer_id IS NOT NULL",
        "SELECT count(*) FROM events",
    ] {
        rows.until(text, 0).await;
    }
    assert_eq!(rows.number("SELECT count(*) FROM sessions").await, 40, "rows are kept for statistics");
    assert_eq!(rows.number("SELECT sum(seq)::bigint FROM channel_heads").await, events);
    assert_eq!(rows.number("SELECT sum(dropped)::bigint FROM channel_heads").await, events);
    let [a, b, c] = cluster.abc();
    for node in [b, c] {
        assert!(
            !node.log().contains("could not be dropped") && !node.log().contains("not everything"),
            "{}",
            node.log()
        );
    }
    // And what is new is kept.
    let phone = a.phone().await;
    let admin = a.admin().await;
    let cart = Cart::enrolled(a, &admin, "new").await;
    visit(&cart, &phone, &phone).await;
    assert!(rows.number("SELECT count(*) FROM events").await >= 2);
}

#[tokio::test]
async fn signs_of_life_are_written_in_batches_and_not_one_by_one() {
    let cluster = Cluster::start().await;
    let nodes = cluster.abc();
    let (admin, rows) = (nodes[0].admin().await, cluster.postgres.rows().await);
    let mut carts = Vec::new();
    for at in 0..40 {
        carts.push(Cart::enrolled(nodes[at % 3], &admin.on(nodes[at % 3]), &at.to_string()).await);
    }
    let beat = json!({ "battery": 80.0, "charging": false, "app_version": "test" });
    let beats = async || {
        join_all(carts.iter().map(async |cart| {
            cart.post_json(&format!("/carts/{}/heartbeat", cart.id), &beat).await.ok();
        }))
        .await;
    };
    // The first says something, and is written at once.
    beats().await;
    let first = rows.number("SELECT max(heartbeat_at) FROM carts").await;
    // A transaction leaves its number in each row that it writes.
    let writers = "SELECT count(DISTINCT xmin::text) FROM carts";
    assert_eq!(rows.number(writers).await, 40);
    beats().await;
    let last_began = Instant::now();
    beats().await;
    rows.until(&format!("SELECT count(*) FROM carts WHERE heartbeat_at <= {first}"), 0).await;
    let (heartbeats, took) = (rows.number(writers).await, last_began.elapsed());
    println!("40 carts, 80 heartbeats without news: {heartbeats} writes left a trace, those of {took:?}");
    // Each node writes once a second at most, however long a round of heartbeats took.
    assert!(heartbeats as u64 <= 3 * (took.as_secs() + 2), "{heartbeats} writes in {took:?}");

    let opened = rows.number("SELECT max(seen_at) FROM carts").await;
    let screens = join_all(carts.iter().enumerate().map(|(at, cart)| {
        let cart = cart.on(nodes[at % 3]);
        async move { cart.acking_screen().await }
    }))
    .await;
    rows.until(&format!("SELECT count(*) FROM carts WHERE seen_at <= {opened}"), 0).await;
    // The next round, ten seconds on, when all of them are open: each node notes its own at once.
    let noted = rows.number("SELECT max(seen_at) FROM carts").await;
    rows.until(&format!("SELECT count(*) FROM carts WHERE seen_at <= {noted}"), 0).await;
    let writes = rows.number(writers).await;
    println!("40 open streams: {writes} writes left a trace");
    assert!(writes <= 15, "{writes} writes");
    drop(screens);
}

#[tokio::test]
async fn three_sweepers_expire_a_session_once() {
    let cluster = Cluster::start().await;
    let nodes = cluster.abc();
    let admin = nodes[0].admin().await;
    let settings = serde_json::json!({ "settings": { "pickup": 5 } });
    admin.send_json(reqwest::Method::PATCH, "/admin/stores/1", &settings).await.ok();
    let mut streams = Vec::new();
    for id in 1..=6 {
        let cart = Cart::enrolled(nodes[0], &admin, &id.to_string()).await;
        streams.push(cart.on(nodes[id % 3]).acking_screen().await);
        nodes[(id + 1) % 3].phone().await.scan(&cart.qr().await).await.ok();
    }
    for screen in &mut streams {
        screen.expect("session-started").await;
        screen.expect("session-expired").await;
    }
    // A second expiry would come in the sweepers' next rounds, before what is asked for next.
    for (at, screen) in streams.iter_mut().enumerate() {
        let maintenance = serde_json::json!({ "lifecycle": "maintenance" });
        admin.send_json(reqwest::Method::PATCH, &format!("/carts/{}", at + 1), &maintenance).await.ok();
        screen.expect("cart-status").await;
    }
}

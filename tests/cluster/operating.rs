//! What an operator does with several nodes: starts them before the database, rotates the secret, puts a backup back.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::helpers::{Cart, Cluster, Nats, Postgres, World};

#[tokio::test]
async fn a_node_started_before_its_database_waits_for_it_and_says_so() {
    let mut postgres = Postgres::prepare();
    let mut node = World::prepare(&[format!("--database-url={}", postgres.url())]);
    node.spawn();
    while !node.log().contains("waiting for the database") {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    postgres.start_again().await;
    node.ready().await;
    assert_eq!(node.readiness().await.0, 200);
}

#[tokio::test]
async fn a_schema_change_may_take_longer_than_a_statement_and_the_other_nodes_wait_for_it() {
    let postgres = Postgres::start().await;
    let slow = "CREATE SEQUENCE steps; \
        CREATE FUNCTION slow() RETURNS event_trigger LANGUAGE plpgsql AS \
          $$ BEGIN IF nextval('steps') = 5 THEN PERFORM pg_sleep(8); END IF; END $$; \
        CREATE EVENT TRIGGER slow ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION slow()";
    postgres.rows().await.run(slow).await;
    let flags = [format!("--database-url={}", postgres.url()), "--statement-timeout=5s".into()];
    let mut nodes = [World::prepare(&flags), World::prepare(&flags), World::prepare(&flags)];
    nodes.iter_mut().for_each(World::spawn);
    join_all(nodes.iter_mut().map(World::ready)).await;
    for node in &nodes {
        assert_eq!(node.readiness().await.0, 200);
        assert!(!node.log().contains("canceling statement"), "{}", node.log());
        assert!(!node.log().contains("waiting for the database"), "{}", node.log());
    }
}

#[tokio::test]
async fn a_node_whose_clock_is_wrong_is_not_ready_and_does_not_sweep_until_it_is_set_right() {
    let (postgres, nats) = (Postgres::start().await, Nats::start().await);
    let mut node = World::prepare(&[format!("--database-url={}", postgres.url()), format!("--bus={}", nats.url())]);
    let clock = node.false_clock();
    clock.is_off_by("+0");
    node.spawn();
    node.ready().await;
    node.create_admin();
    let admin = node.admin().await;
    admin.send_json(Method::PATCH, "/admin/stores/1", &json!({ "settings": { "pickup": 5 } })).await.ok();
    let cart = Cart::enrolled(&node, &admin, "7").await;
    let mut screen = cart.acking_screen().await;
    let readiness = async |status: u16, clock: &str| {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(90);
        loop {
            let (is, text) = node.readiness().await;
            if is == status && text.contains(&format!("\"clock\":\"{clock}\"")) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "clock {clock} within 90 s: {text}\n{}", node.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    readiness(200, "right").await;
    let rows = postgres.rows().await;
    for off in ["+3", "-3"] {
        clock.is_off_by(off);
        readiness(503, "off").await;
        node.phone().await.scan(&cart.qr().await).await.ok();
        screen.expect("session-started").await;
        // Long after it was due by either clock.
        let began = rows.number("SELECT extract(epoch FROM clock_timestamp())::bigint").await;
        rows.until(&format!("SELECT (clock_timestamp() > to_timestamp({began} + 10))::int::bigint"), 1).await;
        assert_eq!(rows.number("SELECT count(*) FROM sessions WHERE ended_at IS NULL").await, 1, "it does not sweep");
        clock.is_off_by("+0");
        readiness(200, "right").await;
        screen.expect("session-expired").await;
    }
    assert!(node.log().contains("set it right (NTP)"));
}

#[tokio::test]
async fn a_master_secret_is_rotated_node_by_node_and_logs_nobody_out() {
    let mut cluster = Cluster::start().await;
    let (old, new) = (crate::helpers::SECRET, "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718");
    let cart = {
        let a = &cluster.nodes[0];
        let cart = Cart::enrolled(a, &a.admin().await, "7").await;
        (cart.id, cart.key)
    };
    let token = cluster.nodes[0].phone().await.token;
    let all_let_in = async |cluster: &Cluster| {
        for node in &cluster.nodes {
            let me = node.http.get(node.url("/auth/me")).bearer_auth(&token).send().await.unwrap();
            assert_eq!(me.status(), 200);
            // A code drawn by any node is taken by every other.
            let drawn = Cart { world: node, id: cart.0.clone(), key: cart.1.clone() };
            for other in &cluster.nodes {
                let phone = other.phone().await;
                let session = phone.scan(&drawn.qr().await).await.ok();
                phone.post(&format!("/customer-session/{}/end", session["session_id"])).await.ok();
            }
        }
    };
    // First all learn the new one, then each begins to use it.
    for step in [[old, new], [new, old]] {
        for at in 0..3 {
            cluster.nodes[at].stop().await;
            cluster.nodes[at].set_secret(step[0], step[1]);
            cluster.nodes[at].spawn();
            cluster.nodes[at].ready().await;
            all_let_in(&cluster).await;
        }
    }
    cluster.nodes[0].stop().await;
    cluster.nodes[0].set_secret("ffffffffffffffffffffffffffffffffffffffff", "");
    cluster.nodes[0].spawn();
    assert!(cluster.nodes[0].ended().await.contains("another master secret"));
}

#[tokio::test]
async fn after_a_restore_no_id_no_sign_in_and_no_device_key_of_before_is_good() {
    let mut cluster = Cluster::start().await;
    let (cart, phone, last) = {
        let a = &cluster.nodes[0];
        let cart = Cart::enrolled(a, &a.admin().await, "7").await;
        let phone = a.phone().await;
        let last = cart.screen().await.last_id.unwrap();
        ((cart.id, cart.key), phone.token, last)
    };
    for node in &mut cluster.nodes {
        node.stop().await;
    }
    let said = cluster.nodes[0].run("migrate --restored", "");
    assert!(said.contains("new life"), "{said}");
    cluster.nodes[0].spawn();
    cluster.nodes[0].ready().await;
    let a = &cluster.nodes[0];
    let me = a.http.get(a.url("/auth/me")).bearer_auth(&phone).send().await.unwrap();
    assert_eq!(me.status(), 401);
    let old = Cart { world: a, id: cart.0, key: cart.1 };
    assert_eq!(old.get("/customer-session/qr/7").await.refusal().0, 403);
    let admin = a.admin().await;
    let greeting = admin.stream_after("/sse/7", Some(&last)).await.greeting.unwrap().json();
    assert_eq!(greeting["reset"], true);
}

//! The bus as a careful operator sets it up: several servers, credentials, TLS both ways.

use std::time::{Duration, Instant};

use crate::helpers::{Cart, Cluster, Load, Nats, Pace, Postgres, World, certificates};

async fn bus_is(node: &World, state: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let (_, text) = node.readiness().await;
        if text.contains(&format!("\"bus\":\"{state}\"")) {
            return;
        }
        assert!(Instant::now() < deadline, "the bus is {state} within 60 s: {text}\n{}", node.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A scan on A is seen on C, and an end on B too.
async fn tells_across(cluster: &Cluster, cart: &Cart<'_>) {
    let [a, b, c] = cluster.abc();
    let phone = a.phone().await;
    let mut screen = cart.on(c).acking_screen().await;
    let session = phone.scan(&cart.qr().await).await.ok();
    screen.expect("session-started").await;
    phone.on(b).post(&format!("/customer-session/{}/end", session["session_id"])).await.ok();
    screen.expect("session-ended").await;
}

#[tokio::test]
async fn of_three_bus_servers_with_credentials_and_tls_each_may_be_lost() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (cert, key, ca) = (file("server.pem"), file("server.key"), file("ca.pem"));
    let mut servers = Nats::three(&[
        "--user=cartlink".into(),
        "--pass=of/the@bus".into(),
        "--tls".into(),
        format!("--tlscert={cert}"),
        format!("--tlskey={key}"),
        format!("--tlscacert={ca}"),
        "--tlsverify".into(),
    ])
    .await;
    let urls = |password: &str| {
        servers.each_ref().map(|of| format!("tls://cartlink:{password}@127.0.0.1:{}", of.port)).join(",")
    };
    let tls = [
        format!("--bus-ca={ca}"),
        format!("--bus-cert={}", file("node.pem")),
        format!("--bus-key={}", file("node.key")),
    ];
    let postgres = Postgres::start().await;
    let database = format!("--database-url={}", postgres.url());
    let node =
        |bus: String, tls: &[String]| World::prepare(&[&[database.clone(), format!("--bus={bus}")], tls].concat());
    let right = [0, 1, 2].map(|_| node(urls("of%2Fthe%40bus"), &tls));
    let wrong = [node(urls("guessed"), &tls), node(urls("of%2Fthe%40bus"), &tls[..1])];
    let cluster = Cluster::of(right, postgres, Nats::nowhere()).await;
    for node in &cluster.nodes {
        bus_is(node, "up").await;
    }

    let cart = Cart::enrolled(&cluster.nodes[0], &cluster.nodes[0].admin().await, "lone").await;
    let load = Load::start(&cluster, Pace { rate: 20.0, carts: 9, ..Pace::chosen() }).await;
    for server in &mut servers {
        server.kill();
        println!("one of three NATS servers killed: all have caught up {:?} later", load.recovery().await);
        for node in &cluster.nodes {
            bus_is(node, "up").await;
        }
        tells_across(&cluster, &cart).await;
        server.start_again().await;
    }
    let tally = load.finish("three bus servers").await;
    assert_eq!((tally.refused, tally.unanswered), (0, 0));

    // A wrong password, and no certificate: such a node works by the log alone, and says why.
    for (mut node, why) in wrong.into_iter().zip(["authorization violation", "credentials and certificates"]) {
        node.spawn();
        node.ready().await;
        let started = Instant::now();
        while !node.log().contains(why) {
            assert!(started.elapsed() < Duration::from_secs(60), "{why}: {}", node.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bus_is(&node, "down").await;
        assert_eq!(node.readiness().await.0, 200);
        for others in &cluster.nodes {
            assert!(others.readiness().await.1.contains("\"bus\":\"up\""));
        }
    }
}

#[tokio::test]
async fn bus_servers_are_reached_over_a_leaf_node_by_configuration_alone_and_may_go_lame() {
    let leaves = crate::helpers::free_port();
    let folder = tempfile::tempdir().unwrap();
    let config = |name: &str, text: String| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        vec![format!("--config={}", file.display())]
    };
    let hub = Nats::with(config("hub", format!("leafnodes {{ listen: \"127.0.0.1:{leaves}\" }}"))).await;
    let leaf =
        Nats::with(config("leaf", format!("leafnodes {{ remotes: [{{ url: \"nats://127.0.0.1:{leaves}\" }}] }}")))
            .await;
    let postgres = Postgres::start().await;
    let nodes = [&hub, &leaf, &leaf]
        .map(|nats| World::prepare(&[format!("--database-url={}", postgres.url()), format!("--bus={}", nats.url())]));
    let cluster = Cluster::of(nodes, postgres, hub).await;
    for node in &cluster.nodes {
        bus_is(node, "up").await;
    }
    let cart = Cart::enrolled(&cluster.nodes[0], &cluster.nodes[0].admin().await, "7").await;
    tells_across(&cluster, &cart).await;

    // A server that says it will stop is a reason to look into the log, and none to stop telling.
    leaf.become_lame_duck();
    let told = Instant::now();
    while !cluster.nodes[1].log().contains("lame duck mode detected") {
        assert!(told.elapsed() < Duration::from_secs(60), "{}", cluster.nodes[1].log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tells_across(&cluster, &cart).await;
}

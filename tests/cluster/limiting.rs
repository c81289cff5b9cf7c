//! Limits: which of them each node counts for itself, and which hold whatever node is asked.

use serde_json::json;

use crate::helpers::{Answer, Cart, Cluster, World};

async fn sign_in(node: &World, email: &str, password: &str) -> Answer {
    let form = [("username", email), ("password", password)];
    Answer::of(node.http.post(node.url("/auth/login")).form(&form)).await
}

async fn enrol(node: &World, code: &str) -> Answer {
    Answer::of(node.http.post(node.url("/carts/enrol")).json(&json!({ "code": code }))).await
}

/// The README says so of codes, scans, streams and wrong passwords: who tries on n nodes may try n times as often.
#[tokio::test]
async fn rates_and_streams_are_counted_by_each_node_for_itself() {
    let flags = ["--limit-mints=2/1h", "--limit-scans=2/1h", "--streams-per-customer=1"];
    let cluster = Cluster::on(Cluster::engines().await, |_| flags.map(str::to_owned).to_vec()).await;
    let nodes = cluster.abc();
    let cart = Cart::enrolled(nodes[0], &nodes[0].admin().await, "7").await;
    let phone = nodes[0].phone().await;
    let mut streams = Vec::new();
    for node in nodes {
        let (cart, phone) = (cart.on(node), phone.on(node));
        let codes = ["first", "second", "third"].map(|_| cart.get("/customer-session/qr/7"));
        let [first, second, third] = codes;
        first.await.ok();
        second.await.ok();
        assert_eq!(third.await.refusal(), (429, "too-many-requests".into()));

        for _ in 0..2 {
            assert_eq!(phone.scan("nonsense").await.refusal().0, 401);
        }
        assert_eq!(phone.scan("nonsense").await.refusal().0, 429);

        streams.push(phone.stream("/sse/7").await);
        let one_more = node.http.get(node.url("/sse/7")).bearer_auth(&phone.token);
        assert_eq!(Answer::of(one_more).await.refusal().0, 429);

        for _ in 0..5 {
            assert_eq!(sign_in(node, "root@cluster.example", "guessed wrong").await.refusal().0, 401);
        }
        let waits = sign_in(node, "root@cluster.example", "guessed wrong").await;
        assert_eq!(waits.refusal().0, 429);
        assert!(waits.headers.contains_key("retry-after"));
    }
}

/// These are counted in the database, under a lock.
#[tokio::test]
async fn tries_of_an_enrolment_code_and_what_is_good_once_are_counted_over_all_nodes() {
    let cluster = Cluster::start().await;
    let nodes = cluster.abc();
    let admin = nodes[0].admin().await;
    let cart = Cart::enrolled(nodes[0], &admin, "7").await;
    let issued = || async { admin.post("/carts/7/enrolment").await.ok()["code"].as_str().unwrap().to_owned() };

    // Five wrong secrets for one selector, on whatever nodes, and it is burned: everywhere, and for the right one too.
    let code = issued().await;
    for at in 0..5 {
        let secret: String = code[6..].chars().rev().collect();
        let wrong = enrol(nodes[at % 3], &format!("{}-{secret}", &code[..5])).await;
        assert_eq!(wrong.refusal().0, 401, "try {at}");
    }
    for node in nodes {
        assert_eq!(enrol(node, &code).await.refusal().0, 401);
    }
    cart.on(nodes[2]).get("/customer-session/qr/7").await.ok();

    // One that is good works once: the cart's earlier key is void on all nodes.
    let code = issued().await;
    enrol(nodes[1], &code).await.ok();
    for node in nodes {
        assert_eq!(enrol(node, &code).await.refusal().0, 401);
        assert_eq!(cart.on(node).get("/customer-session/qr/7").await.refusal().0, 403);
    }

    // A refresh token that comes a second time, on another node, ends the sign-in.
    let phone = nodes[0].phone().await;
    let refresh = async |node: &World| {
        let body = json!({ "refresh_token": phone.refresh_token });
        Answer::of(node.http.post(node.url("/auth/refresh-token")).json(&body)).await
    };
    let renewed = refresh(nodes[1]).await.ok();
    assert_eq!(refresh(nodes[2]).await.refusal().0, 401);
    let access = renewed["access_token"].as_str().unwrap();
    for node in nodes {
        // A node may remember for a second who is signed in.
        while Answer::of(node.http.get(node.url("/auth/me")).bearer_auth(access)).await.status != 401 {}
    }
}

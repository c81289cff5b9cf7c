//! A node that is told more than it can read: the bus drops messages, and the log has them.

use std::ops::Range;

use futures_util::future::join_all;

use crate::helpers::{Cluster, Screen, World};

/// Events per burst; they fit into one request.
const BURST: usize = 500;

/// Writes events with these numbers as one. Returns the last one's id.
async fn emit(node: &World, channel: &str, numbers: Range<usize>) -> String {
    let payload: String = numbers.map(|n| format!("data: {n}\n\n")).collect();
    let form = [("userId", "someone"), ("channel", channel), ("payload", &payload)];
    let answer = node.http.post(node.control("/emit/")).form(&form).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.headers()["event-id"].to_str().unwrap().to_owned()
}

/// A follower of an emitted channel, who has read its first event.
async fn follower(node: &World, channel: &str, first: &str) -> Screen {
    let form = [("userId", "someone"), ("channel", channel), ("exp", "3600")];
    let token = node.http.post(node.control("/token/")).form(&form).send().await.unwrap().text().await.unwrap();
    let before = first.rsplit_once('.').unwrap().0.to_owned() + ".0";
    let request = node.http.get(node.url("/events/")).bearer_auth(token).header("last-event-id", before);
    Screen::open(request).await
}

#[tokio::test]
async fn who_follows_on_a_node_that_reads_the_bus_too_slowly_still_gets_everything_in_order() {
    // The log is looked at in doubt only: not for as long as this test takes.
    let flags = ["--heartbeat=1h".to_owned(), "--bus-pending=1".into()];
    let cluster = Cluster::on(Cluster::engines().await, |_| flags.to_vec()).await;
    let [a, _, c] = cluster.abc();
    let channels = ["offers", "prices", "news"];
    let mut followers = Vec::new();
    for channel in channels {
        let first = emit(a, channel, 0..1).await;
        for _ in 0..3 {
            followers.push((channel, follower(c, channel, &first).await));
        }
    }

    for round in 0..3 {
        let numbers = || 1 + round * BURST..1 + (round + 1) * BURST;
        join_all(channels.map(|channel| emit(a, channel, numbers()))).await;
        join_all(followers.iter_mut().map(async |(channel, follower)| {
            for n in numbers() {
                assert_eq!(follower.next().await.data, n.to_string(), "{channel}");
            }
        }))
        .await;
    }

    let dropped = c.figure("cartlink_bus_dropped_total").await;
    let looks = c.figure("cartlink_looks_into_the_log_total{why=\"doubt\"}").await;
    let healed = c.figure("cartlink_healed_channels").await;
    println!("a slow node: {dropped} messages dropped, {looks} looks into the log in doubt, {healed} channels healed");
    assert!(dropped >= 1.0 && looks >= 1.0 && healed >= 1.0, "{}", c.log());
    assert!(c.log().contains("slow consumer"), "{}", c.log());
    assert!(c.readiness().await.1.contains("\"bus\":\"up\""), "the connection itself is whole");
}

//! An ordinary load balancer: any node that says it is ready, asked twice a second, and the next one where nobody takes
//! the connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::RngExt;

/// How often nodes are asked, and how long they may take.
const ASKED: Duration = Duration::from_millis(500);

pub struct Balancer {
    http: reqwest::Client,
    nodes: Vec<(String, AtomicBool)>,
}

impl Balancer {
    pub fn before(nodes: &[String]) -> Arc<Self> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
        let nodes = nodes.iter().map(|node| (node.clone(), AtomicBool::new(true))).collect();
        let balancer = Arc::new(Self { http, nodes });
        for at in 0..balancer.nodes.len() {
            tokio::spawn(look(Arc::downgrade(&balancer), at));
        }
        balancer
    }

    /// Those that are ready, from one of them on; all, where none is.
    fn candidates(&self) -> Vec<&str> {
        let ready: Vec<&(String, AtomicBool)> =
            self.nodes.iter().filter(|node| node.1.load(Ordering::Relaxed)).collect();
        let all = if ready.is_empty() { self.nodes.iter().collect() } else { ready };
        let first = rand::rng().random_range(0..all.len());
        all.iter().cycle().skip(first).take(all.len()).map(|node| node.0.as_str()).collect()
    }

    /// Sends a request. What was sent and not answered is not sent again: nobody knows what became of it.
    pub async fn send(
        &self,
        request: impl Fn(&reqwest::Client, &str) -> reqwest::RequestBuilder,
    ) -> reqwest::Result<reqwest::Response> {
        let nodes = self.candidates();
        let mut sent = request(&self.http, nodes[0]).send().await;
        for node in &nodes[1..] {
            // A connection that was opened and not used is closed with a 408, which may cross a request: that one has not
            // been read, and is for sending again (RFC 9110, 15.5.9).
            let unread = sent.as_ref().is_ok_and(|answer| answer.status() == 408);
            if !unread && !sent.as_ref().is_err_and(reqwest::Error::is_connect) {
                break;
            }
            sent = request(&self.http, node).send().await;
        }
        sent
    }
}

async fn look(balancer: std::sync::Weak<Balancer>, at: usize) {
    while let Some(balancer) = balancer.upgrade() {
        let (address, ready) = &balancer.nodes[at];
        let asked = balancer.http.get(format!("http://{address}/readyz")).timeout(ASKED).send().await;
        ready.store(asked.is_ok_and(|answer| answer.status() == 200), Ordering::Relaxed);
        drop(balancer);
        tokio::time::sleep(ASKED).await;
    }
}

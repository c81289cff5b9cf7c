//! A client that watches a cart whatever happens: it comes back with the last id it has seen, to the next node if it
//! must, and keeps book of every id.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::sync::watch;

/// What a watcher has seen so far.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// The id of the last event.
    pub last_id: String,
    /// Events, after the first greeting.
    pub events: u64,
    /// When the last one came.
    pub at: Option<Instant>,
    /// How often it had to come back.
    pub reconnects: u64,
    /// When each of its streams ended.
    pub parted: Vec<Instant>,
    /// What must never happen: a gap, a repeat, disorder, a reset.
    pub wrong: Vec<String>,
}

/// Watches `/sse/{cart}` with the cart's own key on the first of `nodes` that lets it in.
pub fn watch(http: &reqwest::Client, nodes: Vec<String>, cart: &str, key: &str) -> watch::Receiver<Watched> {
    let (sender, seen) = watch::channel(Watched::default());
    let (http, path, key) = (http.clone(), format!("/sse/{cart}?ack=1"), key.to_owned());
    tokio::spawn(async move {
        let mut nodes = nodes.iter().cycle();
        while !sender.is_closed() {
            let node = nodes.next().unwrap();
            // A node that stops cutting the stream is left for the next, as a heartbeat that stays away tells a page.
            let _ended = read(&http, &format!("http://{node}{path}"), &key, &sender).await;
            sender.send_modify(|seen| seen.reconnects += 1);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    seen
}

async fn read(http: &reqwest::Client, url: &str, key: &str, sender: &watch::Sender<Watched>) -> reqwest::Result<()> {
    let mut request = http.get(url).header("x-api-key", key).header("accept", "text/event-stream");
    let last_id = sender.borrow().last_id.clone();
    if !last_id.is_empty() {
        request = request.header("last-event-id", last_id);
    }
    let opened = tokio::time::timeout(Duration::from_secs(20), request.send());
    let Ok(answer) = opened.await else { return Ok(()) };
    let answer = answer?.error_for_status()?;
    let mut bytes = answer.bytes_stream();
    let mut buffer = String::new();
    while let Ok(Some(chunk)) = tokio::time::timeout(Duration::from_secs(20), bytes.next()).await {
        let Ok(chunk) = chunk else { break };
        if sender.is_closed() {
            break;
        }
        buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        while let Some(end) = buffer.find("\n\n") {
            let block: String = buffer.drain(..end + 2).collect();
            take(&block, sender);
        }
    }
    sender.send_modify(|seen| seen.parted.push(Instant::now()));
    Ok(())
}

fn take(block: &str, sender: &watch::Sender<Watched>) {
    let Some(data) = block.lines().find_map(|line| line.strip_prefix("data: ")) else { return };
    let id = block.lines().find_map(|line| line.strip_prefix("id: "));
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    sender.send_modify(|seen| {
        if data["reset"] == true {
            seen.wrong.push(format!("reset after {}", seen.last_id));
        }
        let Some(id) = id else { return };
        // The first snapshot, and an open session's start under the same id.
        let fresh = seen.events == 0 && (seen.last_id.is_empty() || seen.last_id == id);
        if !fresh {
            seen.events += 1;
            seen.at = Some(Instant::now());
            if next(&seen.last_id).as_deref() != Some(id) {
                seen.wrong.push(format!("{id} after {}: {data}", seen.last_id));
            }
        }
        seen.last_id = id.to_owned();
    });
}

fn next(id: &str) -> Option<String> {
    let (epoch, seq) = id.rsplit_once('.')?;
    Some(format!("{epoch}.{}", seq.parse::<i64>().ok()? + 1))
}

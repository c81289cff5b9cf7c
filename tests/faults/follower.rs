//! A client that follows one channel for as long as it takes: it reconnects with its last id and watches the order of
//! what it hears.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What a follower has heard so far.
#[derive(Default)]
pub struct Heard {
    pub connects: u64,
    pub count: u64,
    pub last_seq: u64,
    last_id: String,
    pub last_data: String,
    /// Gaps, repeats and disorder, in words.
    pub wrong: Vec<String>,
    /// Send time → receipt, where the data begins with one.
    pub delays: Vec<Duration>,
}

/// A following task; it ends with this value.
pub struct Follower {
    heard: Arc<(Mutex<Heard>, Notify)>,
    task: JoinHandle<()>,
}

impl Follower {
    /// Follows `url` from now on; connected when this returns.
    pub async fn connect(http: &reqwest::Client, url: String, token: String, epoch: Instant) -> Self {
        let heard = Arc::new((Mutex::new(Heard::default()), Notify::new()));
        let task = tokio::spawn(follow(http.clone(), url, token, heard.clone(), epoch));
        let follower = Self { heard, task };
        follower.until("the first connection", |heard| heard.connects > 0).await;
        follower
    }

    pub fn read<T>(&self, look: impl FnOnce(&mut Heard) -> T) -> T {
        look(&mut self.heard.0.lock().unwrap())
    }

    pub async fn until(&self, what: &str, done: impl Fn(&Heard) -> bool) {
        let waiting = async {
            loop {
                let changed = self.heard.1.notified();
                if self.read(|heard| done(heard)) {
                    return;
                }
                changed.await;
            }
        };
        let patience = Duration::from_secs(120);
        if tokio::time::timeout(patience, waiting).await.is_err() {
            let (count, seq, connects) = self.read(|heard| (heard.count, heard.last_seq, heard.connects));
            panic!(
                "waited {patience:?} for {what}; {count} events heard, the last was {seq}, after {connects} connections"
            );
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(http: reqwest::Client, url: String, token: String, heard: Arc<(Mutex<Heard>, Notify)>, epoch: Instant) {
    loop {
        let last_id = heard.0.lock().unwrap().last_id.clone();
        let mut request = http.get(&url).bearer_auth(&token).header("accept", "text/event-stream");
        if !last_id.is_empty() {
            request = request.header("last-event-id", last_id);
        }
        if let Ok(answer) = request.send().await
            && answer.status() == 200
        {
            heard.0.lock().unwrap().connects += 1;
            heard.1.notify_waiters();
            let mut bytes = answer.bytes_stream();
            let mut rest = Vec::new();
            while let Some(Ok(piece)) = bytes.next().await {
                rest.extend_from_slice(&piece);
                take_events(&mut rest, &heard, epoch);
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn take_events(rest: &mut Vec<u8>, heard: &(Mutex<Heard>, Notify), epoch: Instant) {
    while let Some(end) = rest.windows(2).position(|two| two == b"\n\n") {
        let block: Vec<u8> = rest.drain(..end + 2).collect();
        let text = String::from_utf8(block).expect("streams are UTF-8");
        let field = |name: &str| text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim_start().to_owned()));
        if let (Some(id), Some(data)) = (field("id:"), field("data:")) {
            heard.0.lock().unwrap().hear(id, data, epoch);
            heard.1.notify_waiters();
        }
    }
}

impl Heard {
    fn hear(&mut self, id: String, data: String, epoch: Instant) {
        let seq: u64 =
            id.rsplit_once('.').and_then(|(_, seq)| seq.parse().ok()).unwrap_or_else(|| panic!("an odd id: {id}"));
        if seq != self.last_seq + 1 && self.wrong.len() < 10 {
            self.wrong.push(format!("{} was followed by {id} ({data})", self.last_id));
        }
        if let Some(sent) = data.split(' ').next().and_then(|first| first.parse().ok()) {
            self.delays.push(epoch.elapsed().saturating_sub(Duration::from_micros(sent)));
        }
        (self.count, self.last_seq, self.last_id, self.last_data) = (self.count + 1, seq, id, data);
    }
}

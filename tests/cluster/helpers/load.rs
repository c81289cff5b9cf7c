//! Shoppers who scan and end, over and over, on whatever node answers, while something breaks. Each attempt must be
//! answered, honestly refused (503 with `Retry-After`), or fail because the node that had it died.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::{Balancer, Cart, Cluster, Rows, Watched, watch};

/// How much is asked for, and how long things stay broken.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Scans offered per second, over all nodes.
    pub rate: f64,
    /// Carts, with a shopper and two watchers each.
    pub carts: usize,
    /// How long an engine is stopped, or a link cut.
    pub outage: Duration,
    /// How long the load runs around each fault, at least.
    pub around: Duration,
}

impl Pace {
    /// What two busy cores bear in a debug build; with `CARTLINK_CLUSTER=full` what the goals ask for.
    pub fn chosen() -> Self {
        let seconds = Duration::from_secs;
        match std::env::var("CARTLINK_CLUSTER").as_deref() {
            Ok("full") => Self { rate: 500.0, carts: 150, outage: seconds(30), around: seconds(60) },
            Ok(other) => panic!("CARTLINK_CLUSTER is `full` or unset, not {other:?}"),
            Err(_) => Self { rate: 50.0, carts: 30, outage: seconds(30), around: Duration::ZERO },
        }
    }
}

/// How the attempts went.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Scans for which a shopper was asked to set out.
    pub offered: u64,
    pub scans: u64,
    pub refused: u64,
    pub unanswered: u64,
    /// The longest time between two scans that went well.
    pub longest_pause: Duration,
    pub odd: Vec<String>,
}

/// Shoppers at work, and two watchers per cart.
pub struct Load {
    pub pace: Pace,
    began: Instant,
    turns: Arc<Semaphore>,
    tally: Arc<Mutex<(Tally, Instant)>>,
    shoppers: Vec<JoinHandle<()>>,
    watchers: Vec<(String, watch::Receiver<Watched>)>,
    log: Rows,
}

impl Load {
    /// One shopper for each of so many new carts, who together scan as often as `pace` says.
    pub async fn start(cluster: &Cluster, pace: Pace) -> Self {
        let nodes = cluster.abc();
        let addresses: Vec<String> = nodes.iter().map(|node| node.address.clone()).collect();
        let admin = nodes[0].admin().await;
        let turns = Arc::new(Semaphore::new(0));
        let tally = Arc::new(Mutex::new((Tally::default(), Instant::now())));
        let (balancer, http) = (Balancer::before(&addresses), reqwest::Client::new());
        let (mut shoppers, mut watchers) = (Vec::new(), Vec::new());
        for at in 0..pace.carts {
            let id = format!("cart-{at}");
            let cart = Cart::enrolled(nodes[0], &admin, &id).await;
            let phone = nodes[at % 3].phone().await;
            let mut from = addresses.clone();
            from.rotate_left(at % 3);
            for turn in [0, 1] {
                from.rotate_left(turn);
                watchers.push((id.clone(), watch(&http, from.clone(), &id, &cart.key)));
            }
            let shopper = Shopper {
                balancer: Arc::clone(&balancer),
                cart: (id, cart.key),
                phone: (phone.id, phone.token),
                tally: Arc::clone(&tally),
            };
            shoppers.push(tokio::spawn(shopper.shop(Arc::clone(&turns))));
        }
        for (_, seen) in &mut watchers {
            seen.wait_for(|seen| !seen.last_id.is_empty()).await.unwrap();
        }
        let log = cluster.postgres.rows().await;
        tokio::spawn(offer(pace, Arc::clone(&turns), Arc::clone(&tally)));
        Self { pace, began: Instant::now(), turns, tally, shoppers, watchers, log }
    }

    pub fn tally(&self) -> Tally {
        self.tally.lock().unwrap().0.clone()
    }

    /// Runs on until the load around the fault that began at `from` has lasted as long as it should, and says how it went.
    pub async fn around(&self, from: Instant, before: &Tally, what: &str) {
        tokio::time::sleep(self.pace.around.saturating_sub(from.elapsed())).await;
        let (now, seconds) = (self.tally(), from.elapsed().as_secs_f64());
        println!(
            "{what}: {:.0} scans/s offered, {:.0}/s answered, {} refused with 503, {} unanswered in {seconds:.0} s",
            (now.offered - before.offered) as f64 / seconds,
            (now.scans - before.scans) as f64 / seconds,
            now.refused - before.refused,
            now.unanswered - before.unanswered,
        );
    }

    /// When this node's watchers were left by it, since `since`.
    pub fn partings(&self, since: Instant) -> Vec<Duration> {
        let seen = self.watchers.iter().flat_map(|(_, seen)| seen.borrow().parted.clone());
        let mut all: Vec<Duration> = seen.filter_map(|at| at.checked_duration_since(since)).collect();
        all.sort_unstable();
        all
    }

    /// Waits until so many more scans went well.
    pub async fn scans(&self, more: u64) {
        let wanted = self.tally().scans + more;
        let deadline = Instant::now() + Duration::from_secs(180);
        while self.tally().scans < wanted {
            assert!(Instant::now() < deadline, "{more} scans within three minutes: {:?}", self.tally());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How long it takes from now until everybody has seen everything that is in the log by then.
    pub async fn recovery(&self) -> Duration {
        let began = Instant::now();
        self.scans(10).await;
        let heads = self.heads().await;
        for (cart, seen) in &self.watchers {
            let mut seen = seen.clone();
            let head = heads.iter().find(|(channel, _, _)| channel == cart).unwrap();
            let reached = seen.wait_for(|seen| place(&seen.last_id) >= head.2);
            let Ok(reached) = tokio::time::timeout(Duration::from_secs(180), reached).await else {
                panic!("{cart}: the log is at {head:?}, the watcher {:?}", seen.borrow());
            };
            reached.unwrap();
        }
        began.elapsed()
    }

    async fn heads(&self) -> Vec<(String, String, i64)> {
        let text = "SELECT c.id, h.epoch, h.seq FROM channel_heads h JOIN carts c ON h.channel = 'cart/' || c.num";
        let rows = self.log.rows(text).await;
        rows.iter()
            .map(|row| {
                (row.try_get("", "id").unwrap(), row.try_get("", "epoch").unwrap(), row.try_get("", "seq").unwrap())
            })
            .collect()
    }

    /// Ends the shopping. Every watcher has seen every event of the log, each once and in order.
    pub async fn finish(mut self, what: &str) -> Tally {
        let seconds = self.began.elapsed().as_secs_f64();
        self.turns.close();
        for shopped in join_all(std::mem::take(&mut self.shoppers)).await {
            shopped.unwrap();
        }
        let tally = self.tally();
        let heads = self.heads().await;
        let (mut events, mut reconnects) = (0, 0);
        for (cart, seen) in &self.watchers {
            let (_, epoch, seq) = heads.iter().find(|(channel, _, _)| channel == cart).unwrap();
            let head = format!("{epoch}.{seq}");
            let mut seen = seen.clone();
            let all = seen.wait_for(|seen| seen.last_id == head);
            let Ok(Ok(all)) =
                tokio::time::timeout(Duration::from_secs(180), all).await.map(|all| all.map(|all| all.clone()))
            else {
                panic!("{cart}: the log ends at {head}, the watcher at {:?}", seen.borrow());
            };
            assert!(all.wrong.is_empty(), "{cart}: {:?}", all.wrong);
            events += all.events;
            reconnects += all.reconnects;
        }
        assert!(tally.odd.is_empty(), "{:?}", tally.odd);
        println!(
            "{what}, over all {seconds:.0} s: {:.0} scans/s answered of {:.0}/s offered; {tally:?}; \
             {events} events seen by {} watchers, none lost, repeated or out of order; {reconnects} reconnects",
            tally.scans as f64 / seconds,
            self.pace.rate,
            self.watchers.len(),
        );
        tally
    }
}

/// Sends shoppers out at an even rate. One who is still busy cannot be sent out again: those scans are not made up for.
async fn offer(pace: Pace, turns: Arc<Semaphore>, tally: Arc<Mutex<(Tally, Instant)>>) {
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let (began, mut due) = (Instant::now(), 0);
    while !turns.is_closed() {
        tick.tick().await;
        let now = (began.elapsed().as_secs_f64() * pace.rate) as usize;
        let more = (now - due).min(pace.carts.saturating_sub(turns.available_permits()));
        due = now;
        turns.add_permits(more);
        tally.lock().unwrap().0.offered += more as u64;
    }
}

fn place(id: &str) -> i64 {
    id.rsplit_once('.').map_or(-1, |(_, seq)| seq.parse().unwrap())
}

struct Shopper {
    balancer: Arc<Balancer>,
    cart: (String, String),
    phone: (i64, String),
    tally: Arc<Mutex<(Tally, Instant)>>,
}

/// An answer, or nobody there.
type Answered = Option<(u16, serde_json::Value)>;

impl Shopper {
    async fn shop(self, turns: Arc<Semaphore>) {
        // Whether an attempt went unanswered: the session may be there all the same.
        let mut doubtful = false;
        loop {
            if doubtful && !turns.is_closed() {
                doubtful = !self.clear().await;
                continue;
            }
            let Ok(turn) = turns.acquire().await else { return };
            turn.forget();
            let path = format!("/customer-session/qr/{}", self.cart.0);
            let Some((200, code)) = self.as_cart(&path).await else {
                doubtful = true;
                continue;
            };
            match self.as_phone("/customer-session/scan-qr", Some(json!({ "token": code }))).await {
                Some((200, session)) => {
                    self.scanned();
                    doubtful = !self.end(&session["session_id"]).await;
                }
                Some((503, _)) | None => doubtful = true,
                Some(odd) => self.odd(&format!("scan: {odd:?}")),
            }
        }
    }

    /// Ends whatever session is open. Says whether none is.
    async fn clear(&self) -> bool {
        let path = format!("/customer-session/active/{}", self.phone.0);
        match self.as_phone(&path, None).await {
            Some((404, _)) => true,
            Some((200, session)) => self.end(&session["session_id"]).await,
            _ => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                false
            }
        }
    }

    async fn end(&self, session: &serde_json::Value) -> bool {
        let answer = self.as_phone(&format!("/customer-session/{session}/end"), Some(json!({}))).await;
        match answer {
            // Ended by an attempt that was not answered.
            Some((200 | 409, _)) => true,
            Some((503, _)) | None => false,
            Some(odd) => {
                self.odd(&format!("end: {odd:?}"));
                false
            }
        }
    }

    fn scanned(&self) {
        let (tally, last) = &mut *self.tally.lock().unwrap();
        tally.scans += 1;
        tally.longest_pause = tally.longest_pause.max(std::mem::replace(last, Instant::now()).elapsed());
    }

    fn odd(&self, what: &str) {
        self.tally.lock().unwrap().0.odd.push(what.to_owned());
    }

    async fn as_cart(&self, path: &str) -> Answered {
        self.answer(|http, node| http.get(format!("http://{node}{path}")).header("x-api-key", &self.cart.1)).await
    }

    async fn as_phone(&self, path: &str, body: Option<serde_json::Value>) -> Answered {
        let request = |http: &reqwest::Client, node: &str| {
            let url = format!("http://{node}{path}");
            let request = if let Some(body) = &body { http.post(url).json(body) } else { http.get(url) };
            request.bearer_auth(&self.phone.1)
        };
        self.answer(request).await
    }

    async fn answer(&self, request: impl Fn(&reqwest::Client, &str) -> reqwest::RequestBuilder) -> Answered {
        let sent = self.balancer.send(request).await;
        let Ok(answer) = sent else {
            self.tally.lock().unwrap().0.unanswered += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
            return None;
        };
        let status = answer.status().as_u16();
        if status == 503 {
            self.tally.lock().unwrap().0.refused += 1;
            if !answer.headers().contains_key("retry-after") {
                self.odd("503 without Retry-After");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        } else if status >= 500 {
            self.odd(&format!("{status}"));
        }
        let Ok(text) = answer.text().await else { return None };
        Some((status, serde_json::from_str(&text).unwrap_or_default()))
    }
}

//! A walk at random: everybody does anything at any time, and after thousands of steps every edge taken was legal, every
//! transition stands in the log once, and streams have told what the log holds.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cartlink::clock::Timestamp;
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::helpers::{Answer, Backend, Cart, Frame, Phone, Screen, Service, Staff, World};

/// Steps on each database.
const STEPS: usize = 1_500;

/// The longest anything here waits for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everybody who takes part.
struct Cast<'w> {
    world: &'w World,
    began: Timestamp,
    carts: Vec<Cart<'w>>,
    phones: Vec<Phone<'w>>,
    till: Service<'w>,
    admin: Staff<'w>,
    watchers: Vec<Watcher>,
    /// Attempts to pay that have been heard of: session and id.
    checkouts: Vec<(i64, String)>,
}

/// Staff who follow a cart and write down what they are told.
struct Watcher {
    frames: Arc<Mutex<Vec<Frame>>>,
    reached: watch::Receiver<i64>,
}

fn seq(id: &str) -> i64 {
    id.rsplit_once('.').unwrap().1.parse().unwrap()
}

impl Watcher {
    fn follow(mut screen: Screen) -> Self {
        let frames: Arc<Mutex<Vec<Frame>>> = Arc::default();
        let start = screen.last_id.as_deref().map_or(0, seq);
        let (tell, reached) = watch::channel(start);
        let kept = Arc::clone(&frames);
        tokio::spawn(async move {
            while let Some(frame) = screen.read_on().await {
                let Some(id) = &frame.id else { continue };
                let at = seq(id);
                kept.lock().unwrap().push(frame);
                tell.send_replace(at);
            }
        });
        Self { frames, reached }
    }
}

#[derive(Debug, sea_orm::FromQueryResult)]
struct Logged {
    seq: i64,
    session_id: Option<i64>,
    kind: String,
    data: String,
    created_at: i64,
    ended_at: Option<i64>,
}

impl Logged {
    /// Whether it told of a session's end, or of what came later, more than a minute ago.
    fn is_left_behind(&self, now: Timestamp) -> bool {
        self.ended_at.is_some_and(|ended| self.created_at >= ended && now.0 - ended > 60_000)
    }
}

/// The log of a cart's channel, or of all of them where `cart` is empty.
async fn channel_log(world: &World, cart: &str) -> Vec<Logged> {
    let text = "SELECT e.seq, e.session_id, e.kind, e.data, e.created_at, s.ended_at FROM events e \
        LEFT JOIN carts c ON e.channel = 'cart/' || c.num LEFT JOIN sessions s ON s.id = e.session_id \
        WHERE $1 IN (c.id, '') ORDER BY e.channel, e.seq";
    cartlink::db::all(world.app.db.read(), text, [cart.into()]).await.unwrap()
}

impl Cast<'_> {
    /// Takes every step that is due, as one of several sweepers, and those that become due by it. None is left to the
    /// server's own: what that wrote down now and the clock jumped over would be too old to be told.
    async fn sweep(&self) {
        use cartlink::session::sweep;
        let text = "SELECT 1 FROM sessions WHERE ended_at IS NULL AND due_at <= $1 \
                    UNION ALL SELECT 1 FROM cart_claims WHERE until <= $1";
        loop {
            let sweepers = (0..2).map(|_| async {
                sweep::listen(&self.world.app, self.began).await.unwrap();
                while sweep::sweep(&self.world.app).await.unwrap() {}
            });
            LocalSet::new().run_until(join_all(sweepers)).await;
            let now = self.world.now().0;
            if cartlink::db::row(self.world.app.db.read(), text, [now.into()]).await.unwrap().is_none() {
                return;
            }
        }
    }

    /// Waits until every watcher has been told what the log holds, but for what the clock has left behind: the server's own
    /// sweeper may still write while this test moves the clock on, and the end of a session that ended more than a minute
    /// ago is told to nobody.
    async fn told(&mut self) {
        let now = self.world.app.clock.now();
        for (cart, watcher) in self.carts.iter().zip(&mut self.watchers) {
            let log = channel_log(self.world, &cart.id).await;
            let Some(last) = log.iter().rev().find(|event| !event.is_left_behind(now)) else { continue };
            let reached = watcher.reached.wait_for(|at| *at >= last.seq);
            let reached = tokio::time::timeout(PATIENCE, reached).await.map(|reached| reached.map(drop));
            let at = *watcher.reached.borrow();
            assert!(matches!(reached, Ok(Ok(()))), "cart {} at {at} and {now:?}: {reached:?}, {log:?}", cart.id);
        }
    }

    /// Time goes by, once everybody has been told what happened until now.
    async fn wait(&mut self, seconds: u64) {
        self.sweep().await;
        self.told().await;
        self.world.advance(seconds);
        self.sweep().await;
        self.told().await;
    }

    fn cart(&self, dice: &mut StdRng) -> &Cart<'_> {
        &self.carts[dice.random_range(0..self.carts.len())]
    }

    fn phone(&self, dice: &mut StdRng) -> &Phone<'_> {
        &self.phones[dice.random_range(0..self.phones.len())]
    }

    /// A code of a cart that shows one.
    async fn code(&self, dice: &mut StdRng) -> Option<String> {
        let first = dice.random_range(0..self.carts.len());
        for cart in self.carts.iter().cycle().skip(first).take(self.carts.len()) {
            let answer = cart.get(&format!("/customer-session/qr/{}", cart.id)).await;
            if answer.status.is_success() {
                return Some(answer.json().as_str().unwrap().to_owned());
            }
        }
        None
    }

    /// The session a phone has open, or else one of those there have been.
    async fn session(&self, phone: &Phone<'_>, dice: &mut StdRng) -> i64 {
        let open = phone.get(&format!("/customer-session/active/{}", phone.id)).await;
        match open.status.is_success() && dice.random_bool(0.9) {
            true => open.json()["session_id"].as_i64().unwrap(),
            false => dice.random_range(1..60),
        }
    }

    /// Somebody does something.
    async fn act(&self, mut dice: StdRng) -> Option<Answer> {
        let dice = &mut dice;
        let (phone, cart) = (self.phone(dice), self.cart(dice));
        let session = self.session(phone, dice).await;
        let at = |what: &str| format!("/customer-session/{session}/{what}");
        let key = format!("k{}", dice.random_range(0..1_000_000));
        let nothing = json!({});
        Some(match dice.random_range(0..24) {
            0..5 => {
                let scanned = phone.scan(&self.code(dice).await?).await;
                self.perhaps_picked_up(scanned, dice).await
            }
            5..8 => self.on(session).await.unwrap_or(cart).post_keyed(&at("ack"), &key, &nothing).await,
            8 => cart.post(&at("ack")).await,
            9 => phone.post(&at("activity")).await,
            10 => self.on(session).await.unwrap_or(cart).post(&at("activity")).await,
            11 => self.on(session).await.unwrap_or(cart).post(&at("release")).await,
            12 => phone.post_keyed(&at("end"), &key, &nothing).await,
            13 | 14 => phone.post_keyed(&at("checkout"), &key, &nothing).await,
            15 => self.on(session).await.unwrap_or(cart).post(&at("checkout")).await,
            16 | 17 => {
                let (session, id) = self.attempt(dice)?;
                let total = dice.random_range(0..3);
                let receipt =
                    json!({ "currency": "EUR", "total": total, "items": [{ "name": "Tea", "amount": total }] });
                let body = json!({ "checkout_id": id, "receipt": receipt });
                self.till.post_json(&format!("/customer-session/{session}/checkout/complete"), &body).await
            }
            18 => {
                let (session, id) = self.attempt(dice)?;
                self.till
                    .post_json(&format!("/customer-session/{session}/checkout/fail"), &json!({ "checkout_id": id }))
                    .await
            }
            19..22 => {
                let moving = phone.post_json(&at("transfer"), &json!({ "token": self.code(dice).await? })).await;
                self.perhaps_picked_up(moving, dice).await
            }
            22 => {
                cart.post_json(
                    &format!("/carts/{}/heartbeat", cart.id),
                    &json!({ "battery": dice.random_range(8..100) }),
                )
                .await
            }
            _ => {
                let lifecycle = if dice.random_bool(0.8) { "in_service" } else { "maintenance" };
                self.admin
                    .send_json(
                        reqwest::Method::PATCH,
                        &format!("/carts/{}", cart.id),
                        &json!({ "lifecycle": lifecycle }),
                    )
                    .await
            }
        })
    }

    /// Mostly the cart's screen does what it should at once.
    async fn perhaps_picked_up(&self, answer: Answer, dice: &mut StdRng) -> Answer {
        if !answer.status.is_success() || dice.random_bool(0.3) {
            return answer;
        }
        let session = answer.json()["session_id"].as_i64().unwrap();
        match self.on(session).await {
            Some(cart) => cart.ack(session).await,
            None => answer,
        }
    }

    fn attempt(&self, dice: &mut StdRng) -> Option<(i64, String)> {
        let recent = self.checkouts.len().saturating_sub(6);
        let at = dice.random_range(recent..self.checkouts.len().max(1));
        self.checkouts.get(at).cloned()
    }

    /// A cart that has a claim for this session.
    async fn on(&self, session: i64) -> Option<&Cart<'_>> {
        let text = "SELECT c.id FROM cart_claims k JOIN carts c ON c.num = k.cart_num WHERE k.session_id = $1 ORDER BY c.num DESC";
        let row = cartlink::db::row(self.world.app.db.read(), text, [session.into()]).await.unwrap()?;
        let id: String = row.try_get("", "id").unwrap();
        self.carts.iter().find(|cart| cart.id == id)
    }

    fn hear(&mut self, answer: &Answer) {
        assert!(!answer.status.is_server_error(), "{} {}", answer.status, answer.text);
        if !answer.status.is_success() {
            answer.refusal();
            return;
        }
        let view: Value = serde_json::from_str(&answer.text).unwrap_or_default();
        if let (Some(session), Some(checkout)) = (view["session_id"].as_i64(), view["checkout_id"].as_str())
            && !self.checkouts.iter().any(|(_, known)| known == checkout)
        {
            self.checkouts.push((session, checkout.to_owned()));
        }
    }

    /// At any instant: one open session per customer and per cart, and a claim for each cart a session is on.
    async fn nothing_is_shared(&self) {
        let none = async |what: &str, text: &str| {
            let row = cartlink::db::row(self.world.app.db.read(), text, []).await.unwrap();
            assert!(row.is_none(), "{what}");
        };
        none(
            "two open sessions of a customer",
            "SELECT 1 FROM sessions WHERE ended_at IS NULL GROUP BY customer_id HAVING COUNT(*) > 1",
        )
        .await;
        none(
            "two open sessions on a cart",
            "SELECT 1 FROM sessions WHERE ended_at IS NULL GROUP BY cart_num HAVING COUNT(*) > 1",
        )
        .await;
        none(
            "an open session without a claim on its cart",
            "SELECT 1 FROM sessions s WHERE s.ended_at IS NULL AND NOT EXISTS \
             (SELECT 1 FROM cart_claims k WHERE k.session_id = s.id AND k.cart_num = s.cart_num AND k.until IS NULL)",
        )
        .await;
        none(
            "a claim for nothing",
            "SELECT 1 FROM cart_claims k JOIN sessions s ON s.id = k.session_id WHERE k.until IS NULL AND (s.ended_at IS NOT NULL \
             OR (k.cart_num <> s.cart_num AND k.cart_num <> COALESCE(s.transfer_cart, 0)))",
        )
        .await;
    }
}

/// The contract's edges: from status and phase, by a kind of event, to status and phase.
fn is_edge(from: (&str, &str), kind: &str, to: (&str, &str)) -> bool {
    match (from, kind, to) {
        (("", ""), "session-started", ("active", "pairing")) => true,
        (("active", "pairing"), "session-fetched", ("fetched", "shopping")) => true,
        (("active" | "fetched", _), "session-ended", ("failed", "")) => true,
        (("active" | "fetched", _), "session-expired", ("expired", "")) => true,
        (("fetched", "shopping"), "session-idle-warning", ("fetched", "idle_warning")) => true,
        (("fetched", "idle_warning"), "session-resumed", ("fetched", "shopping")) => true,
        (("fetched", "shopping" | "idle_warning"), "checkout-started", ("fetched", "checkout")) => true,
        (("fetched", "checkout"), "checkout-failed", ("fetched", "shopping")) => true,
        (("fetched", _), "checkout-completed", ("completed", "")) => true,
        // A move to another cart begins as a start there, and ends here or there; the phase stays.
        (("fetched", "idle_warning"), "session-started", ("active", "pairing")) => true,
        (("fetched", _), "session-started", ("active", "pairing")) => true,
        (("fetched", before), "session-transferred" | "session-fetched", ("fetched", after)) => before == after,
        _ => false,
    }
}

fn text<'v>(data: &'v Value, key: &str) -> &'v str {
    data[key].as_str().unwrap_or_default()
}

/// Reads the log session by session: each version is told once, along legal edges, up to what the row says.
async fn the_log_is_whole(cast: &Cast<'_>) -> usize {
    let mut by_session: BTreeMap<i64, BTreeMap<i64, Vec<(String, Value)>>> = BTreeMap::new();
    for row in channel_log(cast.world, "").await {
        let (Some(session), false) = (row.session_id, row.kind == "cart-offline") else { continue };
        let data: Value = serde_json::from_str(&row.data).unwrap();
        let version = data["version"].as_i64().unwrap();
        by_session.entry(session).or_default().entry(version).or_default().push((row.kind, data));
    }
    let mut outcomes: HashMap<String, usize> = HashMap::new();
    for (session, versions) in &by_session {
        let (mut status, mut phase) = (String::new(), String::new());
        for (expected, (version, told)) in (1..).zip(versions) {
            assert_eq!(*version, expected, "session {session} has a gap");
            let mut kinds: Vec<&str> = told.iter().map(|(kind, _)| kind.as_str()).collect();
            kinds.sort_unstable();
            let of_a_move = matches!(
                kinds[..],
                ["session-started"]
                    | ["session-transferred"]
                    | ["session-fetched", "session-transferred"]
                    | ["session-resumed", "session-started"]
            );
            let echoed =
                matches!(kinds[..], [one, other] if one == other) || matches!(kinds[..], [_, "session-transferred"]);
            assert!(kinds.len() == 1 || of_a_move || echoed, "session {session}, version {version}: {kinds:?}");
            for (kind, data) in told {
                let (to_status, to_phase) = (text(data, "status"), text(data, "phase"));
                let legal = is_edge((&status, &phase), kind, (to_status, to_phase)) || kind == "session-transferred";
                assert!(legal, "session {session}: {status}/{phase} to {to_status}/{to_phase} by {kind}");
            }
            // What the cart it is on was told, not the one it moves to.
            let own = told.iter().find(|(kind, _)| *version == 1 || kind != "session-started");
            match own {
                Some((_, data)) => (status, phase) = (text(data, "status").to_owned(), text(data, "phase").to_owned()),
                None => phase = "shopping".into(),
            }
        }
        let seen = cast.admin.get(&format!("/customer-session/{session}")).await.ok();
        assert_eq!(
            (text(&seen, "status"), text(&seen, "phase")),
            (status.as_str(), phase.as_str()),
            "session {session} as its log ends"
        );
        *outcomes.entry(status).or_default() += 1;
    }
    let counted = cartlink::db::all::<Count>(
        cast.world.app.db.read(),
        "SELECT status, COUNT(*) AS n FROM sessions GROUP BY status",
        [],
    );
    for Count { status, n } in counted.await.unwrap() {
        assert_eq!(outcomes.get(&status).copied(), usize::try_from(n).ok(), "{status}");
    }
    by_session.values().map(BTreeMap::len).sum()
}

#[derive(sea_orm::FromQueryResult)]
struct Count {
    status: String,
    n: i64,
}

/// Staff's streams have told exactly what the log holds, once each and in its order; at most a few events were left behind
/// when the clock jumped.
async fn streams_agree(cast: &mut Cast<'_>, starts: &[i64]) {
    cast.sweep().await;
    cast.told().await;
    let (now, mut all, mut left_behind) = (cast.world.app.clock.now(), 0, 0);
    for ((cart, watcher), start) in cast.carts.iter().zip(&cast.watchers).zip(starts) {
        let told: Vec<(i64, String)> = watcher
            .frames
            .lock()
            .unwrap()
            .iter()
            .map(|frame| (seq(frame.id.as_ref().unwrap()), frame.kind()))
            .collect();
        let heard: HashSet<i64> = told.iter().map(|(seq, _)| *seq).collect();
        let mut log = channel_log(cast.world, &cart.id).await;
        log.retain(|event| event.seq > *start);
        let before = log.len();
        all += before;
        log.retain(|event| heard.contains(&event.seq) || !event.is_left_behind(now));
        left_behind += before - log.len();
        let logged: Vec<(i64, String)> = log.into_iter().map(|event| (event.seq, event.kind)).collect();
        assert_eq!(told, logged, "the stream of cart {}", cart.id);
    }
    assert!(left_behind * 50 <= all, "{left_behind} of {all} events were told to nobody");
}

async fn walk(backend: Backend) {
    let wide = [
        "--limit-mints=1000000/1ms",
        "--limit-scans=1000000/1ms",
        "--streams-per-customer=1000",
        "--streams-per-cart=1000",
        "--access-ttl=300d",
        "--refresh-ttl=300d",
        "--stream-max-age=300d",
    ];
    let world = World::with(backend, &wide).await;
    let began = world.now();
    let admin = world.admin().await;
    let external = json!({ "settings": { "checkout_mode": "external" } });
    admin.send_json(reqwest::Method::PATCH, "/admin/stores/1", &external).await.ok();
    let till = Service::made(&world, &["checkout"], None).await;
    let (mut carts, mut watchers, mut starts) = (Vec::new(), Vec::new(), Vec::new());
    for id in ["a", "b", "c", "d", "e"] {
        carts.push(Cart::enrolled(&world, &admin, id).await);
        let screen = admin.stream(&format!("/sse/{id}")).await;
        starts.push(screen.last_id.as_deref().map_or(0, seq));
        watchers.push(Watcher::follow(screen));
    }
    let phones = join_all((0..4).map(|_| world.phone())).await;
    let mut cast = Cast { world: &world, began, carts, phones, till, admin, watchers, checkouts: Vec::new() };
    let seed = std::env::var("CARTLINK_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| rand::rng().random());
    eprintln!("CARTLINK_TEST_SEED={seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    for step in 0..STEPS {
        match dice.random_range(0..30) {
            0 => {
                let spans = [1, 5, 14, 16, 29, 31, 61, 91, 299, 601, 901, 1_201];
                cast.wait(spans[dice.random_range(0..spans.len())]).await;
            }
            1 if step % 20 == 0 => cast.wait(4 * 3600).await,
            // Several at once.
            2..6 => {
                let many =
                    join_all((0..3).map(|_| StdRng::seed_from_u64(dice.random())).map(|dice| cast.act(dice))).await;
                many.iter().flatten().for_each(|answer| cast.hear(answer));
            }
            _ => {
                if let Some(answer) = cast.act(StdRng::seed_from_u64(dice.random())).await {
                    cast.hear(&answer);
                }
            }
        }
        cast.nothing_is_shared().await;
    }
    let transitions = the_log_is_whole(&cast).await;
    eprintln!("{transitions} transitions");
    assert!(transitions > STEPS / 15, "the walk went somewhere: {transitions} transitions");
    streams_agree(&mut cast, &starts).await;
}

#[tokio::test]
async fn a_random_walk_breaks_no_rule_on_sqlite() {
    walk(Backend::Sqlite).await;
}

#[tokio::test]
async fn a_random_walk_breaks_no_rule_on_postgresql() {
    walk(Backend::Postgres).await;
}

//! Forgetting: after an erasure nothing names the person, after 30 days no session does, and statistics are unchanged.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::task::LocalSet;

use crate::helpers::{Answer, Phone, Screen, Service, World, both, every_row};

const EMAIL: &str = "quirina.zoutendijk@mail.example";
const NAME: &str = "Quirina Zoutendijk";
/// An id that stands out in any text.
const ID: i64 = 918_273_645;
const PASSWORD: &str = "a passphrase of nine words";

/// Every log line of this process, at the level that says most.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// From here on. Tests that share a process share the first one's subscriber, and then this one stays empty.
    fn start() -> (Self, bool) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
        let started = subscriber.with_writer(move || writer.clone()).try_init().is_ok();
        (log, started)
    }

    /// What our own code and its libraries have logged; the lines of the test's HTTP client are not the server's.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned();
        let clients = ["reqwest", "hyper", "rustls", "cookie_store"];
        text.lines().filter(|line| !clients.iter().any(|client| line.contains(client))).collect::<Vec<_>>().join("\n")
    }
}

async fn write(world: &World, text: String) {
    let app = Arc::clone(&world.app);
    let written = async move {
        app.db.write(async move |txn: &cartlink::db::Txn<'_>| cartlink::db::execute(&**txn, &text, []).await).await
    };
    LocalSet::new().run_until(written).await.unwrap();
}

/// The next account is this one.
async fn next_account(world: &World, id: i64) {
    let text = match world.app.db.is_postgres() {
        true => format!("ALTER TABLE accounts ALTER COLUMN id RESTART WITH {id}"),
        false => format!("UPDATE sqlite_sequence SET seq = {} WHERE name = 'accounts'", id - 1),
    };
    write(world, text).await;
}

/// What statistics are made of: everything about sessions but whose they were.
async fn statistics(world: &World) -> Vec<String> {
    let rows = every_row(world).await;
    let text = "SELECT id, status, reason, created_at, fetched_at, checkout_at, ended_at, cart_num, store_id FROM sessions ORDER BY id";
    let rows_of_sessions = cartlink::db::all::<Facts>(world.app.db.read(), text, []).await.unwrap();
    assert!(rows.contains("sessions: "));
    rows_of_sessions.into_iter().map(|facts| format!("{facts:?}")).collect()
}

#[derive(Debug, sea_orm::FromQueryResult)]
#[expect(dead_code, reason = "compared by their Debug text")]
struct Facts {
    id: i64,
    status: String,
    reason: Option<String>,
    created_at: i64,
    fetched_at: Option<i64>,
    checkout_at: Option<i64>,
    ended_at: Option<i64>,
    cart_num: i64,
    store_id: i64,
}

#[track_caller]
fn holds_nothing(what: &str, text: &str) {
    for needle in [EMAIL, "quirina", NAME, "Zoutendijk", &ID.to_string()] {
        if let Some(at) = text.to_lowercase().find(&needle.to_lowercase()) {
            let start = text[..at].rfind('\n').map_or(0, |start| start + 1);
            let line: String = text[start..].lines().next().unwrap_or_default().chars().take(600).collect();
            panic!("{what} still holds {needle}: {line}");
        }
    }
}

/// A customer with everything a life in a store leaves behind: the phone, and what a cart's screen saw.
async fn lived(world: &World) -> (Phone<'_>, Screen) {
    let admin = world.admin().await;
    let external = json!({ "settings": { "checkout_mode": "external" } });
    admin.send_json(reqwest::Method::PATCH, "/admin/stores/1", &external).await.ok();
    admin.post_json("/admin/webhooks", &json!({ "url": "http://127.0.0.1:9/" })).await.ok();
    let till = Service::made(world, &["checkout", "sessions:read"], None).await;
    next_account(world, ID).await;
    let account = json!({ "email": EMAIL, "password": PASSWORD, "full_name": NAME });
    let made = Answer::of(world.http.post(world.url("/auth/signup")).json(&account)).await.ok();
    assert_eq!(made["id"], ID);
    let sign_in = async |password: &str| {
        Answer::of(world.http.post(world.url("/auth/login")).form(&[("username", EMAIL), ("password", password)])).await
    };
    assert_eq!(sign_in("not her password").await.status, 401);
    let signed_in = sign_in(PASSWORD).await.ok();
    let text = |key: &str| signed_in[key].as_str().unwrap().to_owned();
    let phone = Phone { world, token: text("access_token"), refresh_token: text("refresh_token"), id: ID };

    let (first, second) = (world.cart("7").await, world.cart("8").await);
    let mut screen = first.acking_screen().await;
    // Shops on one cart, goes on with another, pays late and then in time, each request under a key.
    let scan = json!({ "token": first.qr().await });
    let session = phone.post_keyed("/customer-session/scan-qr", "scan", &scan).await.ok()["session_id"].clone();
    assert_eq!(screen.expect("session-started").await["display_name"], "Q.");
    let at = |what: &str| format!("/customer-session/{session}/{what}");
    first.post_keyed(&at("ack"), "ack", &json!({})).await.ok();
    phone.post_keyed(&at("transfer"), "move", &json!({ "token": second.qr().await })).await.ok();
    second.post_keyed(&at("ack"), "ack", &json!({})).await.ok();
    let checkout = phone.post_keyed(&at("checkout"), "pay", &json!({})).await.ok()["checkout_id"].clone();
    let receipt =
        json!({ "currency": "EUR", "total": 1, "items": [{ "name": format!("Card for {NAME}"), "amount": 1 }] });
    let paid = json!({ "checkout_id": checkout, "receipt": receipt });
    till.post_keyed(&at("checkout/complete"), "paid", &paid).await.ok();
    phone.get(&format!("/customer-session/active/{ID}")).await.refusal();
    // A second session whose payment came too late.
    world.advance(20);
    let session = phone.scan(&first.qr().await).await.ok()["session_id"].clone();
    first.ack(session.as_i64().unwrap()).await.ok();
    let mut mine = phone.stream("/sse/7").await;
    let late = phone.post(&format!("/customer-session/{session}/checkout")).await.ok()["checkout_id"].clone();
    mine.expect("checkout-started").await;
    world.advance(601);
    let failed = mine.expect("checkout-failed").await;
    assert_eq!(failed["session_id"], session);
    phone.post(&format!("/customer-session/{session}/end")).await.ok();
    let paid = json!({ "checkout_id": late, "receipt": receipt });
    let answer = till.post_json(&format!("/customer-session/{session}/checkout/complete"), &paid).await;
    assert_eq!(answer.refusal().1, "refund-required");
    (phone, screen)
}

both! {
    async fn an_erasure_leaves_no_trace_of_the_person_and_the_statistics_as_they_were(world: World) {
        let (log, alone) = Log::start();
        let (phone, _screen) = lived(&world).await;
        let export = phone.get("/auth/me/export").await;
        assert!(export.text.contains(EMAIL) && export.text.contains(NAME), "the export holds everything");
        assert_eq!(export.ok()["sessions"].as_array().unwrap().len(), 2);
        let rows = every_row(&world).await;
        assert!(rows.contains(EMAIL) && rows.contains(NAME) && rows.contains(&ID.to_string()), "the search can find");
        let before = statistics(&world).await;
        assert_eq!(phone.delete("/auth/me").await.status, 204);
        holds_nothing("a table", &every_row(&world).await);
        assert_eq!(statistics(&world).await, before);
        let other = world.phone().await;
        holds_nothing("another's export", &other.get("/auth/me/export").await.text.replace(&(ID + 1).to_string(), ""));
        let admin = world.admin().await;
        for session in [1, 2] {
            holds_nothing("a session", &admin.get(&format!("/customer-session/{session}")).await.text);
        }
        holds_nothing("the audit log", &admin.get("/admin/audit").await.text);
        assert_eq!(phone.get("/auth/me").await.status, 401);
        if alone {
            let text = log.text();
            assert!(text.contains("answered"), "the log is there");
            holds_nothing("the log", &text.replace(&(ID + 1).to_string(), ""));
        }
    }

    async fn an_erasure_ends_the_open_session_and_frees_the_cart(world: World) {
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        let mut screen = cart.acking_screen().await;
        phone.scan(&cart.qr().await).await.ok();
        screen.expect("session-started").await;
        assert_eq!(phone.delete("/auth/me").await.status, 204);
        assert_eq!(screen.expect("session-ended").await["reason"], "account_closed");
        assert_eq!(cart.status().await, "available");
    }

    async fn nobody_starts_a_session_in_a_name_that_is_being_forgotten(world: World) {
        let cart = world.cart("7").await;
        for _round in 0..8 {
            let phone = world.phone().await;
            let code = cart.qr().await;
            let (_scanned, erased) = tokio::join!(phone.scan(&code), phone.delete("/auth/me"));
            assert_eq!(erased.status, 204, "{}", erased.text);
            let text = "SELECT COUNT(*) AS n FROM sessions WHERE customer_id = $1";
            let row = cartlink::db::row(world.app.db.read(), text, [phone.id.into()]).await.unwrap().unwrap();
            assert_eq!(row.try_get::<i64>("", "n").unwrap(), 0);
        }
    }

    async fn after_30_days_a_session_is_nobodys_and_its_row_stays(world: World) {
        let (_phone, _screen) = lived(&world).await;
        let before = statistics(&world).await;
        let customers = async || {
            let text = "SELECT COUNT(customer_id) + (SELECT COUNT(*) FROM receipts) + (SELECT COUNT(*) FROM checkouts) AS n FROM sessions";
            let row = cartlink::db::row(world.app.db.read(), text, []).await.unwrap().unwrap();
            row.try_get::<i64>("", "n").unwrap()
        };
        let days = async |days: u64| {
            world.advance(days * 24 * 3600);
            LocalSet::new().run_until(cartlink::retention::forget(&world.app)).await.unwrap();
        };
        days(29).await;
        assert_eq!(customers().await, 5);
        days(2).await;
        assert_eq!(customers().await, 0);
        assert_eq!(statistics(&world).await, before);
    }

    async fn every_table_forgets_what_nobody_needs_any_more(world: World) {
        {
            let (_phone, _screen) = lived(&world).await;
        }
        world.phone().await;
        let rows = async |table: &str| every_row(&world).await.lines().filter(|row| row.starts_with(&format!("{table}: "))).count();
        for table in ["idempotency", "refresh_tokens", "sign_ins", "receipts", "checkouts", "webhook_deliveries", "audit"] {
            assert!(rows(table).await > 0, "{table}");
        }
        let accounts = rows("accounts").await;
        world.advance(24 * 3600 + 1);
        LocalSet::new().run_until(cartlink::retention::forget(&world.app)).await.unwrap();
        assert_eq!(rows("idempotency").await, 0);
        world.advance(400 * 24 * 3600);
        LocalSet::new().run_until(cartlink::retention::forget(&world.app)).await.unwrap();
        for table in ["refresh_tokens", "sign_ins", "receipts", "checkouts", "audit", "enrolments"] {
            assert_eq!(rows(table).await, 0, "{table}");
        }
        assert_eq!(rows("accounts").await, accounts - 1, "the guest is gone, people are not");
        assert_eq!(rows("sessions").await, 2);
        let verdict = cartlink::admin::audit::verify(world.app.db.read()).await.unwrap();
        assert_eq!(verdict, cartlink::admin::audit::Verdict::Whole(0));
    }
}

//! Webhooks, received by a real HTTP server and verified by a Standard Webhooks library nobody here wrote.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::helpers::{Backend, Cart, Phone, Staff, World, both, every_row, free_port};

/// A message as it came.
#[derive(Debug)]
struct Received {
    id: String,
    timestamp: i64,
    signature: String,
    body: String,
}

impl Received {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Kind and session.
    fn told(&self) -> (String, i64) {
        let message = self.json();
        (message["type"].as_str().unwrap().to_owned(), message["data"]["session_id"].as_i64().unwrap())
    }
}

/// Another back end's HTTP server.
struct Receiver {
    answer: Arc<AtomicU16>,
    messages: mpsc::UnboundedReceiver<Received>,
    stop: actix_web::dev::ServerHandle,
    thread: Option<std::thread::JoinHandle<()>>,
    url: String,
}

impl Receiver {
    fn at(listener: TcpListener, status: u16) -> Self {
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let answer = Arc::new(AtomicU16::new(status));
        let (sender, messages) = mpsc::unbounded_channel();
        let (given, stop) = std::sync::mpsc::channel();
        let state = (sender, Arc::clone(&answer));
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let app = move || {
                    actix_web::App::new().app_data(web::Data::new(state.clone())).default_service(web::to(receive))
                };
                let server = HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap().run();
                given.send(server.handle()).unwrap();
                server.await.unwrap();
            });
        });
        Self { answer, messages, stop: stop.recv().unwrap(), thread: Some(thread), url }
    }

    fn new() -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").unwrap(), 204)
    }

    async fn next(&mut self) -> Received {
        tokio::time::timeout(Duration::from_secs(60), self.messages.recv())
            .await
            .expect("a message within 60 s")
            .unwrap()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        std::mem::drop(self.stop.stop(false));
        let _panicked = self.thread.take().unwrap().join();
    }
}

type State = (mpsc::UnboundedSender<Received>, Arc<AtomicU16>);

async fn receive(request: HttpRequest, state: web::Data<State>, body: String) -> HttpResponse {
    let text = |name: &str| request.headers().get(name).unwrap().to_str().unwrap().to_owned();
    let status = StatusCode::from_u16(state.1.load(Ordering::SeqCst)).unwrap();
    let received = Received {
        id: text("webhook-id"),
        timestamp: text("webhook-timestamp").parse().unwrap(),
        signature: text("webhook-signature"),
        body,
    };
    state.0.send(received).unwrap();
    HttpResponse::build(status).insert_header(("location", "/elsewhere")).finish()
}

async fn subscribe(admin: &Staff<'_>, url: &str) -> (String, String) {
    let made = admin.post_json("/admin/webhooks", &json!({ "url": url })).await.ok();
    assert_eq!(made["kinds"], json!(["session-started", "checkout-completed", "session-ended"]));
    (made["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
}

/// A session from its scan to its receipt.
async fn shop(cart: &Cart<'_>, phone: &Phone<'_>) -> i64 {
    let session = phone.scan(&cart.qr().await).await.ok()["session_id"].as_i64().unwrap();
    cart.ack(session).await.ok();
    let receipt =
        json!({ "currency": "EUR", "total": 499, "items": [{ "name": "Tea", "quantity": 1, "amount": 499 }] });
    phone.post_json(&format!("/customer-session/{session}/checkout"), &receipt).await.ok();
    session
}

/// Waits until the delivery's row says so: what the receiver has answered is written down a moment later.
async fn noted(world: &World, condition: &str) {
    for _ in 0..6_000 {
        let text = format!("SELECT 1 AS there FROM webhook_deliveries WHERE {condition}");
        if cartlink::db::row(world.app.db.read(), &text, []).await.unwrap().is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let rows = every_row(world).await;
    let rows: Vec<&str> = rows.lines().filter(|row| row.starts_with("webhook_deliveries: ")).collect();
    panic!("no delivery became {condition}: {rows:#?}");
}

both! {
    async fn a_library_nobody_here_wrote_verifies_what_a_receiver_gets(world: World) {
        let admin = world.admin().await;
        let mut receiver = Receiver::new();
        let (_, secret) = subscribe(&admin, &receiver.url).await;
        let theirs = standardwebhooks::Webhook::new(&secret).unwrap();
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        let session = shop(&cart, &phone).await;
        for kind in ["session-started", "checkout-completed"] {
            let received = receiver.next().await;
            assert_eq!(received.told(), (kind.to_owned(), session));
            // Its `verify` asks the machine's clock, and ours is a test's; `sign` is the rest of it.
            assert_eq!(received.timestamp, world.now().unix());
            let right = theirs.sign(&received.id, received.timestamp, received.body.as_bytes()).unwrap();
            assert_eq!(received.signature, right);
            let message = received.json();
            assert_eq!(message["timestamp"], "2030-03-17T17:46:40.000Z");
            assert_eq!(message["receipt"]["total"].as_i64(), (kind == "checkout-completed").then_some(499));
            assert!(!received.body.contains("token") && !received.body.contains("user_id"), "{}", received.body);
        }
    }

    async fn a_receiver_that_is_down_for_an_hour_gets_everything_in_order(world: World) {
        let admin = world.admin().await;
        // A port that is ours, and closed for now.
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (_, secret) = subscribe(&admin, &format!("http://{address}/hook")).await;
        let carts = [world.cart("7").await, world.cart("8").await, world.cart("9").await];
        let phone = world.phone().await;
        let mut expected = Vec::new();
        for cart in &carts {
            let session = shop(cart, &phone).await;
            expected.push(("session-started".to_owned(), session));
            expected.push(("checkout-completed".to_owned(), session));
        }
        let last = phone.scan(&carts[0].qr().await).await.ok()["session_id"].as_i64().unwrap();
        expected.push(("session-started".to_owned(), last));
        expected.push(("session-ended".to_owned(), last));
        noted(&world, "attempts = 1").await;
        for minute in 0..60 {
            world.advance(60);
            if minute == 0 {
                noted(&world, "attempts = 2").await;
            }
        }
        let mut receiver = Receiver::at(TcpListener::bind(address).unwrap(), 200);
        world.advance(3 * 3600);
        let mut received = Vec::new();
        while received.len() < expected.len() {
            let message = receiver.next().await;
            let right = standardwebhooks::Webhook::new(&secret).unwrap();
            assert_eq!(message.signature, right.sign(&message.id, message.timestamp, message.body.as_bytes()).unwrap());
            received.push(message.told());
        }
        let of = |all: &[(String, i64)], session: i64| -> Vec<String> {
            all.iter().filter(|(_, of)| *of == session).map(|(kind, _)| kind.clone()).collect()
        };
        for session in 1..=last {
            assert_eq!(of(&received, session), of(&expected, session), "session {session}");
        }
    }

    async fn what_comes_twice_bears_the_same_id_and_later_ones_wait_for_it(world: World) {
        let admin = world.admin().await;
        let mut receiver = Receiver::new();
        receiver.answer.store(500, Ordering::SeqCst);
        subscribe(&admin, &receiver.url).await;
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        shop(&cart, &phone).await;
        let first = receiver.next().await;
        noted(&world, "attempts = 1 AND failure = 'answered 500'").await;
        receiver.answer.store(302, Ordering::SeqCst);
        world.advance(6);
        let second = receiver.next().await;
        noted(&world, "attempts = 2 AND failure = 'answered 302'").await;
        receiver.answer.store(200, Ordering::SeqCst);
        world.advance(31);
        let third = receiver.next().await;
        assert_eq!((&first.id, &first.body), (&second.id, &second.body));
        assert_eq!((&first.id, first.told().0.as_str()), (&third.id, "session-started"));
        assert!(first.timestamp < second.timestamp && first.signature != second.signature, "each try is signed anew");
        let next = receiver.next().await;
        assert_eq!(next.told().0, "checkout-completed");
        assert_ne!(next.id, first.id);
    }

    async fn after_a_day_it_is_a_dead_letter_that_an_admin_can_send_once_more(world: World) {
        let admin = world.admin().await;
        let mut receiver = Receiver::new();
        receiver.answer.store(500, Ordering::SeqCst);
        let (id, _) = subscribe(&admin, &receiver.url).await;
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        phone.scan(&cart.qr().await).await.ok();
        let first = receiver.next().await;
        noted(&world, "attempts = 1").await;
        for attempt in 2..=11 {
            world.advance(8 * 3600 + 1);
            assert_eq!(receiver.next().await.id, first.id);
            noted(&world, &format!("attempts = {attempt}")).await;
        }
        noted(&world, "dead_at IS NOT NULL").await;
        let admin = world.admin().await;
        let letters = admin.get(&format!("/admin/webhooks/{id}/dead-letters")).await.ok();
        let letter = &letters["items"][0];
        assert_eq!((&letter["message_id"], &letter["attempts"], &letter["failure"]), (&json!(first.id), &json!(11), &json!("answered 500")));
        receiver.answer.store(200, Ordering::SeqCst);
        // What came after it in the session was held back by it, and comes by itself now.
        let ended = receiver.next().await;
        assert_eq!(ended.told().0, "session-ended");
        assert_eq!(admin.post(&format!("/admin/webhooks/{id}/replay")).await.ok(), json!({ "replayed": 1 }));
        let again = receiver.next().await;
        assert_eq!((&again.id, &again.body), (&first.id, &first.body));
        noted(&world, "delivered_at IS NOT NULL").await;
        let one = admin.post_json(&format!("/admin/webhooks/{id}/replay"), &json!({ "message_id": ended.id })).await;
        assert_eq!(one.ok(), json!({ "replayed": 1 }));
        assert_eq!(receiver.next().await.id, ended.id);
        assert_eq!(admin.get(&format!("/admin/webhooks/{id}/dead-letters")).await.ok()["items"], json!([]));
    }

    async fn a_crash_loses_no_message(world: World) {
        let mut world = world;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        {
            subscribe(&world.admin().await, &format!("http://{address}/hook")).await;
            shop(&world.cart("7").await, &world.phone().await).await;
        }
        world.stop(false).await;
        let mut receiver = Receiver::at(TcpListener::bind(address).unwrap(), 200);
        world.restart(false).await;
        world.advance(61);
        assert_eq!(receiver.next().await.told().0, "session-started");
        assert_eq!(receiver.next().await.told().0, "checkout-completed");
    }

    async fn only_admins_have_webhooks_and_only_of_their_own_store(world: World) {
        let root = world.admin().await;
        let store = root.post_json("/admin/stores", &json!({ "name": "Elsewhere" })).await.ok()["store_id"].clone();
        let hire = async |email: &str, role: &str| {
            let password = "correct horse battery";
            let body = json!({ "email": email, "password": password, "full_name": "Sam", "role": role, "store_id": store });
            root.post_json("/admin/staff", &body).await.ok();
            Staff::sign_in(&world, email, password).await
        };
        let (admin, manager) = (hire("a@elsewhere.example", "admin").await, hire("m@elsewhere.example", "manager").await);
        let (own, _) = subscribe(&admin, "https://till.example/").await;
        let (all, _) = subscribe(&root, "https://till.example/").await;
        assert_eq!(manager.get("/admin/webhooks").await.refusal().0, 403);
        let seen = admin.get("/admin/webhooks").await.ok();
        assert_eq!(seen.as_array().unwrap().iter().map(|seen| seen["id"].as_str().unwrap()).collect::<Vec<_>>(), [own.as_str()]);
        assert!(seen[0]["secret"].is_null(), "it is shown once");
        for path in [format!("/admin/webhooks/{all}"), "/admin/webhooks/wh_none".into()] {
            assert_eq!(admin.delete(&path).await.refusal(), (404, "not-found".into()));
            assert_eq!(admin.get(&format!("{path}/dead-letters")).await.refusal().0, 404);
            assert_eq!(admin.post(&format!("{path}/replay")).await.refusal().0, 404);
        }
        let beyond = json!({ "url": "https://till.example/", "store_id": null });
        assert_eq!(admin.post_json("/admin/webhooks", &beyond).await.refusal().0, 403);
        assert_eq!(admin.delete(&format!("/admin/webhooks/{own}")).await.status.as_u16(), 204);
        assert_eq!(admin.get("/admin/webhooks").await.ok(), json!([]));
    }

    async fn addresses_that_are_not_to_be_reached_are_refused(world: World) {
        let admin = world.admin().await;
        for url in ["http://till.example/", "https://10.0.0.1/", "https://[fd00::1]/", "ftp://till.example/", "till", "https://169.254.169.254/latest"] {
            let answer = admin.post_json("/admin/webhooks", &json!({ "url": url })).await;
            assert_eq!(answer.refusal(), (422, "invalid-fields".into()), "{url}");
        }
        let answer = admin.post_json("/admin/webhooks", &json!({ "url": "https://till.example/", "kinds": ["cart-status"] })).await;
        assert_eq!(answer.json()["errors"][0]["field"], "kinds");
    }
}

/// As on two nodes of a cluster.
#[tokio::test]
async fn two_dispatchers_deliver_each_message_once() {
    let world = World::start(Backend::Postgres).await;
    let admin = world.admin().await;
    let mut receiver = Receiver::new();
    subscribe(&admin, &receiver.url).await;
    let (app, cart, phone) = (Arc::clone(&world.app), world.cart("7").await, world.phone().await);
    // Beside the server's own: on a LocalSet, as there.
    let others = tokio::task::LocalSet::new();
    for _ in 0..3 {
        others.spawn_local(cartlink::webhook::deliver::run(Arc::clone(&app)));
    }
    others
        .run_until(async {
            let mut ids = Vec::new();
            for _ in 0..5 {
                shop(&cart, &phone).await;
                ids.push(receiver.next().await.id);
                ids.push(receiver.next().await.id);
            }
            let all = ids.len();
            ids.sort();
            ids.dedup();
            assert_eq!((ids.len(), receiver.messages.try_recv().is_err()), (all, true));
        })
        .await;
}

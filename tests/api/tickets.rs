//! `POST /stream-tickets`, and that what opens a stream by its URL is found in no log.

use serde_json::json;

use crate::helpers::{Answer, Backend, Screen, Staff, World, both};

fn ticket(answer: &Answer) -> String {
    assert_eq!(answer.headers["cache-control"], "no-store");
    let body = answer.ok();
    assert_eq!(body["expires_in"], 60);
    body["ticket"].as_str().unwrap().to_owned()
}

async fn open(world: &World, path: &str, ticket: &str) -> Answer {
    // An error frame would be a 200 for a browser: this is none.
    let request = world.http.get(world.url(&format!("{path}?ticket={ticket}"))).header("accept", "application/json");
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    let text = if status.is_success() { String::new() } else { answer.text().await.unwrap() };
    Answer { status, headers, text }
}

both! {
    async fn a_ticket_opens_its_stream_for_a_minute_any_number_of_times_and_no_other(world: World) {
        let (cart, _) = (world.cart("7").await, world.cart("8").await);
        let phone = world.phone().await;
        phone.scan(&cart.qr().await).await.ok();
        let for_cart = ticket(&phone.post_json("/stream-tickets", &json!({ "cart_id": 7 })).await);
        let for_session = ticket(&phone.post_json("/stream-tickets", &json!({ "session_id": "1" })).await);
        for _ in 0..2 {
            assert_eq!(open(&world, "/sse/7", &for_cart).await.status, 200);
            assert_eq!(open(&world, "/session/1/events", &for_session).await.status, 200);
        }
        for (path, ticket) in [("/sse/8", &for_cart), ("/session/1/events", &for_cart), ("/sse/7", &for_session), ("/session/2/events", &for_session)] {
            assert_eq!(open(&world, path, ticket).await.refusal().0, 401, "{path}");
        }
        let elsewhere = Answer::of(world.http.get(world.url("/auth/me")).bearer_auth(&for_cart)).await;
        assert_eq!(elsewhere.refusal().0, 401, "it is no access token");
        world.advance(59);
        assert_eq!(open(&world, "/sse/7", &for_cart).await.status, 200);
        world.advance(1);
        assert_eq!(open(&world, "/sse/7", &for_cart).await.refusal().0, 401);
    }

    async fn a_stream_opened_by_a_ticket_lives_as_long_as_what_bought_it(world: World) {
        let phone = world.phone().await;
        let ticket = ticket(&phone.post_json("/stream-tickets", &json!({ "cart_id": "7" })).await);
        let stream = |ticket: &str| Screen::open(world.http.get(world.url(&format!("/sse/7?ticket={ticket}"))).header("accept", "text/event-stream"));
        let mut stream = stream(&ticket).await;
        world.advance(5 * 3600);
        phone.post("/auth/logout").await.ok();
        assert_eq!(stream.expect("error").await["code"], "revoked");
        assert_eq!(stream.rest().await, []);
    }

    async fn tickets_are_for_streams_their_buyer_may_open(world: World) {
        let (cart, _) = (world.cart("7").await, world.cart("8").await);
        let (phone, stranger) = (world.phone().await, world.phone().await);
        phone.scan(&cart.qr().await).await.ok();
        let admin = world.admin().await;
        let second = admin.post_json("/admin/stores", &json!({ "name": "Second" })).await.ok()["store_id"].as_i64();
        let local = Staff::hired(&world, "viewer", second).await;
        for (answer, status) in [
            (stranger.post_json("/stream-tickets", &json!({ "session_id": 1 })).await, 404),
            (cart.post_json("/stream-tickets", &json!({ "cart_id": 8 })).await, 404),
            (phone.post_json("/stream-tickets", &json!({ "store_id": 1 })).await, 403),
            (local.post_json("/stream-tickets", &json!({ "store_id": 1 })).await, 404),
            (local.post_json("/stream-tickets", &json!({ "store_id": "all" })).await, 403),
            (local.post_json("/stream-tickets", &json!({ "cart_id": 7 })).await, 404),
            (admin.post_json("/stream-tickets", &json!({ "store_id": "some" })).await, 422),
            (phone.post_json("/stream-tickets", &json!({})).await, 422),
            (phone.post_json("/stream-tickets", &json!({ "cart_id": 7, "session_id": 1 })).await, 422),
            (Answer::of(world.http.post(world.url("/stream-tickets")).json(&json!({ "cart_id": 7 }))).await, 401),
        ] {
            assert_eq!(answer.refusal().0, status, "{}", answer.text);
        }
        for answer in [
            stranger.post_json("/stream-tickets", &json!({ "cart_id": 7 })).await,
            stranger.post_json("/stream-tickets", &json!({ "cart_id": "no-such-cart" })).await,
            cart.post_json("/stream-tickets", &json!({ "cart_id": "7" })).await,
            cart.post_json("/stream-tickets", &json!({ "session_id": 1 })).await,
            local.post_json("/stream-tickets", &json!({ "store_id": second })).await,
            admin.post_json("/stream-tickets", &json!({ "store_id": "all" })).await,
        ] {
            ticket(&answer);
        }
    }
}

/// What is logged, kept in memory.
#[derive(Clone, Default)]
struct Kept(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_credential_of_a_url_is_found_in_a_log() {
    let kept = Kept::default();
    let writer = kept.clone();
    // Everything any crate has to say; a process of its own, so the one logger is this test's.
    let logs = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
    logs.with_writer(move || writer.clone()).try_init().unwrap();
    let world = World::start(Backend::Sqlite).await;
    let cart = world.cart("7").await;
    let phone = world.phone().await;
    phone.scan(&cart.qr().await).await.ok();
    let bought = ticket(&phone.post_json("/stream-tickets", &json!({ "cart_id": 7 })).await);
    let form = [("userId", "42"), ("channel", "7"), ("exp", "60")];
    let minted = Answer::of(world.http.post(format!("http://{}/token/", world.control)).form(&form)).await.text;
    let paths = [
        format!("/sse/7?ticket={bought}"),
        format!("/session/1/events?token={}", phone.token),
        format!("/session/1/events?token={}x", phone.token),
        format!("/sse/7?ticket={bought}x"),
    ];
    for path in &paths {
        assert!(world.http.get(world.url(path)).send().await.is_ok());
    }
    let stream = world.http.get(world.url(&format!("/events/?token={minted}&last_event_id=a.1")));
    Screen::open(stream).await;
    let logs = String::from_utf8_lossy(&kept.0.lock().unwrap()).into_owned();
    // Lines of the client in this process tell of its own requests: only the server's count.
    let lines: Vec<&str> = logs.lines().filter(|line| !line.contains("reqwest") && !line.contains("hyper")).collect();
    assert!(
        lines.iter().any(|line| line.contains("/sse/7") && line.contains("answered")),
        "requests are logged at all"
    );
    for secret in [&bought, &phone.token, &minted, &cart.key] {
        let signature = secret.rsplit('.').next().unwrap();
        let found: Vec<_> = lines.iter().filter(|line| line.contains(signature)).collect();
        assert!(found.is_empty(), "{found:?}");
    }
}

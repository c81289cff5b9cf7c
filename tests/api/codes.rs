//! `GET /sse/{cart_id}?qr=1`: a cart's own stream brings its codes.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::helpers::{Backend, Cart, Frame, Screen, World, both};

impl Cart<'_> {
    /// The cart's own stream, as a screen opens it that fetches no codes.
    async fn screen_with_codes(&self) -> Screen {
        self.stream(&format!("/sse/{}?ack=1&qr=1", self.id)).await
    }
}

/// The next frame, which must be a code's; its text.
async fn code(screen: &mut Screen) -> String {
    let frame = screen.next().await;
    assert_eq!((frame.kind().as_str(), &frame.id), ("qr", &None), "a code is no history");
    frame.json()["code"].as_str().unwrap().to_owned()
}

fn members(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

both! {
    async fn a_code_is_there_at_once_and_the_next_one_before_it_dies(world: World) {
        let cart = world.cart("7").await;
        let mut screen = cart.screen_with_codes().await;
        let place = screen.last_id.clone();
        let first = screen.expect("qr").await;
        assert_eq!(screen.last_id, place, "it has no id");
        let fetched = cart.get("/customer-session/qr/7.json").await.ok();
        let more = BTreeSet::from(["type", "event_type", "cart_id"]);
        assert_eq!(members(&first), &members(&fetched) | &more);
        assert_eq!(first, merged(&fetched, &json!({ "type": "qr", "event_type": "qr", "cart_id": 7 })), "the same code, told at the same time");
        for _ in 0..3 {
            world.advance(40);
            let next = screen.expect("qr").await;
            assert_eq!((&next["server_time"], &next["expires_in"], &next["refresh_in"]), (&json!(world.now()), &json!(60), &json!(40)));
        }
        world.advance(39);
        let scanned = world.phone().await.scan(&cart.qr().await).await.ok();
        assert_eq!(screen.expect("session-started").await["session_id"], scanned["session_id"]);
    }

    async fn there_is_none_while_the_cart_is_in_use_and_a_fresh_one_the_moment_it_is_free(world: World) {
        let cart = world.cart("7").await;
        let mut screen = cart.screen_with_codes().await;
        let mut used = BTreeSet::new();
        for visit in 1..=3 {
            let shown = code(&mut screen).await;
            assert!(used.insert(shown.clone()), "another one each time");
            let phone = world.phone().await;
            phone.scan(&shown).await.ok();
            screen.expect("session-started").await;
            cart.ack(visit).await.ok();
            screen.expect("session-fetched").await;
            let mut late = cart.screen_with_codes().await;
            late.expect("session-started").await;
            world.advance(100);
            phone.post(&format!("/customer-session/{visit}/{}", if visit == 2 { "checkout" } else { "end" })).await.ok();
            for screen in [&mut screen, &mut late] {
                screen.expect(if visit == 2 { "checkout-completed" } else { "session-ended" }).await;
            }
            code(&mut late).await;
        }
        code(&mut screen).await;
    }

    async fn maintenance_takes_the_code_away_and_service_brings_another(world: World) {
        let cart = world.cart("7").await;
        let admin = world.admin().await;
        let mut screen = cart.screen_with_codes().await;
        let before = code(&mut screen).await;
        for (lifecycle, status) in [("maintenance", "maintenance"), ("in_service", "available")] {
            admin.send_json(Method::PATCH, "/carts/7", &json!({ "lifecycle": lifecycle })).await.ok();
            assert_eq!(screen.expect("cart-status").await["status"], status);
        }
        let phone = world.phone().await;
        assert_eq!(phone.scan(&before).await.refusal(), (401, "qr-already-used".into()));
        phone.scan(&code(&mut screen).await).await.ok();
        screen.expect("session-started").await;
    }

    async fn nobody_else_is_sent_a_code_nor_a_screen_that_does_not_ask(world: World) {
        let cart = world.cart("7").await;
        let (phone, admin) = (world.phone().await, world.admin().await);
        let mut streams = [cart.acking_screen().await, phone.stream("/sse/7?qr=1").await, admin.stream("/sse/7?qr=1").await];
        let mut asks = cart.screen_with_codes().await;
        for _ in 0..2 {
            code(&mut asks).await;
            world.advance(40);
        }
        phone.scan(&code(&mut asks).await).await.ok();
        phone.post("/customer-session/1/end").await.ok();
        for stream in &mut streams {
            stream.expect("session-started").await;
            stream.expect("session-ended").await;
        }
        asks.expect("session-started").await;
        asks.expect("session-ended").await;
        code(&mut asks).await;
        phone.scan(&cart.qr().await).await.ok();
        for stream in &mut streams {
            stream.expect("session-started").await;
            assert!(!stream.raw.contains("\"qr\""), "{}", stream.raw);
        }
    }
}

fn merged(one: &Value, other: &Value) -> Value {
    let members = one.as_object().unwrap().iter().chain(other.as_object().unwrap());
    members.map(|(name, value)| (name.clone(), value.clone())).collect::<serde_json::Map<_, _>>().into()
}

#[tokio::test]
async fn pushed_codes_count_as_fetched_ones_do_and_come_as_soon_as_there_may_be_another() {
    let world = World::with(Backend::Sqlite, &["--limit-mints=2/10s"]).await;
    let cart = world.cart("7").await;
    cart.qr().await;
    cart.qr().await;
    let mut screen = cart.screen_with_codes().await;
    assert_eq!(cart.get("/customer-session/qr/7").await.refusal().0, 429);
    world.advance(10);
    let told = screen.expect("qr").await;
    assert_eq!(told["server_time"], json!(world.now()));
    assert_eq!(cart.get("/customer-session/qr/7").await.refusal().0, 429);
}

#[tokio::test]
async fn where_names_are_asked_for_a_code_has_one() {
    let world = World::start(Backend::Sqlite).await;
    let mut screen = world.cart("7").await.stream("/sse/7?named=1&qr=1").await;
    let Frame { id, event, .. } = screen.next().await;
    assert_eq!((id, event.as_deref()), (None, Some("qr")));
}

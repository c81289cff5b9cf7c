//! From the scan to the pick-up: our screens acknowledge, screens in the field cannot, and a silent cart
//! loses the session.

use serde_json::json;

use crate::helpers::{World, both};

both! {
    async fn a_cart_that_stays_silent_for_30_seconds_loses_the_session(world: World) {
        let cart = world.cart("7").await;
        let phone = world.phone().await;
        let mut mine = phone.stream("/sse/7").await;
        phone.scan(&cart.qr().await).await.ok();
        mine.expect("session-started").await;
        world.advance(29);
        assert_eq!(phone.get("/customer-session/1").await.ok()["status"], "active");
        world.advance(2);
        let expired = mine.expect("session-expired").await;
        assert_eq!((&expired["status"], &expired["reason"]), (&json!("expired"), &json!("pickup_timeout")));
        assert_eq!(phone.get("/customer-session/1").await.ok()["reason"], "pickup_timeout");
        assert_eq!(cart.status().await, "available");
        world.phone().await.scan(&cart.qr().await).await.ok();
    }

    async fn our_screen_acknowledges_and_keeps_the_session(world: World) {
        let cart = world.cart("7").await;
        let mut screen = cart.acking_screen().await;
        let phone = world.phone().await;
        phone.scan(&cart.qr().await).await.ok();
        screen.expect("session-started").await;
        let acked = cart.ack(1).await.ok();
        assert_eq!((&acked["status"], &acked["phase"]), (&json!("fetched"), &json!("shopping")));
        assert_eq!(cart.ack(1).await.ok()["fetched_at"], acked["fetched_at"], "once more is no error");
        world.advance(120);
        assert_eq!(phone.get("/customer-session/1").await.ok()["status"], "fetched");
    }

    async fn a_screen_in_the_field_that_closes_its_stream_has_picked_the_session_up_and_shops_to_the_end(world: World) {
        let cart = world.cart("7").await;
        let phone = world.phone().await;
        let mut mine = phone.stream("/sse/7").await;
        let mut screen = cart.screen().await;
        phone.scan(&cart.qr().await).await.ok();
        mine.expect("session-started").await;
        screen.expect("session-started").await;
        drop(screen);
        mine.expect("session-fetched").await;
        // It sends no heartbeat and no activity, for hours.
        world.advance(3 * 3600);
        assert_eq!(phone.get("/customer-session/1").await.ok()["phase"], "shopping");
        let receipt = json!({ "currency": "EUR", "total": 499, "items": [{ "name": "Tea", "quantity": 1, "amount": 499 }] });
        let paid = phone.post_json("/customer-session/1/checkout", &receipt).await.ok();
        assert_eq!((&paid["status"], &paid["receipt"]), (&json!("completed"), &receipt));
        assert_eq!(mine.expect("checkout-completed").await["receipt"], receipt);
        assert_eq!(cart.status().await, "available");
    }

    async fn any_request_of_the_cart_picks_up_what_its_screen_was_told(world: World) {
        let cart = world.cart("7").await;
        let phone = world.phone().await;
        let mut mine = phone.stream("/sse/7").await;
        let mut screen = cart.screen().await;
        phone.scan(&cart.qr().await).await.ok();
        mine.expect("session-started").await;
        screen.expect("session-started").await;
        cart.get("/customer-session/cart/7").await.ok();
        mine.expect("session-fetched").await;
        screen.expect("session-fetched").await;
    }

    async fn a_session_ends_once_and_the_same_end_again_is_no_error(world: World) {
        let cart = world.cart("7").await;
        let phone = world.phone().await;
        phone.scan(&cart.qr().await).await.ok();
        let ended = phone.post("/customer-session/1/end").await.ok();
        assert_eq!((&ended["status"], &ended["reason"]), (&json!("failed"), &json!("cancelled_by_customer")));
        assert_eq!(phone.post("/customer-session/1/end").await.ok()["ended_at"], ended["ended_at"]);
        assert_eq!(cart.ack(1).await.refusal(), (409, "session-ended".into()));
        assert_eq!(phone.post("/customer-session/1/checkout").await.refusal(), (409, "session-ended".into()));
    }

    async fn checkout_waits_for_the_pick_up(world: World) {
        let cart = world.cart("7").await;
        let phone = world.phone().await;
        phone.scan(&cart.qr().await).await.ok();
        assert_eq!(phone.post("/customer-session/1/checkout").await.refusal(), (409, "session-not-fetched".into()));
    }

    async fn a_receipt_that_does_not_add_up_changes_nothing(world: World) {
        let cart = world.cart("7").await;
        let phone = world.phone().await;
        phone.scan(&cart.qr().await).await.ok();
        cart.ack(1).await.ok();
        let wrong = json!({ "currency": "eur", "total": 500, "items": [{ "name": "Tea", "amount": 499 }] });
        let answer = phone.post_json("/customer-session/1/checkout", &wrong).await;
        assert_eq!(answer.refusal(), (422, "invalid-fields".into()));
        let fields: Vec<_> = answer.json()["errors"].as_array().unwrap().iter().map(|error| error["field"].clone()).collect();
        assert_eq!(fields, ["currency", "total"]);
        assert_eq!(phone.get("/customer-session/1").await.ok()["phase"], "shopping");
    }

    async fn reads_show_a_session_to_whose_it_is_and_to_nobody_else(world: World) {
        let (cart, other) = (world.cart("7").await, world.cart("8").await);
        let (phone, stranger) = (world.phone().await, world.phone().await);
        phone.scan(&cart.qr().await).await.ok();
        for path in ["/customer-session/1", "/session/1", "/api/session/1"] {
            for seen in [phone.get(path).await, cart.get(path).await, world.admin().await.get(path).await] {
                let session = seen.ok();
                assert_eq!((&session["id"], &session["session_id"]), (&json!("1"), &json!(1)));
                assert_eq!(session["updatedAt"], session["updated_at"]);
            }
            assert_eq!(stranger.get(path).await.refusal().0, 404);
            assert_eq!(other.get(path).await.refusal().0, 404);
        }
        let own = format!("/customer-session/active/{}", phone.id);
        assert_eq!(phone.get(&own).await.ok()["session_id"], 1);
        assert_eq!(stranger.get(&own).await.refusal().0, 404);
        let none = stranger.get(&format!("/customer-session/active/{}", stranger.id)).await;
        assert_eq!(none.json()["detail"], "No active session found for this user");
        let none = other.get("/customer-session/cart/8").await;
        assert_eq!((none.refusal().0, none.json()["detail"].clone()), (404, json!("No active session found for this cart")));
        assert_eq!(other.get("/customer-session/cart/7").await.refusal(), (403, "wrong-key".into()));
        assert_eq!(other.get("/customer-session/cart/no-such-cart").await.refusal(), (403, "wrong-key".into()));
        let anonymous = world.http.get(world.url("/customer-session/cart/7")).send().await.unwrap();
        assert_eq!(anonymous.status(), 401);
    }

    async fn a_long_poll_answers_when_something_changes(world: World) {
        let cart = world.cart("7").await;
        let phone = world.phone().await;
        phone.scan(&cart.qr().await).await.ok();
        let now = phone.get("/session/1").await;
        let tag = now.headers["etag"].clone();
        let request = |wait: u32| {
            let url = world.url(&format!("/session/1?wait={wait}"));
            world.http.get(url).bearer_auth(&phone.token).header("if-none-match", tag.clone()).send()
        };
        assert_eq!(request(0).await.unwrap().status(), 304);
        let (polled, acked) = tokio::join!(request(25), cart.ack(1));
        acked.ok();
        let polled: serde_json::Value = polled.unwrap().json().await.unwrap();
        assert_eq!(polled["status"], "fetched");
    }
}

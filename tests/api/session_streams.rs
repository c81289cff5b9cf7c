//! `GET /session/{id}/events`: the state at once, each change, the end; and nobody else's.

use serde_json::{Value, json};

use crate::helpers::{Answer, Screen, Service, Staff, World, both};

fn state(frame: &crate::helpers::Frame) -> (String, Option<String>) {
    (frame.json()["status"].as_str().unwrap().into(), frame.id.clone())
}

fn says(status: &str, version: &str) -> (String, Option<String>) {
    (status.into(), Some(version.into()))
}

both! {
    async fn the_state_comes_first_then_each_change_and_the_final_one_ends_it(world: World) {
        let cart = world.cart("7").await;
        let phone = world.phone().await;
        phone.scan(&cart.qr().await).await.ok();
        for path in ["/session/1/events", "/api/session/1/events"] {
            let seen = phone.stream(path).await.greeting.unwrap();
            let mut expected = json!({ "id": "1", "status": "active", "phase": "pairing", "reason": null });
            expected["updatedAt"] = phone.get("/session/1").await.ok()["updatedAt"].clone();
            assert_eq!((seen.json(), seen.event), (expected, None));
        }
        let url = world.url(&format!("/session/1/events?token={}", phone.token));
        let mut stream = Screen::open(world.http.get(url)).await;
        assert_eq!(state(stream.greeting.as_ref().unwrap()), says("active", "1"));
        cart.ack(1).await.ok();
        assert_eq!(state(&stream.next().await), says("fetched", "2"));
        // A later one sees what is, not what was.
        let late = cart.stream("/session/1/events").await;
        assert_eq!(state(late.greeting.as_ref().unwrap()), says("fetched", "2"));
        phone.post("/customer-session/1/end").await.ok();
        let rest = stream.rest().await;
        assert_eq!(rest.iter().map(state).collect::<Vec<_>>(), [says("failed", "3")]);
        assert_eq!(rest[0].json()["reason"], "cancelled_by_customer");
        assert_eq!(rest[0].json()["updatedAt"], phone.get("/session/1").await.ok()["updatedAt"]);
    }

    async fn a_session_stream_goes_along_to_another_cart_and_on_from_there(world: World) {
        let (old, new, phone) = (world.cart("7").await, world.cart("8").await, world.phone().await);
        let session = phone.scan(&old.qr().await).await.ok()["session_id"].as_i64().unwrap();
        old.ack(session).await.ok();
        let mut stream = phone.stream(&format!("/session/{session}/events")).await;
        let transfer = format!("/customer-session/{session}/transfer");
        phone.post_json(&transfer, &json!({ "token": new.qr().await })).await.ok();
        new.ack(session).await.ok();
        phone.post(&format!("/customer-session/{session}/end")).await.ok();
        let frames = stream.rest().await;
        let last = frames.last().unwrap().json();
        assert_eq!((&last["status"], &last["reason"]), (&json!("failed"), &json!("cancelled_by_customer")));
        let versions: Vec<i64> = frames.iter().map(|frame| frame.id.as_ref().unwrap().parse().unwrap()).collect();
        assert!(versions.is_sorted_by(|a, b| a < b), "each state once, in order: {versions:?}");
    }

    async fn who_waits_for_a_change_is_answered_when_the_server_stops(world: World) {
        let mut world = world;
        let request = {
            let (cart, phone) = (world.cart("7").await, world.phone().await);
            let session = phone.scan(&cart.qr().await).await.ok()["session_id"].as_i64().unwrap();
            let read = |etag: &str| {
                let url = world.url(&format!("/session/{session}?wait=60"));
                world.http.get(url).bearer_auth(&phone.token).header("if-none-match", etag)
            };
            let etag = read("\"none\"").send().await.unwrap().headers()["etag"].to_str().unwrap().to_owned();
            read(&etag)
        };
        let waiting = tokio::spawn(request.send());
        // It waits for news from the cart by now, or will find the server stopping.
        let channel = |app: &cartlink::app::App| app.broadcaster.followed().len();
        while channel(&world.app) == 0 {
            tokio::task::yield_now().await;
        }
        let (began, stopped) = (std::time::Instant::now(), world.stop(true));
        // The server does not wait for it either: whoever is not answered by then is cut off.
        let (answer, ()) = tokio::join!(waiting, stopped);
        assert_eq!(answer.unwrap().unwrap().status(), 304);
        println!("answered after {:?} of a minute", began.elapsed());
    }

    async fn a_reconnect_after_the_final_status_gets_204(world: World) {
        let cart = world.cart("7").await;
        let phone = world.phone().await;
        phone.scan(&cart.qr().await).await.ok();
        let mut stream = phone.stream("/session/1/events").await;
        phone.post("/customer-session/1/end").await.ok();
        stream.rest().await;
        let last = stream.last_id.unwrap();
        let again = world.http.get(world.url("/session/1/events")).bearer_auth(&phone.token);
        let again = Answer::of(again.header("accept", "text/event-stream").header("last-event-id", &last)).await;
        assert_eq!((again.status.as_u16(), again.text.as_str()), (204, ""));
        let by_query = phone.get(&format!("/session/1/events?last_event_id={last}")).await;
        assert_eq!(by_query.status, 204);
        // Whoever has not seen the end is told of it, once.
        for missed in [None, Some("1")] {
            let mut late = phone.stream_after("/session/1/events", missed).await;
            assert_eq!(state(late.greeting.as_ref().unwrap()), says("failed", "2"));
            assert_eq!(late.rest().await, []);
        }
    }

    async fn a_session_stream_shows_its_own_session_only_to_whom_it_concerns(world: World) {
        let (cart, other) = (world.cart("7").await, world.cart("8").await);
        let (phone, stranger) = (world.phone().await, world.phone().await);
        phone.scan(&cart.qr().await).await.ok();
        let admin = world.admin().await;
        let second = admin.post_json("/admin/stores", &json!({ "name": "Second" })).await.ok()["store_id"].as_i64();
        let elsewhere = Staff::hired(&world, "admin", second).await;
        let till = Service::made(&world, &["sessions:read"], None).await;
        let deaf = Service::made(&world, &["checkout"], None).await;
        let foreign = Service::made(&world, &["sessions:read"], second).await;
        for path in ["/session/1/events", "/api/session/1/events"] {
            for seen in [phone.stream(path).await, cart.stream(path).await, admin.stream(path).await, till.stream(path).await] {
                assert_eq!(seen.greeting.unwrap().json()["status"], "active");
            }
            for refused in [stranger.get(path).await, other.get(path).await, elsewhere.get(path).await, deaf.get(path).await, foreign.get(path).await] {
                assert_eq!(refused.refusal(), (404, "not-found".into()));
            }
            let anonymous = Answer::of(world.http.get(world.url(path))).await;
            assert_eq!(anonymous.refusal().0, 401);
            let forged = Answer::of(world.http.get(world.url(&format!("{path}?token=nonsense")))).await;
            assert_eq!(forged.refusal().0, 401);
        }
        for path in ["/session/2/events", "/session/x/events", "/session/-1/events"] {
            assert_eq!(phone.get(path).await.refusal().0, 404, "{path}");
        }
    }

    async fn only_states_stand_in_a_session_stream(world: World) {
        let cart = world.cart("7").await;
        let phone = world.phone().await;
        phone.scan(&cart.qr().await).await.ok();
        cart.ack(1).await.ok();
        let mut stream = phone.stream("/session/1/events").await;
        let till = Service::made(&world, &["emit"], None).await;
        let item = json!({ "kind": "item-added", "data": { "name": "Tea", "status": "odd", "version": 99 } });
        till.post_json("/carts/7/events", &item).await.ok();
        phone.post("/customer-session/1/end").await.ok();
        let rest = stream.rest().await;
        assert_eq!(rest.iter().map(state).collect::<Vec<_>>(), [says("failed", "3")]);
    }

    async fn a_stores_own_event_reaches_the_cart_the_customer_and_staff_and_nobody_else(world: World) {
        let cart = world.cart("7").await;
        let (phone, stranger) = (world.phone().await, world.phone().await);
        phone.scan(&cart.qr().await).await.ok();
        cart.ack(1).await.ok();
        let admin = world.admin().await;
        let mut told = [cart.acking_screen().await, phone.stream("/sse/7").await, admin.stream("/sse/7").await];
        told[0].expect("session-started").await;
        let mut deaf = stranger.stream("/sse/7").await;
        let till = Service::made(&world, &["emit"], None).await;
        let made = till.post_json("/carts/7/events", &json!({ "kind": "item-added", "data": { "name": "Tea\r\n\r\ndata: x", "amount": 3 } })).await;
        assert_eq!(made.status, 201);
        for stream in &mut told {
            let frame = stream.next().await;
            let expected = json!({ "type": "item-added", "event_type": "item-added", "name": "Tea\r\n\r\ndata: x", "amount": 3 });
            assert_eq!((frame.id.as_deref(), frame.json()), (made.ok()["id"].as_str(), expected));
        }
        phone.post("/customer-session/1/end").await.ok();
        stranger.scan(&cart.qr().await).await.ok();
        deaf.expect("session-started").await;
        // Without a session it concerns the cart and staff.
        stranger.post("/customer-session/2/end").await.ok();
        till.post_json("/carts/7/events", &json!({ "kind": "promotion", "data": {} })).await.ok();
        deaf.expect("session-ended").await;
        told[1].expect("session-ended").await;
        for stream in told.iter_mut().step_by(2) {
            while stream.next().await.kind() != "promotion" {}
        }
    }

    async fn a_stores_own_event_takes_none_of_our_names_and_no_foreign_cart(world: World) {
        world.cart("7").await;
        let admin = world.admin().await;
        let second = admin.post_json("/admin/stores", &json!({ "name": "Second" })).await.ok()["store_id"].as_i64();
        let till = Service::made(&world, &["emit"], Some(1)).await;
        let wrong = |kind: &str, data: Value| json!({ "kind": kind, "data": data });
        for body in [
            wrong("session-started", json!({})), wrong("qr", json!({})), wrong("auth", json!({})), wrong("connection", json!({})),
            wrong("Item", json!({})), wrong("", json!({})), wrong("a b", json!({})), wrong(&"x".repeat(65), json!({})), wrong("a\n", json!({})),
            wrong("item", json!({ "token": 1 })), wrong("item", json!({ "type": 1 })), wrong("item", json!({ "event_type": 1 })),
            wrong("item", json!([])), wrong("item", json!("text")), wrong("item", Value::Null), wrong("item", json!({ "x": "y".repeat(16 * 1024) })),
        ] {
            assert_eq!(till.post_json("/carts/7/events", &body).await.refusal().0, 422, "{body}");
        }
        let right = wrong("item", json!({}));
        let (foreign, deaf) = (Service::made(&world, &["emit"], second).await, Service::made(&world, &["checkout"], None).await);
        assert_eq!(foreign.post_json("/carts/7/events", &right).await.refusal().0, 404);
        assert_eq!(till.post_json("/carts/8/events", &right).await.refusal().0, 404);
        assert_eq!(deaf.post_json("/carts/7/events", &right).await.refusal().0, 403);
        assert_eq!(admin.post_json("/carts/7/events", &right).await.refusal().0, 403);
        assert_eq!(till.post_json("/carts/7/events", &right).await.status, 201);
    }
}

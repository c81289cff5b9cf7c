//! `GET /sse/{cart_id}`: who sees what, once each, in order, whatever happens in between.

use crate::helpers::{Phone, Screen, World, both};

both! {
    async fn a_screen_sees_the_session_start_once_whether_it_came_before_during_or_after_the_scan(world: World) {
        let cart = world.cart("7").await;
        let mut before = cart.acking_screen().await;
        let phone = Phone::named(&world, "Sam Smith").await;
        let code = cart.qr().await;
        let (scan, mut during) = tokio::join!(phone.scan(&code), cart.acking_screen());
        let session = scan.ok()["session_id"].as_i64().unwrap();
        let mut after = cart.acking_screen().await;
        cart.ack(session).await.ok();
        for screen in [&mut before, &mut during, &mut after] {
            let started = screen.expect("session-started").await;
            assert_eq!(started["session_id"], session);
            assert_eq!(started["type"], "session-started");
            assert_eq!(started["cart_id"], 7);
            assert_eq!(started["display_name"], "S.");
            assert_eq!(started["check_code"], scan.json()["check_code"]);
            screen.expect("session-fetched").await;
        }
        // The greeting of the late one shows the session at the id it bears, and its start has that id too.
        let greeting = after.greeting.clone().unwrap();
        assert_eq!(greeting.json()["session"]["session_id"], session);
        assert_eq!(greeting.json()["status"], "in use");
    }

    async fn the_carts_token_opens_its_session_and_nothing_else(world: World) {
        let cart = world.cart("7").await;
        let mut screen = cart.acking_screen().await;
        let phone = world.phone().await;
        let session = phone.scan(&cart.qr().await).await.ok()["session_id"].clone();
        let token = screen.expect("session-started").await["token"].as_str().unwrap().to_owned();
        let holder = Phone { token, ..world.phone().await };
        assert_eq!(holder.get(&format!("/customer-session/{session}")).await.ok()["session_id"], session);
        holder.post(&format!("/customer-session/{session}/ack")).await.ok();
        for path in ["/auth/me", "/customer-session", "/customer-session/qr/7", "/sse/7"] {
            let refusal = holder.get(path).await.refusal();
            assert!(refusal.0 == 403 || refusal.0 == 404, "{path}: {refusal:?}");
        }
        let other = world.cart("8").await;
        let elsewhere = world.phone().await.scan(&other.qr().await).await.ok()["session_id"].clone();
        assert_eq!(holder.get(&format!("/customer-session/{elsewhere}")).await.refusal().0, 404);
        phone.post(&format!("/customer-session/{session}/end")).await.ok();
        assert_eq!(holder.get(&format!("/customer-session/{session}")).await.refusal().0, 401, "it dies with the session");
    }

    async fn the_phone_sees_its_session_without_the_token_and_another_customer_sees_nothing(world: World) {
        let cart = world.cart("7").await;
        let (phone, stranger) = (world.phone().await, world.phone().await);
        let mut mine = phone.stream("/sse/7").await;
        let mut theirs = stranger.stream("/sse/7").await;
        let nowhere = stranger.stream("/sse/no-such-cart").await;
        let blank = |screen: &Screen| {
            let greeting = screen.greeting.clone().unwrap();
            let mut json = greeting.json();
            for key in ["cart_id", "message"] {
                json.as_object_mut().unwrap().remove(key);
            }
            (greeting.id, json)
        };
        assert_eq!(blank(&theirs), blank(&nowhere), "a cart that is not there looks the same");
        assert!(blank(&theirs).1["status"].is_null());
        let session = phone.scan(&cart.qr().await).await.ok()["session_id"].clone();
        let started = mine.expect("session-started").await;
        assert!(started.get("token").is_none() && started.get("display_name").is_none());
        phone.post(&format!("/customer-session/{session}/end")).await.ok();
        mine.expect("session-ended").await;
        // The stranger's first event is the stranger's own.
        let session = stranger.scan(&cart.qr().await).await.ok()["session_id"].clone();
        assert_eq!(theirs.expect("session-started").await["session_id"], session);
    }

    async fn anonymous_gets_401_and_not_a_byte_of_data(world: World) {
        world.cart("7").await;
        let answer = world.http.get(world.url("/sse/7")).header("accept", "text/event-stream").send().await.unwrap();
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.headers()["www-authenticate"], "Bearer");
        assert!(!answer.text().await.unwrap().contains("data:"));
    }

    async fn a_stream_says_at_once_what_it_is(world: World) {
        let cart = world.cart("7").await;
        let screen = cart.screen().await;
        assert_eq!(screen.headers["content-type"], "text/event-stream");
        assert_eq!(screen.headers["cache-control"], "no-store, no-transform");
        assert_eq!(screen.headers["x-accel-buffering"], "no");
        let mut lines = screen.raw.lines();
        let retry: u32 = lines.next().unwrap().strip_prefix("retry: ").unwrap().parse().unwrap();
        assert!((2000..=5000).contains(&retry));
        assert!(lines.next().unwrap().starts_with(':'));
        let greeting = screen.greeting.unwrap();
        assert_eq!(greeting.event, None, "native clients use onmessage");
        assert_eq!(greeting.json()["message"], "Connected 7");
        assert_eq!(greeting.json()["type"], "connection");
        assert_eq!(greeting.json()["status"], "available");
        assert!(greeting.id.is_some());
    }

    async fn coming_back_with_the_last_id_brings_what_was_missed_once(world: World) {
        let mut world = world;
        let (id, key, token) = {
            let cart = world.cart("7").await;
            let mut screen = cart.acking_screen().await;
            let phone = world.phone().await;
            phone.scan(&cart.qr().await).await.ok();
            screen.expect("session-started").await;
            let id = screen.last_id.clone().unwrap();
            drop(screen);
            cart.ack(1).await.ok();
            (id, cart.key.clone(), phone.token)
        };
        for orderly in [true, false] {
            world.restart(orderly).await;
            let cart = crate::helpers::Cart { world: &world, id: "7".into(), key: key.clone() };
            let mut screen = cart.stream_after("/sse/7?ack=1", Some(&id)).await;
            assert_eq!(screen.greeting.as_ref().unwrap().id, None, "a greeting is no part of the history that follows");
            screen.expect("session-fetched").await;
        }
        let cart = crate::helpers::Cart { world: &world, id: "7".into(), key };
        let phone = Phone { token, ..world.phone().await };
        let mut screen = cart.stream_after("/sse/7?ack=1", Some(&id)).await;
        phone.post("/customer-session/1/end").await.ok();
        screen.expect("session-fetched").await;
        screen.expect("session-ended").await;
    }

    async fn an_id_from_another_life_gets_a_marked_snapshot(world: World) {
        let cart = world.cart("7").await;
        for id in ["0000000000.1", "nonsense", "17"] {
            let screen = cart.stream_after("/sse/7", Some(id)).await;
            let greeting = screen.greeting.unwrap();
            assert_eq!(greeting.json()["reset"], true, "{id}");
            assert!(greeting.id.is_some());
        }
        let head = cart.screen().await.last_id.unwrap();
        let (epoch, seq) = head.rsplit_once('.').unwrap();
        let beyond = format!("{epoch}.{}", seq.parse::<i64>().unwrap() + 1);
        let greeting = cart.stream_after("/sse/7", Some(&beyond)).await.greeting.unwrap();
        assert_eq!(greeting.json()["reset"], true, "an id above the head");
    }

    async fn what_belongs_to_a_session_long_over_is_not_replayed(world: World) {
        let cart = world.cart("7").await;
        let before = cart.screen().await.last_id.unwrap();
        let first = world.phone().await;
        first.scan(&cart.qr().await).await.ok();
        first.post("/customer-session/1/end").await.ok();
        world.advance(61);
        world.phone().await.scan(&cart.qr().await).await.ok();
        let mut screen = cart.stream_after("/sse/7", Some(&before)).await;
        assert_eq!(screen.expect("session-started").await["session_id"], 2);
    }

    async fn the_customers_token_is_found_nowhere(world: World) {
        let mut world = world;
        let token = {
            let cart = world.cart("7").await;
            let mut screen = cart.acking_screen().await;
            let phone = Phone::named(&world, "Sam Smith").await;
            phone.scan(&cart.qr().await).await.ok();
            screen.expect("session-started").await;
            cart.ack(1).await.ok();
            phone.post("/customer-session/1/checkout").await.ok();
            screen.expect("session-fetched").await;
            screen.expect("checkout-completed").await;
            assert!(!screen.raw.contains(&phone.token));
            phone.token
        };
        world.stop(true).await;
        // The signature is the part that makes it a credential, and stands in no encoding of anything else.
        let signature = token.rsplit('.').next().unwrap();
        for file in std::fs::read_dir(world.folder.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(signature.len()).any(|window| window == signature.as_bytes()));
        }
    }
}

//! The store's figures, and the link of carts whose stream is open.

use serde_json::{Value, json};

use crate::helpers::{Cart, Phone, Staff, World, both};

const HOUR: u64 = 3600;

/// A session of so many seconds, picked up after `wait` milliseconds; it is paid, or else given up.
async fn session(world: &World, phone: &Phone<'_>, cart: &Cart<'_>, wait: u64, seconds: u64, paid: bool) {
    let id = phone.scan(&cart.qr().await).await.ok()["session_id"].as_i64().unwrap();
    world.clock.advance(std::time::Duration::from_millis(wait));
    cart.ack(id).await.ok();
    world.clock.advance(std::time::Duration::from_millis(seconds * 1000 - wait));
    let how = if paid { "checkout" } else { "end" };
    phone.post(&format!("/customer-session/{id}/{how}")).await.ok();
}

async fn figures(staff: &Staff<'_>, query: &str) -> Value {
    staff.get(&format!("/admin/stats?{query}")).await.ok()
}

/// Waits until the cart's last sign of life is now.
async fn heard_now(world: &World, staff: &Staff<'_>, cart: &str) -> Value {
    loop {
        let seen = staff.get(&format!("/carts/{cart}")).await.ok();
        if seen["seen_at"] == json!(world.now()) {
            return seen;
        }
    }
}

both! {
    async fn figures_are_what_happened_within_the_span(world: World) {
        let admin = world.admin().await;
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        world.advance(2 * HOUR);
        let nothing = figures(&admin, "").await;
        assert_eq!((&nothing["sessions"], &nothing["outcomes"], &nothing["pickup_ms"]["p50"]), (&json!(0), &json!({}), &Value::Null));
        assert_eq!(nothing["utilisation"], 0.0);

        let from = world.now();
        session(&world, &phone, &cart, 400, 600, true).await;
        session(&world, &phone, &cart, 600, 1200, true).await;
        world.advance(HOUR);
        session(&world, &phone, &cart, 1000, 30, false).await;
        phone.scan(&cart.qr().await).await.ok();
        world.advance(1);
        let told = figures(&admin, &format!("from={from}")).await;
        assert_eq!((&told["from"], &told["to"]), (&json!(from), &json!(world.now())));
        assert_eq!((&told["sessions"], &told["open"]), (&json!(4), &json!(1)));
        assert_eq!(told["outcomes"], json!({ "completed": 2, "cancelled_by_customer": 1 }));
        assert_eq!(told["pickup_ms"], json!({ "p50": 600, "p95": 1000, "p99": 1000 }));
        assert_eq!(told["durations_s"], json!({ "p50": 600, "p95": 1200, "p99": 1200 }));
        assert!((told["abandonment"].as_f64().unwrap() - 1.0 / 3.0).abs() < 1e-9, "{told}");
        let used = 600.0 + 1200.0 + 30.0 + 1.0;
        let all = world.now().since(from).as_secs_f64();
        assert!((told["utilisation"].as_f64().unwrap() - used / all).abs() < 1e-9, "{told}");
        let hours = told["sessions_per_hour"].as_array().unwrap();
        let counts: Vec<i64> = hours.iter().map(|hour| hour["count"].as_i64().unwrap()).collect();
        assert_eq!(counts.iter().sum::<i64>(), 4, "{told}");
        assert!(hours[0]["hour"].as_str().unwrap().ends_with(":00:00.000Z"));

        // A span that begins in the middle of a session counts what reaches into it.
        let middle = from + std::time::Duration::from_secs(300);
        let to = from + std::time::Duration::from_secs(600);
        let part = figures(&admin, &format!("from={middle}&to={to}")).await;
        assert_eq!((&part["sessions"], &part["utilisation"]), (&json!(0), &json!(1.0)));
    }

    async fn figures_are_of_ones_own_store_and_of_a_span_that_can_be(world: World) {
        let admin = world.admin().await;
        let second = admin.post_json("/admin/stores", &json!({ "name": "Second" })).await.ok()["store_id"].as_i64().unwrap();
        session(&world, &world.phone().await, &world.cart("7").await, 10, 60, true).await;
        let (own, elsewhere) = (Staff::hired(&world, "viewer", Some(1)).await, Staff::hired(&world, "viewer", Some(second)).await);
        for (staff, query, sessions) in [(&admin, "", 1), (&own, "", 1), (&own, "store_id=1", 1), (&elsewhere, "", 0)] {
            assert_eq!(figures(staff, query).await["sessions"], sessions, "{query}");
        }
        assert_eq!(figures(&admin, &format!("store_id={second}")).await["sessions"], 0);
        assert_eq!(elsewhere.get("/admin/stats?store_id=1").await.refusal(), (404, "not-found".into()));
        for query in ["from=today", "from=2001-01-01T00:00:00Z", "from=2999-01-01T00:00:00Z", "to=never"] {
            assert_eq!(own.get(&format!("/admin/stats?{query}")).await.refusal(), (422, "invalid-fields".into()), "{query}");
        }
    }

    async fn a_cart_whose_stream_is_open_is_heard(world: World) {
        let admin = world.admin().await;
        let cart = world.cart("7").await;
        let screen = cart.screen().await;
        for _ in 0..5 {
            world.advance(25);
            assert_eq!(heard_now(&world, &admin, "7").await["link"], "online");
        }
        drop(screen);
        while world.app.streams.open() > 0 {
            tokio::task::yield_now().await;
        }
        world.advance(31);
        assert_eq!(admin.get("/carts/7").await.ok()["link"], "stale");
        world.advance(60);
        assert_eq!(admin.get("/carts/7").await.ok()["link"], "offline");
    }
}

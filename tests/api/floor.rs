//! The live floor and what needs a look: a snapshot first, then each change, within one's own store.

use std::time::Instant;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::helpers::{Answer, Cart, Phone, Screen, Staff, World, both, write};

/// Reads on until a frame of this type says what is expected; the frame.
async fn until(floor: &mut Screen, kind: &str, expected: impl Fn(&Value) -> bool) -> Value {
    loop {
        let frame = floor.next().await.json();
        if frame["type"] == kind && expected(&frame) {
            return frame;
        }
    }
}

fn snapshot(floor: &Screen) -> Value {
    let first = floor.greeting.as_ref().unwrap().json();
    assert_eq!((&first["type"], &first["event_type"]), (&json!("floor"), &json!("floor")));
    first
}

async fn beat(cart: &Cart<'_>, battery: i64) {
    cart.post_json(&format!("/carts/{}/heartbeat", cart.id), &json!({ "battery": battery, "charging": false }))
        .await
        .ok();
}

async fn second_store(admin: &Staff<'_>) -> i64 {
    admin.post_json("/admin/stores", &json!({ "name": "Second" })).await.ok()["store_id"].as_i64().unwrap()
}

both! {
    async fn the_floor_shows_every_cart_and_then_each_change(world: World) {
        let admin = world.admin().await;
        let (seven, _eight) = (world.cart("7").await, world.cart("8").await);
        let phone = Phone::named(&world, "søren kierkegaard").await;
        let mut floor = admin.stream("/admin/events").await;
        let first = snapshot(&floor);
        assert_eq!(first["counters"]["carts"], 2);
        assert_eq!(first["attention"], json!([]));
        assert_eq!(
            first["carts"][0],
            json!({ "cart_id": 7, "label": "Cart 7", "store_id": 1, "lifecycle": "in_service", "occupancy": "free", "link": "online",
                "battery": null, "charging": false, "session": null })
        );

        let session = phone.scan(&seven.qr().await).await.ok()["session_id"].as_i64().unwrap();
        let cart = until(&mut floor, "cart", |cart| cart["session"].is_object()).await;
        assert_eq!((&cart["cart_id"], &cart["occupancy"]), (&json!(7), &json!("in_use")));
        assert_eq!(
            cart["session"],
            json!({ "session_id": session, "status": "active", "phase": "pairing", "initial": "S.", "created_at": world.now(), "fetched_at": null })
        );
        until(&mut floor, "counters", |frame| frame["counters"]["in_use"] == 1 && frame["counters"]["pairing"] == 1).await;
        seven.ack(session).await.ok();
        until(&mut floor, "cart", |cart| cart["session"]["phase"] == "shopping").await;
        phone.post(&format!("/customer-session/{session}/end")).await.ok();
        until(&mut floor, "cart", |cart| cart["cart_id"] == 7 && cart["session"].is_null()).await;
        assert!(!floor.raw.contains("kierkegaard"), "a name stands on the floor");
    }

    async fn what_no_event_tells_of_shows_within_a_moment(world: World) {
        let admin = world.admin().await;
        let seven = world.cart("7").await;
        let mut floor = admin.stream("/admin/events").await;
        beat(&seven, 55).await;
        until(&mut floor, "cart", |cart| cart["battery"] == 55).await;
        admin.send_json(Method::PATCH, "/carts/7", &json!({ "label": "Blue" })).await.ok();
        until(&mut floor, "cart", |cart| cart["label"] == "Blue").await;
        admin.send_json(Method::PATCH, "/carts/7", &json!({ "lifecycle": "maintenance" })).await.ok();
        until(&mut floor, "counters", |frame| frame["counters"]["maintenance"] == 1).await;
        world.advance(40);
        until(&mut floor, "cart", |cart| cart["link"] == "stale").await;
        world.advance(60);
        until(&mut floor, "cart", |cart| cart["link"] == "offline").await;
        beat(&seven, 54).await;
        until(&mut floor, "cart", |cart| cart["link"] == "online").await;
        admin.delete("/carts/7").await.ok();
        until(&mut floor, "floor", |floor| floor["carts"] == json!([])).await;
    }

    async fn a_change_that_this_node_was_not_told_of_shows_too(world: World) {
        let admin = world.admin().await;
        let seven = world.cart("7").await;
        let mut floor = admin.stream("/admin/events").await;
        // As another node would: the rows alone, and nobody here is told.
        write(&world, format!("UPDATE carts SET label = 'Elsewhere', updated_at = {} WHERE id = '{}'", world.now().0, seven.id)).await;
        until(&mut floor, "cart", |cart| cart["label"] == "Elsewhere").await;
    }

    async fn the_floor_is_watched_by_staff_of_the_store_alone(world: World) {
        let admin = world.admin().await;
        let second = second_store(&admin).await;
        world.cart("7").await;
        admin.post_json("/carts/", &json!({ "cart_id": "8", "store_id": second })).await.ok();
        let own = Staff::hired(&world, "viewer", Some(1)).await;
        let names = |floor: &Screen| snapshot(floor)["carts"].as_array().unwrap().iter().map(|cart| cart["cart_id"].as_i64().unwrap()).collect::<Vec<_>>();
        assert_eq!(names(&admin.stream("/admin/events").await), [7, 8]);
        assert_eq!(names(&admin.stream(&format!("/admin/events?store_id={second}")).await), [8]);
        assert_eq!(names(&own.stream("/admin/events").await), [7]);
        assert_eq!(names(&own.stream("/admin/events?store_id=1").await), [7]);
        assert_eq!(own.get(&format!("/admin/events?store_id={second}")).await.refusal(), (404, "not-found".into()));
        let phone = world.phone().await;
        assert_eq!(phone.get("/admin/events").await.refusal(), (403, "forbidden".into()));
        assert_eq!(Answer::of(world.http.get(world.url("/admin/events"))).await.refusal().0, 401);
    }

    async fn what_needs_a_look_stands_on_the_floor_and_on_its_own(world: World) {
        let admin = world.admin().await;
        let (stuck, lost, low, released) = (world.cart("1").await, world.cart("2").await, world.cart("3").await, world.cart("4").await);
        let phone = world.phone().await;
        for _ in 0..3 {
            let session = phone.scan(&released.qr().await).await.ok()["session_id"].as_i64().unwrap();
            released.post(&format!("/customer-session/{session}/release")).await.ok();
        }
        let mut floor = admin.stream("/admin/events").await;
        beat(&lost, 90).await;
        let other = world.phone().await;
        let session = other.scan(&lost.qr().await).await.ok()["session_id"].as_i64().unwrap();
        lost.ack(session).await.ok();
        world.advance(91);
        beat(&low, 12).await;
        beat(&stuck, 90).await;
        let waiting = phone.scan(&stuck.qr().await).await.ok()["session_id"].as_i64().unwrap();
        world.advance(20);
        let all = ["stuck_pairing", "offline_occupied", "repeated_releases", "low_battery"];
        let kinds = |items: &Value| items.as_array().unwrap().iter().map(|item| item["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        let frame = until(&mut floor, "attention", |frame| kinds(&frame["attention"]) == all).await;
        let told = admin.get("/admin/attention").await.ok();
        assert_eq!(told["items"], frame["attention"]);
        assert_eq!((&told["items"][0]["cart_id"], &told["items"][0]["session_id"]), (&json!(1), &json!(waiting)));
        assert_eq!((&told["items"][2]["cart_id"], &told["items"][2]["value"]), (&json!(4), &json!(3)));
        assert_eq!((&told["items"][3]["cart_id"], &told["items"][3]["value"]), (&json!(3), &json!(12)));

        let second = second_store(&admin).await;
        let elsewhere = Staff::hired(&world, "viewer", Some(second)).await;
        assert_eq!(elsewhere.get("/admin/attention").await.ok()["items"], json!([]));
        assert_eq!(elsewhere.get("/admin/attention?store_id=1").await.refusal(), (404, "not-found".into()));
    }

    async fn a_hundred_changes_at_once_are_told_as_the_state_they_lead_to(world: World) {
        let admin = world.admin().await;
        let cart = world.cart("7").await;
        let mut floor = admin.stream("/admin/events").await;
        let began = Instant::now();
        join_all((0..100).map(|round| beat(&cart, 20 + round % 50))).await;
        beat(&cart, 99).await;
        until(&mut floor, "cart", |cart| cart["battery"] == 99).await;
        let told = floor.raw.matches("\"type\":\"cart\"").count();
        // Ten times a second at most, however long it took.
        let most = began.elapsed().as_millis() / 100 + 2;
        assert!(told as u128 <= most, "{told} frames for one cart in {:?}", began.elapsed());
    }
}

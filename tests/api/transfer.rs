//! Going on with another cart: it takes over once it has picked the session up, else everything is as before.

use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::{Value, json};

use crate::helpers::{Answer, Backend, Cart, Phone, Screen, World, both};

struct Scene<'w> {
    phone: Phone<'w>,
    old: Cart<'w>,
    new: Cart<'w>,
    session: i64,
}

/// A customer who shops with cart 7 and stands before cart 8.
async fn scene(world: &World) -> Scene<'_> {
    let (old, new, phone) = (world.cart("7").await, world.cart("8").await, world.phone().await);
    let session = phone.scan(&old.qr().await).await.ok()["session_id"].as_i64().unwrap();
    old.ack(session).await.ok();
    Scene { phone, old, new, session }
}

impl Scene<'_> {
    async fn transfer(&self, code: &str) -> Answer {
        self.phone.post_json(&format!("/customer-session/{}/transfer", self.session), &json!({ "token": code })).await
    }

    async fn read(&self) -> Value {
        self.phone.get(&format!("/customer-session/{}", self.session)).await.ok()
    }

    /// Everything is as before: the session on the old cart, the new one free.
    async fn nothing_has_changed(&self) {
        let seen = self.read().await;
        assert_eq!(
            (&seen["status"], &seen["cart_id"], &seen["transfer_to"]),
            (&json!("fetched"), &json!(7), &Value::Null)
        );
        assert_eq!(self.old.get("/customer-session/cart/7").await.ok()["session_id"], self.session);
        assert_eq!(self.new.get("/customer-session/cart/8").await.refusal().0, 404);
    }
}

/// The screen's next session-started, and its token.
async fn started(screen: &mut Screen) -> Value {
    let started = screen.expect("session-started").await;
    assert!(started["token"].is_string());
    started
}

/// What had to wait for another's change reads all of it, and not one half of what was before.
#[tokio::test]
async fn a_step_that_waited_for_a_move_sees_the_whole_move_on_postgresql() {
    let world = World::start(Backend::Postgres).await;
    let scene = scene(&world).await;
    let other = world.app.db.read().begin_with_options(Default::default()).await.unwrap();
    let moving = "UPDATE sessions SET transfer_cart = (SELECT num FROM carts WHERE id = '8'), transfer_epoch = 1, \
        transfer_at = activity_at, version = version + 1";
    other.execute_unprepared(moving).await.unwrap();
    let path = format!("/customer-session/{}/activity", scene.session);
    let (answer, ()) = tokio::join!(scene.phone.post(&path), async {
        let waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while cartlink::db::row(world.app.db.read(), waiting, []).await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        other.commit().await.unwrap();
    });
    assert_eq!(answer.ok()["transfer_to"], 8);
}

both! {
    async fn the_new_cart_picks_up_and_the_old_one_is_free(world: World) {
        let scene = scene(&world).await;
        let mut old = scene.old.acking_screen().await;
        let first = started(&mut old).await;
        let mut new = scene.new.acking_screen().await;
        let code = scene.new.qr().await;
        let offered = scene.phone.scan(&code).await;
        assert_eq!(offered.refusal(), (409, "session-open".into()));
        assert_eq!(offered.json()["transfer"], format!("/customer-session/{}/transfer", scene.session));
        let moving = scene.transfer(&code).await.ok();
        assert_eq!((&moving["cart_id"], &moving["transfer_to"], &moving["status"]), (&json!(7), &json!(8), &json!("fetched")));
        let told = started(&mut new).await;
        assert_eq!((&told["session_id"], &told["cart_id"], &told["status"]), (&json!(scene.session), &json!(8), &json!("active")));
        assert_eq!(told["check_code"], first["check_code"]);
        // A screen that is reloaded meanwhile is told once more.
        let mut reloaded = scene.new.acking_screen().await;
        assert_eq!(started(&mut reloaded).await["cart_id"], 8);
        assert_eq!(scene.new.status().await, "in use");
        let acked = scene.new.ack(scene.session).await.ok();
        assert_eq!((&acked["cart_id"], &acked["status"], &acked["cart_label"]), (&json!(8), &json!("fetched"), &json!("Cart 8")));
        let left = old.expect("session-transferred").await;
        assert_eq!((&left["cart_id"], &left["to_cart_id"]), (&json!(7), &json!(8)));
        new.expect("session-fetched").await;
        assert_eq!((scene.old.status().await, scene.new.status().await), ("available".into(), "in use".into()));
        assert_eq!(scene.old.get(&format!("/customer-session/{}", scene.session)).await.refusal().0, 404);
        // The same code again gets the same answer; the old cart is anybody's.
        assert_eq!(scene.transfer(&code).await.ok()["cart_id"], 8);
        world.phone().await.scan(&scene.old.qr().await).await.ok();
        assert_eq!(scene.phone.post(&format!("/customer-session/{}/checkout", scene.session)).await.ok()["status"], "completed");
    }

    async fn each_screen_has_a_token_of_its_own_and_the_old_ones_dies(world: World) {
        let scene = scene(&world).await;
        let mut old = scene.old.acking_screen().await;
        let old_token = started(&mut old).await["token"].as_str().unwrap().to_owned();
        let mut new = scene.new.acking_screen().await;
        scene.transfer(&scene.new.qr().await).await.ok();
        let new_token = started(&mut new).await["token"].as_str().unwrap().to_owned();
        let path = format!("/customer-session/{}", scene.session);
        let read = async |token: &str| Answer::of(world.http.get(world.url(&path)).bearer_auth(token)).await;
        assert_eq!((&read(&old_token).await.ok()["cart_id"], &read(&new_token).await.ok()["cart_id"]), (&json!(7), &json!(8)));
        let acked = Answer::of(world.http.post(world.url(&format!("{path}/ack"))).bearer_auth(&new_token)).await;
        assert_eq!(acked.ok()["cart_id"], 8);
        assert_eq!(read(&old_token).await.refusal().0, 401);
        read(&new_token).await.ok();
    }

    async fn a_screen_in_the_field_takes_over_by_closing_its_stream(world: World) {
        let scene = scene(&world).await;
        let mut old = scene.old.acking_screen().await;
        started(&mut old).await;
        let mut new = scene.new.screen().await;
        scene.transfer(&scene.new.qr().await).await.ok();
        started(&mut new).await;
        drop(new);
        old.expect("session-transferred").await;
        assert_eq!(scene.read().await["cart_id"], 8);
    }

    async fn a_silent_new_cart_gives_everything_back_after_30_seconds(world: World) {
        let scene = scene(&world).await;
        let mut new = scene.new.acking_screen().await;
        let code = scene.new.qr().await;
        scene.transfer(&code).await.ok();
        started(&mut new).await;
        world.advance(29);
        assert_eq!(scene.transfer(&code).await.ok()["transfer_to"], 8, "the same code again gets the same answer");
        world.advance(2);
        let back = new.expect("session-transferred").await;
        assert_eq!((&back["cart_id"], &back["to_cart_id"]), (&json!(8), &json!(7)));
        scene.nothing_has_changed().await;
        assert_eq!(scene.new.ack(scene.session).await.refusal().0, 404);
        assert_eq!(scene.transfer(&code).await.refusal(), (401, "qr-already-used".into()));
        world.phone().await.scan(&scene.new.qr().await).await.ok();
    }

    async fn a_cart_that_is_flat_taken_broken_or_elsewhere_is_refused(world: World) {
        let scene = scene(&world).await;
        let admin = world.admin().await;
        let patch = async |body: Value| admin.send_json(reqwest::Method::PATCH, "/carts/8", &body).await.ok();
        let code = scene.new.qr().await;
        scene.new.post_json("/carts/8/heartbeat", &json!({ "battery": 5, "charging": false })).await.ok();
        assert_eq!(scene.transfer(&code).await.refusal(), (400, "cart-unavailable".into()));
        scene.new.post_json("/carts/8/heartbeat", &json!({ "battery": 90 })).await.ok();

        let code = scene.new.qr().await;
        patch(json!({ "lifecycle": "maintenance" })).await;
        assert_eq!(scene.transfer(&code).await.refusal(), (401, "qr-already-used".into()));
        patch(json!({ "lifecycle": "in_service" })).await;

        let elsewhere = admin.post_json("/admin/stores", &json!({ "name": "Elsewhere" })).await.ok()["store_id"].clone();
        patch(json!({ "store_id": elsewhere })).await;
        assert_eq!(scene.transfer(&scene.new.qr().await).await.refusal(), (404, "not-found".into()));
        patch(json!({ "store_id": 1 })).await;

        let code = scene.new.qr().await;
        let other = world.phone().await;
        let taken = other.scan(&code).await.ok()["session_id"].as_i64().unwrap();
        assert_eq!(scene.transfer(&code).await.refusal(), (401, "qr-already-used".into()));
        other.post(&format!("/customer-session/{taken}/end")).await.ok();

        let code = scene.new.qr().await;
        world.advance(61);
        assert_eq!(scene.transfer(&code).await.refusal(), (401, "qr-expired".into()));
        assert_eq!(scene.transfer("no code").await.refusal(), (401, "qr-malformed".into()));
        scene.nothing_has_changed().await;
        // No refusal has consumed what would have been good.
        scene.transfer(&scene.new.qr().await).await.ok();
    }

    async fn only_an_open_session_that_was_picked_up_and_is_not_paying_moves_and_only_its_own_customers(world: World) {
        let scene = scene(&world).await;
        let code = scene.new.qr().await;
        let path = format!("/customer-session/{}/transfer", scene.session);
        let stranger = world.phone().await.post_json(&path, &json!({ "token": code })).await;
        assert_eq!(stranger.refusal().0, 404);
        assert_eq!(scene.old.post_json(&path, &json!({ "token": code })).await.refusal().0, 403);
        scene.old.post(&format!("/customer-session/{}/checkout", scene.session)).await.ok();
        assert_eq!(scene.transfer(&code).await.refusal(), (409, "checkout-open".into()));
        world.advance(1);
        scene.phone.post(&format!("/customer-session/{}/checkout", scene.session)).await.ok();
        assert_eq!(scene.transfer(&code).await.refusal(), (409, "session-ended".into()));
        let third = world.cart("9").await;
        let fresh = scene.phone.scan(&third.qr().await).await.ok()["session_id"].clone();
        let early = scene.phone.post_json(&format!("/customer-session/{fresh}/transfer"), &json!({ "token": code })).await;
        assert_eq!(early.refusal(), (409, "session-not-fetched".into()));
    }

    async fn a_checkout_on_the_old_cart_ends_the_move(world: World) {
        let scene = scene(&world).await;
        let mut new = scene.new.acking_screen().await;
        scene.transfer(&scene.new.qr().await).await.ok();
        started(&mut new).await;
        assert_eq!(scene.new.post(&format!("/customer-session/{}/checkout", scene.session)).await.refusal(), (409, "session-not-fetched".into()));
        scene.old.post(&format!("/customer-session/{}/checkout", scene.session)).await.ok();
        assert_eq!(new.expect("session-transferred").await["to_cart_id"], 7);
        assert_eq!(scene.new.status().await, "available");
        assert_eq!(scene.read().await["phase"], "checkout");
    }

    async fn pick_up_and_checkout_at_the_same_moment_leave_one_cart_in_use(world: World) {
        for round in 0..6 {
            let scene = {
                let (old, new) = (world.cart(&format!("old{round}")).await, world.cart(&format!("new{round}")).await);
                let phone = world.phone().await;
                let session = phone.scan(&old.qr().await).await.ok()["session_id"].as_i64().unwrap();
                old.ack(session).await.ok();
                Scene { phone, old, new, session }
            };
            scene.transfer(&scene.new.qr().await).await.ok();
            let path = format!("/customer-session/{}/checkout", scene.session);
            let (_acked, asked) = tokio::join!(scene.new.ack(scene.session), scene.old.post(&path));
            let seen = scene.read().await;
            let (on, free) = if seen["cart_id"] == json!(scene.old.id) { (&scene.old, &scene.new) } else { (&scene.new, &scene.old) };
            assert_eq!((on.status().await, free.status().await), ("in use".into(), "available".into()));
            assert_eq!(asked.status.is_success(), seen["phase"] == "checkout", "{seen}");
        }
    }

    async fn an_end_during_the_move_tells_both_screens(world: World) {
        let scene = scene(&world).await;
        let mut old = scene.old.acking_screen().await;
        let mut new = scene.new.acking_screen().await;
        started(&mut old).await;
        scene.transfer(&scene.new.qr().await).await.ok();
        started(&mut new).await;
        assert_eq!(scene.transfer(&world.cart("9").await.qr().await).await.refusal(), (409, "transfer-open".into()));
        scene.phone.post(&format!("/customer-session/{}/end", scene.session)).await.ok();
        old.expect("session-ended").await;
        new.expect("session-ended").await;
        assert_eq!((scene.old.status().await, scene.new.status().await), ("available".into(), "available".into()));
    }

    async fn not_you_at_the_new_cart_gives_everything_back(world: World) {
        let scene = scene(&world).await;
        scene.transfer(&scene.new.qr().await).await.ok();
        scene.new.post(&format!("/customer-session/{}/release", scene.session)).await.ok();
        scene.nothing_has_changed().await;
    }
}

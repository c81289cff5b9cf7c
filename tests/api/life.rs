//! What time does to a session: each limit a second before and a second after, by one sweeper and by several at once.

use cartlink::clock::Timestamp;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::helpers::{Cart, Phone, World, both};

/// Sweeps until nothing is due: as `many` sweepers at once, beside the server's own.
async fn swept(world: &World, many: usize) {
    let sweepers = (0..many).map(|_| async {
        cartlink::session::sweep::listen(&world.app, Timestamp(0)).await.unwrap();
        while cartlink::session::sweep::sweep(&world.app).await.unwrap() {}
    });
    // On a LocalSet, as the server itself: PostgreSQL's writes are tasks of their own.
    LocalSet::new().run_until(join_all(sweepers)).await;
}

/// A session on `cart`, picked up by a screen of ours.
async fn shopping(cart: &Cart<'_>, phone: &Phone<'_>) -> i64 {
    let session = phone.scan(&cart.qr().await).await.ok()["session_id"].as_i64().unwrap();
    cart.ack(session).await.ok();
    session
}

async fn read(phone: &Phone<'_>, session: i64) -> Value {
    phone.get(&format!("/customer-session/{session}")).await.ok()
}

async fn set(world: &World, settings: Value) {
    world
        .admin()
        .await
        .send_json(reqwest::Method::PATCH, "/admin/stores/1", &json!({ "settings": settings }))
        .await
        .ok();
}

/// One second before `limit` the session is as `before`; one second after, as `after` and told once as `kind`.
async fn turns(
    world: &World,
    phone: &Phone<'_>,
    session: i64,
    limit: u64,
    before: [&str; 2],
    after: [&str; 3],
    kind: &str,
) {
    let mut screen = phone.stream(&format!("/sse/{}", read(phone, session).await["cart_id"])).await;
    world.advance(limit - 1);
    swept(world, 1).await;
    let seen = read(phone, session).await;
    assert_eq!([seen["status"].as_str().unwrap(), seen["phase"].as_str().unwrap()], before);
    world.advance(2);
    swept(world, 4).await;
    let seen = read(phone, session).await;
    let text = |key: &str| seen[key].as_str().unwrap_or_default();
    assert_eq!([text("status"), text("phase"), text("reason")], after);
    let told = screen.expect(kind).await;
    assert_eq!((&told["status"], &told["version"]), (&seen["status"], &told["version"]));
    assert_eq!(times(world, session, kind).await, 1, "{kind} is in the log once");
}

/// How often the log has this kind for this session.
async fn times(world: &World, session: i64, kind: &str) -> usize {
    let text = "SELECT COUNT(*) AS n FROM events WHERE session_id = $1 AND kind = $2";
    let row = cartlink::db::row(world.app.db.read(), text, [session.into(), kind.into()]).await.unwrap().unwrap();
    usize::try_from(row.try_get::<i64>("", "n").unwrap()).unwrap()
}

both! {
    async fn nobody_picks_up_for_30_seconds(world: World) {
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        phone.scan(&cart.qr().await).await.ok();
        turns(&world, &phone, 1, 30, ["active", "pairing"], ["expired", "", "pickup_timeout"], "session-expired").await;
        assert_eq!(cart.status().await, "available");
    }

    async fn nobody_does_anything_for_15_minutes_and_then_for_20(world: World) {
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        let session = shopping(&cart, &phone).await;
        turns(&world, &phone, session, 900, ["fetched", "shopping"], ["fetched", "idle_warning", ""], "session-idle-warning").await;
        // 901 s are over.
        turns(&world, &phone, session, 299, ["fetched", "idle_warning"], ["expired", "", "idle_timeout"], "session-expired").await;
        assert_eq!(cart.status().await, "available");
    }

    async fn somebody_comes_back_in_time(world: World) {
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        let session = shopping(&cart, &phone).await;
        let mut screen = phone.stream("/sse/7").await;
        world.advance(901);
        screen.expect("session-idle-warning").await;
        cart.post(&format!("/customer-session/{session}/activity")).await.ok();
        screen.expect("session-resumed").await;
        world.advance(899);
        swept(&world, 2).await;
        assert_eq!(read(&phone, session).await["phase"], "shopping");
    }

    async fn no_session_lasts_longer_than_4_hours(world: World) {
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        let session = shopping(&cart, &phone).await;
        for _ in 0..23 {
            world.advance(600);
            phone.post(&format!("/customer-session/{session}/activity")).await.ok();
        }
        turns(&world, &phone, session, 600, ["fetched", "shopping"], ["expired", "", "max_duration"], "session-expired").await;
    }

    async fn a_checkout_takes_10_minutes_at_most(world: World) {
        set(&world, json!({ "checkout_mode": "external" })).await;
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        let session = shopping(&cart, &phone).await;
        phone.post(&format!("/customer-session/{session}/checkout")).await.ok();
        turns(&world, &phone, session, 600, ["fetched", "checkout"], ["fetched", "shopping", ""], "checkout-failed").await;
    }

    async fn a_cart_is_offline_after_90_seconds_of_silence_and_its_session_lost_after_15_minutes(world: World) {
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        cart.post_json("/carts/7/heartbeat", &json!({ "battery": 80 })).await.ok();
        let session = shopping(&cart, &phone).await;
        let mut screen = phone.stream("/sse/7").await;
        world.advance(89);
        swept(&world, 2).await;
        world.advance(2);
        swept(&world, 4).await;
        let offline = screen.expect("cart-offline").await;
        assert_eq!((&offline["session_id"], &offline["seen_at"]), (&json!(session), &json!("2030-03-17T17:46:40.000Z")));
        assert_eq!(read(&phone, session).await["phase"], "shopping", "the phase is unchanged");
        world.advance(808);
        swept(&world, 1).await;
        assert_eq!(read(&phone, session).await["status"], "fetched");
        world.advance(2);
        swept(&world, 4).await;
        let lost = screen.expect("session-ended").await;
        assert_eq!((&lost["status"], &lost["reason"]), (&json!("failed"), &json!("cart_lost")));
    }

    async fn a_cart_that_is_heard_again_keeps_its_session_and_may_fall_silent_once_more(world: World) {
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        let beat = async || { cart.post_json("/carts/7/heartbeat", &json!({})).await.ok() };
        beat().await;
        let session = shopping(&cart, &phone).await;
        // A stream of the cart's own would be a sign of life.
        let admin = world.admin().await;
        let mut screen = admin.stream("/sse/7").await;
        world.advance(91);
        screen.expect("cart-offline").await;
        world.advance(800);
        beat().await;
        screen.expect("cart-status").await;
        world.advance(10);
        swept(&world, 2).await;
        assert_eq!(read(&phone, session).await["phase"], "idle_warning", "not lost after 15 minutes");
        screen.expect("session-idle-warning").await;
        world.advance(81);
        screen.expect("cart-offline").await;
    }

    async fn a_cart_whose_stream_returns_is_no_longer_offline(world: World) {
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        cart.post_json("/carts/7/heartbeat", &json!({})).await.ok();
        let session = shopping(&cart, &phone).await;
        let admin = world.admin().await;
        let mut watcher = admin.stream("/sse/7").await;
        world.advance(91);
        watcher.expect("cart-offline").await;
        let screen = cart.stream("/sse/7").await;
        watcher.expect("cart-status").await;
        let after = |session: i64| format!("/customer-session/{session}");
        assert_eq!(phone.get(&after(session)).await.ok()["status"], "fetched");
        drop(screen);
    }

    async fn a_cart_that_never_sent_a_heartbeat_is_never_offline(world: World) {
        set(&world, json!({ "idle_warning": null, "idle_expiry": null })).await;
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        let session = shopping(&cart, &phone).await;
        world.advance(3 * 3600);
        swept(&world, 2).await;
        assert_eq!(read(&phone, session).await["phase"], "shopping");
        assert_eq!(times(&world, session, "cart-offline").await, 0);
    }

    async fn a_store_has_its_own_limits_and_may_switch_each_off(world: World) {
        set(&world, json!({
            "pickup": 60, "idle_warning": null, "idle_expiry": null, "max_duration": null, "cart_offline": 30, "cart_lost": null,
        })).await;
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        cart.post_json("/carts/7/heartbeat", &json!({})).await.ok();
        let session = phone.scan(&cart.qr().await).await.ok()["session_id"].as_i64().unwrap();
        let mut screen = phone.stream("/sse/7").await;
        world.advance(29);
        swept(&world, 1).await;
        world.advance(2);
        screen.expect("cart-offline").await;
        world.advance(28);
        swept(&world, 1).await;
        cart.ack(session).await.ok();
        screen.expect("session-fetched").await;
        for _ in 0..5 {
            world.advance(3600);
            swept(&world, 2).await;
        }
        assert_eq!(read(&phone, session).await["phase"], "shopping");
        let wrong = json!({ "settings": { "cart_offline": 900 } });
        let refused = world.admin().await.send_json(reqwest::Method::PATCH, "/admin/stores/1", &wrong).await;
        assert_eq!(refused.refusal(), (422, "invalid-fields".into()));
    }

    async fn what_fell_due_while_the_server_stood_still_is_caught_up_with(world: World) {
        let mut world = world;
        {
            let phones = join_all((0..12).map(|_| world.phone())).await;
            for (at, phone) in phones.iter().enumerate() {
                let cart = world.cart(&format!("c{at}")).await;
                phone.scan(&cart.qr().await).await.ok();
            }
        }
        world.stop(true).await;
        world.advance(3600);
        world.restart(true).await;
        swept(&world, 1).await;
        let admin = world.admin().await;
        let carts = admin.get("/carts/").await.ok();
        assert!(carts.as_array().unwrap().iter().all(|cart| cart["status"] == "available"), "{carts}");
    }

    async fn the_phone_undoes_and_the_cart_says_not_you(world: World) {
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        let first = phone.scan(&cart.qr().await).await.ok()["session_id"].as_i64().unwrap();
        phone.post(&format!("/customer-session/{first}/end")).await.ok();
        let second = shopping(&cart, &phone).await;
        world.advance(59);
        let released = cart.post(&format!("/customer-session/{second}/release")).await.ok();
        assert_eq!((&released["status"], &released["reason"]), (&json!("failed"), &json!("released_at_cart")));
        let third = shopping(&cart, &phone).await;
        world.advance(61);
        assert_eq!(cart.post(&format!("/customer-session/{third}/release")).await.refusal(), (409, "release-too-late".into()));
        assert_eq!(phone.post(&format!("/customer-session/{third}/release")).await.refusal().0, 403);
    }
}

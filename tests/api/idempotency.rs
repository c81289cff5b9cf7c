//! `Idempotency-Key`: what is sent twice takes effect once and is answered alike.

use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::json;

use crate::helpers::{Answer, Backend, Service, World, both};

both! {
    async fn many_identical_posts_at_once_have_one_effect_and_one_answer(world: World) {
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        let scan = json!({ "token": cart.qr().await });
        let answers = join_all((0..8).map(|_| phone.post_keyed("/customer-session/scan-qr", "k1", &scan))).await;
        let fresh = answers.iter().filter(|answer| !answer.headers.contains_key("idempotent-replayed"));
        assert_eq!(fresh.count(), 1, "one takes effect");
        for answer in &answers {
            assert_eq!((answer.ok(), &answer.text), (answers[0].ok(), &answers[0].text));
        }
        // Long after the code is good for nothing, too.
        world.advance(3600);
        let again = phone.post_keyed("/customer-session/scan-qr", "k1", &scan).await;
        assert_eq!((again.ok(), again.headers["idempotent-replayed"].to_str().unwrap()), (answers[0].ok(), "true"));
    }

    async fn another_body_under_the_same_key_is_refused_and_a_refusal_may_be_tried_again(world: World) {
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        let route = "/customer-session/scan-qr";
        assert_eq!(phone.post_keyed(route, "k", &json!({ "token": "nonsense" })).await.refusal().0, 401);
        let scan = json!({ "token": cart.qr().await });
        phone.post_keyed(route, "k", &scan).await.ok();
        let other = phone.post_keyed(route, "k", &json!({ "token": "another" })).await;
        assert_eq!(other.refusal().0, 401, "what is no code at all is refused before its key is looked at");
        let other = world.cart("8").await;
        let reused = phone.post_keyed(route, "k", &json!({ "token": other.qr().await })).await;
        assert_eq!(reused.refusal(), (422, "idempotency-key-reused".into()));
        for wrong in ["", "a b", "ü", &"x".repeat(256)] {
            let request = world.http.post(world.url(route)).bearer_auth(&phone.token).header("idempotency-key", wrong);
            assert_eq!(crate::helpers::Answer::of(request.json(&scan)).await.refusal().0, 422, "{wrong:?}");
        }
    }

    async fn keys_are_kept_apart_by_whose_they_are_and_where_they_were_used(world: World) {
        let (cart, other) = (world.cart("7").await, world.cart("8").await);
        let (phone, second) = (world.phone().await, world.phone().await);
        let first = phone.post_keyed("/customer-session/scan-qr", "k", &json!({ "token": cart.qr().await })).await.ok();
        let theirs = second.post_keyed("/customer-session/scan-qr", "k", &json!({ "token": other.qr().await })).await.ok();
        assert_ne!(first["session_id"], theirs["session_id"]);
        let ended = phone.post_keyed(&format!("/customer-session/{}/end", first["session_id"]), "k", &json!({})).await.ok();
        assert_eq!(ended["status"], "failed");
    }

    async fn a_key_is_forgotten_after_a_day(world: World) {
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        let first = phone.post_keyed("/customer-session/scan-qr", "k", &json!({ "token": cart.qr().await })).await.ok();
        cart.ack(1).await.ok();
        let end = |n: i64| format!("/customer-session/{n}/end");
        phone.post_keyed(&end(1), "e", &json!({})).await.ok();
        world.advance(86_401);
        let key = phone.refresh_token.clone();
        let signed_in = world.http.post(world.url("/auth/refresh-token")).json(&json!({ "refresh_token": key }));
        let token = crate::helpers::Answer::of(signed_in).await.ok()["access_token"].as_str().unwrap().to_owned();
        let phone = crate::helpers::Phone { token, ..phone };
        let second = phone.post_keyed("/customer-session/scan-qr", "k", &json!({ "token": cart.qr().await })).await.ok();
        assert_ne!(first["session_id"], second["session_id"]);
    }

    async fn every_post_that_starts_or_ends_something_takes_a_key(world: World) {
        let admin = world.admin().await;
        let settings = json!({ "settings": { "checkout_mode": "external" } });
        admin.send_json(reqwest::Method::PATCH, "/admin/stores/1", &settings).await.ok();
        let till = Service::made(&world, &["checkout"], None).await;
        let (cart, other, phone) = (world.cart("7").await, world.cart("8").await, world.phone().await);
        let path = |what: &str| format!("/customer-session/1/{what}");
        let none = json!({});
        macro_rules! twice {
            ($who:expr, $path:expr, $body:expr) => {{
                let body = $body;
                let path: &str = &$path;
                let first = $who.post_keyed(path, "key", &body).await;
                let again = $who.post_keyed(path, "key", &body).await;
                assert_eq!((first.status, &first.text), (again.status, &again.text), "{}", $path);
                assert!(!first.headers.contains_key("idempotent-replayed") && again.headers.contains_key("idempotent-replayed"), "{}", $path);
                assert_eq!(first.headers["content-type"], again.headers["content-type"]);
                first
            }};
        }
        twice!(phone, "/customer-session/scan-qr", json!({ "token": cart.qr().await })).ok();
        twice!(cart, path("ack"), none.clone()).ok();
        twice!(phone, path("transfer"), json!({ "token": other.qr().await })).ok();
        twice!(other, path("ack"), none.clone()).ok();
        let checkout = twice!(phone, path("checkout"), none.clone()).ok()["checkout_id"].clone();
        twice!(till, path("checkout/fail"), json!({ "checkout_id": checkout })).ok();
        let request = phone.post_keyed(&path("checkout"), "second", &none).await.ok();
        let second = request["checkout_id"].clone();
        let receipt = json!({ "currency": "EUR", "total": 1, "items": [{ "name": "Tea", "amount": 1 }] });
        twice!(till, path("checkout/complete"), json!({ "checkout_id": second, "receipt": receipt })).ok();
        // A refusal that is nevertheless an effect is an answer like any other.
        let body = json!({ "token": cart.qr().await });
        phone.post_keyed("/customer-session/scan-qr", "third", &body).await.ok();
        cart.ack(2).await.ok();
        let third = phone.post("/customer-session/2/checkout").await.ok()["checkout_id"].clone();
        let mut watcher = admin.stream("/sse/7").await;
        world.advance(601);
        watcher.expect("checkout-failed").await;
        twice!(phone, "/customer-session/2/end", none.clone()).ok();
        let late = twice!(till, "/customer-session/2/checkout/complete", json!({ "checkout_id": third, "receipt": receipt }));
        assert_eq!(late.refusal(), (409, "refund-required".into()));
    }

    async fn an_enrolment_sent_twice_gives_one_key_and_no_row_holds_it(world: World) {
        let admin = world.admin().await;
        admin.post_json("/carts/", &json!({ "cart_id": 7 })).await;
        let code = admin.post("/carts/7/enrolment").await.ok()["code"].as_str().unwrap().to_owned();
        let enrol = async |key: &str, code: &str| {
            let request = world.http.post(world.url("/carts/enrol")).header("Idempotency-Key", key);
            Answer::of(request.json(&json!({ "code": code }))).await
        };
        let wrong = format!("{}{}", &code[..code.len() - 1], if code.ends_with('Z') { 'Y' } else { 'Z' });
        assert_eq!(enrol("k", &wrong).await.status, 401, "a wrong code leaves the key free");
        let twice = join_all((0..2).map(|_| enrol("k", &code))).await;
        let again = enrol("k", &code).await;
        let replayed = |answer: &Answer| answer.headers.contains_key("idempotent-replayed");
        assert_eq!((twice.iter().filter(|answer| replayed(answer)).count(), replayed(&again)), (1, true));
        let first = &twice[0];
        for answer in [&twice[1], &again] {
            assert_eq!((answer.status, &answer.text), (first.status, &first.text));
            assert_eq!(answer.headers["set-cookie"], first.headers["set-cookie"]);
        }
        assert_eq!(first.status, 201);
        let device_key = first.json()["device_key"].as_str().unwrap().to_owned();
        let row = world.app.db.read();
        let text = "SELECT answer FROM idempotency WHERE principal LIKE 'enrolment/%'";
        let kept: String = cartlink::db::row(row, text, []).await.unwrap().unwrap().try_get("", "answer").unwrap();
        assert!(!kept.contains(&device_key), "{kept}");
        assert_eq!(enrol("k", &code.to_lowercase()).await.refusal(), (422, "idempotency-key-reused".into()));
        assert_eq!(enrol("other", &code).await.refusal(), (401, "invalid-credential".into()), "the code is used");
        admin.post("/carts/7/revoke").await.ok();
        assert_eq!(enrol("k", &code).await.refusal(), (401, "invalid-credential".into()), "the key is void");
    }

    async fn so_does_every_post_by_which_staff_and_services_make_or_end_something(world: World) {
        let (admin, emitter) = (world.admin().await, Service::made(&world, &["emit"], None).await);
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        let session = phone.scan(&cart.qr().await).await.ok()["session_id"].clone();
        let end = format!("/admin/sessions/{session}/end");
        macro_rules! once {
            ($who:expr, $path:expr, $body:expr) => {{
                let body = $body;
                let first = $who.post_keyed($path, "key", &body).await;
                let again = $who.post_keyed($path, "key", &body).await;
                assert!(first.status.is_success(), "{}: {}", $path, first.text);
                assert_eq!((first.status, &first.text), (again.status, &again.text), "{}", $path);
                assert!(!first.headers.contains_key("idempotent-replayed") && again.headers.contains_key("idempotent-replayed"));
                assert_eq!(first.headers.get("location"), again.headers.get("location"));
            }};
        }
        let mut screen = cart.stream("/sse/7").await;
        screen.expect("session-started").await;
        once!(emitter, "/carts/7/events", json!({ "kind": "item-added", "data": { "sku": "tea" } }));
        once!(admin, &end, json!({ "reason": "a test" }));
        once!(admin, "/carts/", json!({ "cart_id": "8" }));
        once!(admin, "/admin/stores", json!({ "name": "Second" }));
        screen.expect("item-added").await;
        screen.expect("session-ended").await;
        let stores = admin.get("/admin/stores").await.ok().as_array().unwrap().len();
        assert_eq!(stores, 2, "the first and the second, once");
    }
}

/// SQLite's one writer makes each wait its turn; PostgreSQL waits for the other transaction, but not for ever.
#[tokio::test]
async fn a_request_under_way_is_waited_for_and_after_5_seconds_refused_on_postgresql() {
    let world = World::start(Backend::Postgres).await;
    let (cart, phone) = (world.cart("7").await, world.phone().await);
    let scan = json!({ "token": cart.qr().await });
    let other = world.app.db.read().begin_with_options(Default::default()).await.unwrap();
    let principal = format!("account/{}", phone.id);
    let text = format!(
        "INSERT INTO idempotency (principal, route, idempotency_key, body_hash, status, answer, created_at) \
         VALUES ('{principal}', 'POST /customer-session/scan-qr', 'k', '', 0, '', {})",
        world.now().0
    );
    other.execute_unprepared(&text).await.unwrap();
    let refused = phone.post_keyed("/customer-session/scan-qr", "k", &scan).await;
    assert_eq!(refused.refusal(), (409, "idempotency-in-flight".into()));
    let (answer, ()) = tokio::join!(phone.post_keyed("/customer-session/scan-qr", "k", &scan), async {
        other.rollback().await.unwrap();
    });
    answer.ok();
}

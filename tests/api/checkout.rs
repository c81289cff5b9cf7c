//! The external checkout: the till completes or fails it, and what it says late, twice or against itself is answered, not
//! believed.

use serde_json::{Value, json};

use crate::helpers::{Cart, Phone, Service, World, both};

/// A store whose till completes checkouts.
async fn external(world: &World) -> Service<'_> {
    let admin = world.admin().await;
    let settings = json!({ "settings": { "checkout_mode": "external" } });
    admin.send_json(reqwest::Method::PATCH, "/admin/stores/1", &settings).await.ok();
    Service::made(world, &["checkout"], Some(1)).await
}

/// A session in checkout: its id and the attempt's.
async fn paying(cart: &Cart<'_>, phone: &Phone<'_>) -> (i64, String) {
    let session = phone.scan(&cart.qr().await).await.ok()["session_id"].as_i64().unwrap();
    cart.ack(session).await.ok();
    (session, attempt(phone, session).await)
}

async fn attempt(phone: &Phone<'_>, session: i64) -> String {
    let started = phone.post(&format!("/customer-session/{session}/checkout")).await.ok();
    assert_eq!(started["phase"], "checkout");
    started["checkout_id"].as_str().unwrap().to_owned()
}

fn receipt(total: i64) -> Value {
    json!({ "currency": "EUR", "total": total, "items": [{ "name": "Tea", "quantity": 2, "amount": total + 100 }, { "name": "Voucher", "quantity": 1, "amount": -100 }] })
}

fn completed(checkout: &str, total: i64) -> Value {
    json!({ "checkout_id": checkout, "receipt": receipt(total) })
}

fn complete(session: i64) -> String {
    format!("/customer-session/{session}/checkout/complete")
}

fn fail(session: i64) -> String {
    format!("/customer-session/{session}/checkout/fail")
}

const REFUND: &str = "refund-required";
const SETTLED: &str = "checkout-settled";

both! {
    async fn the_till_completes_both_screens_show_the_receipt_and_the_cart_says_goodbye_for_15_seconds(world: World) {
        let till = external(&world).await;
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        let mut screen = cart.acking_screen().await;
        let (session, checkout) = paying(&cart, &phone).await;
        let mut mine = phone.stream("/sse/7").await;
        assert_eq!(phone.post(&format!("/customer-session/{session}/end")).await.refusal(), (409, "checkout-open".into()));
        let paid = till.post_json(&complete(session), &completed(&checkout, 499)).await.ok();
        assert_eq!((&paid["status"], &paid["receipt"]), (&json!("completed"), &receipt(499)));
        for kind in ["session-started", "session-fetched", "checkout-started"] {
            screen.expect(kind).await;
        }
        assert_eq!(screen.expect("checkout-completed").await["receipt"], receipt(499));
        assert_eq!(mine.expect("checkout-completed").await["receipt"], receipt(499));
        // The customer is free at once, the cart is not.
        let other = world.cart("8").await;
        phone.scan(&other.qr().await).await.ok();
        world.advance(14);
        assert_eq!(cart.status().await, "in use");
        assert_eq!(cart.get("/customer-session/qr/7").await.refusal(), (409, "cart-unavailable".into()));
        assert_eq!(cart.get("/customer-session/cart/7").await.refusal().0, 404);
        world.advance(2);
        assert_eq!(screen.expect("cart-status").await["status"], "available");
        world.phone().await.scan(&cart.qr().await).await.ok();
    }

    async fn the_same_result_again_is_answered_alike_and_another_one_is_refused(world: World) {
        let till = external(&world).await;
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        let (session, checkout) = paying(&cart, &phone).await;
        let first = till.post_json(&complete(session), &completed(&checkout, 499)).await.ok();
        assert_eq!(till.post_json(&complete(session), &completed(&checkout, 499)).await.ok(), first);
        assert_eq!(till.post_json(&complete(session), &completed(&checkout, 500)).await.refusal(), (409, SETTLED.into()));
        let failed = json!({ "checkout_id": checkout });
        assert_eq!(till.post_json(&fail(session), &failed).await.refusal(), (409, SETTLED.into()));
        assert_eq!(till.post_json(&complete(session), &completed("no-such", 499)).await.refusal(), (409, "no-such-checkout".into()));
    }

    async fn a_payment_that_fails_leads_back_to_shopping_and_may_be_tried_again(world: World) {
        let till = external(&world).await;
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        let (session, first) = paying(&cart, &phone).await;
        let failed = json!({ "checkout_id": first });
        assert_eq!(till.post_json(&fail(session), &failed).await.ok()["phase"], "shopping");
        assert_eq!(till.post_json(&fail(session), &failed).await.ok()["phase"], "shopping", "the same again");
        assert_eq!(till.post_json(&complete(session), &completed(&first, 499)).await.refusal(), (409, SETTLED.into()));
        let second = attempt(&phone, session).await;
        assert_ne!(first, second);
        assert_eq!(till.post_json(&fail(session), &failed).await.ok()["phase"], "checkout", "the second attempt goes on");
        assert_eq!(till.post_json(&complete(session), &completed(&second, 499)).await.ok()["status"], "completed");
    }

    async fn a_payment_that_comes_after_its_time_out_completes_the_session_that_is_still_open(world: World) {
        let till = external(&world).await;
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        let (session, checkout) = paying(&cart, &phone).await;
        let mut mine = phone.stream("/sse/7").await;
        world.advance(601);
        mine.expect("checkout-failed").await;
        let later = attempt(&phone, session).await;
        let paid = till.post_json(&complete(session), &completed(&checkout, 499)).await.ok();
        assert_eq!((&paid["status"], &paid["checkout_id"]), (&json!("completed"), &json!(checkout)));
        // The second payment, too, went through: that money is to go back.
        let answer = till.post_json(&complete(session), &completed(&later, 499)).await;
        assert_eq!(answer.refusal(), (409, REFUND.into()));
    }

    async fn a_payment_that_comes_after_the_end_is_to_be_paid_back_and_its_receipt_is_kept(world: World) {
        let till = external(&world).await;
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        let (session, checkout) = paying(&cart, &phone).await;
        let mut mine = phone.stream("/sse/7").await;
        world.advance(601);
        mine.expect("checkout-failed").await;
        phone.post(&format!("/customer-session/{session}/end")).await.ok();
        for _again in 0..2 {
            let answer = till.post_json(&complete(session), &completed(&checkout, 499)).await;
            assert_eq!(answer.refusal(), (409, REFUND.into()));
        }
        assert_eq!(till.post_json(&complete(session), &completed(&checkout, 500)).await.refusal(), (409, SETTLED.into()));
        assert_eq!(phone.get(&format!("/customer-session/{session}")).await.ok()["reason"], "cancelled_by_customer");
        let export = phone.get("/auth/me/export").await.ok();
        assert_eq!(export["sessions"][0]["refunds"], json!([receipt(499)]));
    }

    async fn of_end_time_out_and_payment_at_once_one_wins_and_the_till_knows_which(world: World) {
        let till = external(&world).await;
        let phones = [world.phone().await, world.phone().await, world.phone().await, world.phone().await];
        for (round, phone) in phones.iter().enumerate() {
            let cart = world.cart(&format!("r{round}")).await;
            let (session, checkout) = paying(&cart, phone).await;
            world.advance(599 + round as u64 % 3);
            let (end, body) = (format!("/customer-session/{session}/end"), completed(&checkout, 499));
            let path = complete(session);
            let (ended, paid) = tokio::join!(phone.post(&end), till.post_json(&path, &body));
            let seen = phone.get(&format!("/customer-session/{session}")).await.ok();
            match seen["status"].as_str().unwrap() {
                "completed" => assert_eq!((paid.ok()["status"].clone(), ended.status.as_u16()), (json!("completed"), 409)),
                "failed" => assert_eq!((paid.refusal(), ended.ok()["status"].clone()), ((409, REFUND.into()), json!("failed"))),
                other => panic!("{other}"),
            }
        }
    }

    async fn a_receipt_must_add_up_to_the_last_minor_unit(world: World) {
        let till = external(&world).await;
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        let (session, checkout) = paying(&cart, &phone).await;
        let mut wrong = completed(&checkout, 499);
        wrong["receipt"]["total"] = json!(498);
        let answer = till.post_json(&complete(session), &wrong).await;
        assert_eq!(answer.refusal(), (422, "invalid-fields".into()));
        assert_eq!(answer.json()["errors"][0]["field"], "receipt.total");
        for (field, value) in [("currency", json!("Euro")), ("items", json!(vec![json!({ "name": "x", "amount": 0 }); 501])), ("total", json!(4.99))] {
            let mut wrong = completed(&checkout, 499);
            wrong["receipt"][field] = value;
            assert_eq!(till.post_json(&complete(session), &wrong).await.refusal().0, 422, "{field}");
        }
        assert_eq!(phone.get(&format!("/customer-session/{session}")).await.ok()["phase"], "checkout");
    }

    async fn only_a_till_of_the_store_may_speak_of_payments(world: World) {
        external(&world).await;
        let admin = world.admin().await;
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        let (session, checkout) = paying(&cart, &phone).await;
        let body = completed(&checkout, 499);
        let reader = Service::made(&world, &["sessions:read"], Some(1)).await;
        assert_eq!(reader.post_json(&complete(session), &body).await.refusal(), (403, "forbidden".into()));
        let elsewhere = admin.post_json("/admin/stores", &json!({ "name": "Elsewhere" })).await.ok()["store_id"].as_i64();
        let foreign = Service::made(&world, &["checkout"], elsewhere).await;
        assert_eq!(foreign.post_json(&complete(session), &body).await.refusal(), (404, "not-found".into()));
        assert_eq!(phone.post_json(&complete(session), &body).await.refusal().0, 403);
        assert_eq!(cart.post_json(&complete(session), &body).await.refusal().0, 403);
        let receipt = receipt(499);
        let with_receipt = phone.post_json(&format!("/customer-session/{session}/checkout"), &receipt).await;
        assert_eq!(with_receipt.refusal(), (422, "invalid-fields".into()));
    }

    async fn in_immediate_mode_the_cart_is_free_at_once(world: World) {
        let (cart, phone) = (world.cart("7").await, world.phone().await);
        let session = phone.scan(&cart.qr().await).await.ok()["session_id"].as_i64().unwrap();
        cart.ack(session).await.ok();
        let asked = cart.post(&format!("/customer-session/{session}/checkout")).await.ok();
        assert_eq!(asked["phase"], "checkout", "the cart asks, the customer confirms");
        assert_eq!(phone.post(&format!("/customer-session/{session}/checkout")).await.ok()["status"], "completed");
        assert_eq!(cart.status().await, "available");
    }
}

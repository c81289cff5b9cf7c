//! Scanning a cart's code: who wins, who is refused with which words, and that nothing is lost.

use futures_util::future::join_all;
use serde_json::json;

use crate::helpers::{Phone, World, both};

/// The one sentence of all refused codes, and the code that tells them apart.
#[track_caller]
fn refused(answer: &crate::helpers::Answer, code: &str) {
    assert_eq!(answer.refusal(), (401, code.to_owned()));
    assert_eq!(answer.json()["detail"], "Invalid or expired QR code.");
}

both! {
    async fn of_many_phones_scanning_one_code_one_wins(world: World) {
        let cart = world.cart("7").await;
        let phones = join_all((0..200).map(|_| world.phone())).await;
        for _round in 0..20 {
            let code = cart.qr().await;
            let answers = join_all(phones.iter().map(|phone| phone.scan(&code))).await;
            let winners: Vec<usize> = (0..phones.len()).filter(|&at| answers[at].status == 200).collect();
            assert_eq!(winners.len(), 1, "one phone wins");
            for answer in answers.iter().filter(|answer| answer.status != 200) {
                refused(answer, "qr-already-used");
            }
            let session = answers[winners[0]].json()["session_id"].as_i64().unwrap();
            let open = cart.get("/customer-session/cart/7").await.ok();
            assert_eq!(open["session_id"], session, "the winner's is the cart's only session");
            phones[winners[0]].post(&format!("/customer-session/{session}/end")).await.ok();
        }
        let mut screen = cart.stream_after("/sse/7", Some(&first_id(&cart.screen().await))).await;
        // Ended sessions' events are replayed for a minute, and no time has passed here.
        for _round in 0..20 {
            screen.expect("session-started").await;
            let next = screen.next().await.kind();
            assert!(next == "session-ended" || (next == "session-fetched" && screen.next().await.kind() == "session-ended"));
        }
    }

    async fn the_scan_answers_what_clients_in_the_field_read(world: World) {
        let cart = world.cart("7").await;
        let phone = world.phone().await;
        let answer = phone.scan(&cart.qr().await).await.ok();
        assert_eq!(answer["session_id"], 1);
        assert_eq!(answer["user_id"], phone.id);
        assert_eq!(answer["cart_id"], 7);
        assert_eq!(answer["created_at"], "2030-03-17T17:46:40.000Z");
        assert_eq!(answer["is_active"], true);
        assert_eq!(answer["status"], "active");
        assert_eq!(answer["updated_at"], answer["created_at"]);
        assert_eq!(answer["cart_label"], "Cart 7");
        let check_code = answer["check_code"].as_str().unwrap();
        assert!(check_code.len() == 2 && check_code.bytes().all(|b| b.is_ascii_digit()));
    }

    async fn a_code_works_for_59_seconds_and_not_for_61(world: World) {
        let cart = world.cart("7").await;
        let code = cart.qr().await;
        world.advance(61);
        refused(&world.phone().await.scan(&code).await, "qr-expired");
        let code = cart.qr().await;
        world.advance(59);
        world.phone().await.scan(&code).await.ok();
    }

    async fn jwt_bare_code_and_link_are_three_spellings_of_one_code(world: World) {
        let cart = world.cart("7").await;
        for spelling in ["token", "code", "payload"] {
            let issued = cart.get("/customer-session/qr/7.json").await.ok();
            let phone = world.phone().await;
            let session = phone.scan(issued[spelling].as_str().unwrap()).await.ok();
            for other in ["token", "code", "payload"] {
                refused(&world.phone().await.scan(issued[other].as_str().unwrap()).await, "qr-already-used");
            }
            phone.post(&format!("/customer-session/{}/end", session["session_id"])).await.ok();
        }
    }

    async fn a_scan_kills_the_codes_siblings(world: World) {
        let cart = world.cart("7").await;
        let (first, sibling) = (cart.qr().await, cart.qr().await);
        let winner = world.phone().await;
        let session = winner.scan(&first).await.ok();
        refused(&world.phone().await.scan(&sibling).await, "qr-already-used");
        winner.post(&format!("/customer-session/{}/end", session["session_id"])).await.ok();
        refused(&world.phone().await.scan(&sibling).await, "qr-already-used");
    }

    async fn a_phone_that_lost_the_answer_asks_again_and_gets_the_same_session(world: World) {
        let cart = world.cart("7").await;
        let phone = world.phone().await;
        let code = cart.qr().await;
        let first = phone.scan(&code).await.ok();
        world.advance(20);
        let again = phone.scan(&code).await.ok();
        assert_eq!((&again["session_id"], &again["check_code"]), (&first["session_id"], &first["check_code"]));
        refused(&world.phone().await.scan(&code).await, "qr-already-used");
        world.advance(41);
        refused(&phone.scan(&code).await, "qr-expired");
    }

    async fn no_refusal_consumes_the_code(world: World) {
        let (cart, other) = (world.cart("7").await, world.cart("8").await);
        let busy = world.phone().await;
        busy.scan(&other.qr().await).await.ok();
        let code = cart.qr().await;
        let answer = busy.scan(&code).await;
        assert_eq!(answer.refusal(), (409, "session-open".into()));
        assert_eq!(answer.json()["session"], "/customer-session/1");
        refused(&busy.scan("no code at all").await, "qr-malformed");
        refused(&busy.scan("0000000000000000000000000000000000").await, "qr-invalid");
        world.phone().await.scan(&code).await.ok();
    }

    async fn a_cart_in_use_says_so_to_scanners_and_shows_no_code(world: World) {
        let cart = world.cart("7").await;
        world.phone().await.scan(&cart.qr().await).await.ok();
        assert_eq!(cart.status().await, "in use");
        assert_eq!(cart.get("/customer-session/qr/7").await.refusal(), (409, "cart-unavailable".into()));
    }

    async fn a_cart_in_maintenance_cannot_be_scanned(world: World) {
        let cart = world.cart("7").await;
        let code = cart.qr().await;
        let admin = world.admin().await;
        admin.send_json(reqwest::Method::PATCH, "/carts/7", &json!({ "lifecycle": "maintenance" })).await.ok();
        refused(&world.phone().await.scan(&code).await, "qr-already-used");
        assert_eq!(cart.status().await, "maintenance");
        assert_eq!(cart.get("/customer-session/qr/7").await.refusal(), (409, "cart-unavailable".into()));
    }

    async fn one_phone_scanning_many_carts_at_once_gets_one(world: World) {
        let admin = world.admin().await;
        let mut codes = Vec::new();
        for id in 1..=8 {
            codes.push(crate::helpers::Cart::enrolled(&world, &admin, &id.to_string()).await.qr().await);
        }
        let phone = world.phone().await;
        let answers = join_all(codes.iter().map(|code| phone.scan(code))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            assert_eq!(answer.refusal(), (409, "session-open".into()));
        }
    }

    async fn only_a_customer_may_scan(world: World) {
        let cart = world.cart("7").await;
        let scan = json!({ "token": cart.qr().await });
        let route = "/customer-session/scan-qr";
        assert_eq!(cart.post_json(route, &scan).await.refusal(), (403, "forbidden".into()));
        assert_eq!(world.admin().await.post_json(route, &scan).await.refusal(), (403, "forbidden".into()));
        let stranger = Phone { token: "nonsense".into(), ..world.phone().await };
        assert_eq!(stranger.post_json(route, &scan).await.refusal(), (401, "invalid-credential".into()));
        world.phone().await.post_json(route, &scan).await.ok();
    }
}

/// The id of the place just before a channel's first session.
fn first_id(screen: &crate::helpers::Screen) -> String {
    let id = screen.greeting.as_ref().unwrap().id.clone().unwrap();
    let (epoch, _) = id.rsplit_once('.').unwrap();
    // 1 is the cart's enrolment.
    format!("{epoch}.1")
}

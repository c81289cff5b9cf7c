//! Sessions as staff see them: found, looked at and ended, within their own store.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::helpers::{Answer, Cart, Phone, Staff, World, both};

/// A session that `phone` starts on `cart`, picked up by its screen.
async fn shopping(phone: &Phone<'_>, cart: &Cart<'_>) -> i64 {
    let session = phone.scan(&cart.qr().await).await.ok()["session_id"].as_i64().unwrap();
    cart.ack(session).await.ok();
    session
}

async fn ids(staff: &Staff<'_>, query: &str) -> Vec<i64> {
    let page = staff.get(&format!("/admin/sessions?{query}")).await.ok();
    page["items"].as_array().unwrap().iter().map(|item| item["session_id"].as_i64().unwrap()).collect()
}

async fn second_store(admin: &Staff<'_>) -> i64 {
    admin.post_json("/admin/stores", &json!({ "name": "Second" })).await.ok()["store_id"].as_i64().unwrap()
}

async fn label(admin: &Staff<'_>, cart: &str, change: Value) {
    admin.send_json(Method::PATCH, &format!("/carts/{cart}"), &change).await.ok();
}

both! {
    async fn staff_find_sessions_by_whatever_they_know_of_them(world: World) {
        let admin = world.admin().await;
        let (seven, eight) = (world.cart("7").await, world.cart("eight_8").await);
        label(&admin, "eight_8", json!({ "label": "100% Écru" })).await;
        let (ana, ben) = (world.phone().await, world.phone().await);
        let first = shopping(&ana, &seven).await;
        ana.post(&format!("/customer-session/{first}/end")).await.ok();
        world.advance(60);
        let noon = world.now().to_string();
        let second = shopping(&ben, &seven).await;
        ben.post(&format!("/customer-session/{second}/checkout")).await.ok();
        world.advance(60);
        let third = ana.scan(&eight.qr().await).await.ok()["session_id"].as_i64().unwrap();

        assert_eq!(ids(&admin, "").await, [third, second, first]);
        for (query, expected) in [
            ("status=active".to_owned(), vec![third]),
            ("status=completed".into(), vec![second]),
            ("status=failed&reason=cancelled_by_customer".into(), vec![first]),
            ("reason=force_ended".into(), vec![]),
            ("cart=7".into(), vec![second, first]),
            ("cart=nowhere".into(), vec![]),
            ("store=1".into(), vec![third, second, first]),
            (format!("customer={}", ana.id), vec![third, first]),
            (format!("from={noon}"), vec![third, second]),
            (format!("to={noon}"), vec![first]),
            (format!("from={noon}&to={noon}"), vec![]),
            ("text=IGHT".into(), vec![third]),
            ("text=cart+7".into(), vec![second, first]),
            ("text=100%25".into(), vec![third]),
            ("text=%25".into(), vec![third]),
            ("text=_".into(), vec![third]),
            ("status=&reason=&cart=&text=&from=&to=".into(), vec![third, second, first]),
        ] {
            assert_eq!(ids(&admin, &query).await, expected, "{query}");
        }
        for query in ["status=open", "reason=none", "from=yesterday", "limit=0", "limit=101", "cursor=x", "customer=ana"] {
            assert_eq!(admin.get(&format!("/admin/sessions?{query}")).await.refusal(), (422, "invalid-fields".into()), "{query}");
        }
    }

    async fn pages_follow_each_other_without_a_hole_or_a_repeat(world: World) {
        let admin = world.admin().await;
        let cart = world.cart("7").await;
        let phone = world.phone().await;
        let mut made = Vec::new();
        for round in 0..5 {
            made.push(shopping(&phone, &cart).await);
            phone.post(&format!("/customer-session/{}/end", made[round])).await.ok();
            // Two of them in the same millisecond.
            world.advance(if round == 2 { 0 } else { 1 });
        }
        made.reverse();
        let mut path = "/admin/sessions?cart=7&limit=2".to_owned();
        let mut seen = Vec::new();
        loop {
            let answer = admin.get(&path).await;
            let page = answer.ok();
            seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["session_id"].as_i64().unwrap()));
            let Some(link) = answer.headers.get("link") else {
                assert_eq!((&page["has_more"], &page["cursor"]), (&json!(false), &Value::Null));
                break;
            };
            assert_eq!(page["has_more"], true);
            let (next, rel) = link.to_str().unwrap().trim_start_matches('<').split_once('>').unwrap();
            assert_eq!(rel, "; rel=\"next\"");
            next.clone_into(&mut path);
        }
        assert_eq!(seen, made);
    }

    async fn a_table_holds_everything_that_was_asked_for_and_no_formula(world: World) {
        let admin = world.admin().await;
        let cart = world.cart("-7").await;
        label(&admin, "-7", json!({ "label": "=HYPERLINK(\"x\")" })).await;
        let session = shopping(&world.phone().await, &cart).await;
        let answer = admin.csv("/admin/sessions").await;
        assert_eq!(answer.headers["content-type"], "text/csv; charset=utf-8");
        let lines: Vec<&str> = answer.text.split("\r\n").collect();
        assert!(lines[0].starts_with("session_id,cart_id,cart_label,store_id,user_id,status,"), "{}", lines[0]);
        assert!(lines[1].starts_with(&format!("{session},\"'-7\",\"'=HYPERLINK(\"\"x\"\")\",1,")), "{}", lines[1]);
        assert_eq!(lines[2..], [""]);
        assert_eq!(admin.csv("/admin/sessions?status=failed").await.text.lines().count(), 1);
    }

    async fn when_its_events_are_dropped_a_sessions_timeline_is_what_its_row_remembers(world: World) {
        let (admin, cart, phone) = (world.admin().await, world.cart("7").await, world.phone().await);
        let session = phone.scan(&cart.qr().await).await.ok()["session_id"].as_i64().unwrap();
        world.advance(3);
        cart.ack(session).await.ok();
        phone.post(&format!("/customer-session/{session}/end")).await.ok();
        let read = async || admin.get(&format!("/admin/sessions/{session}")).await.ok()["timeline"].clone();
        let logged = read().await;
        let dropping = cartlink::event::retention::drop_before(&world.app.db, world.now() + Duration::from_secs(1));
        tokio::task::LocalSet::new().run_until(dropping).await.unwrap();
        assert_eq!(logged.as_array().unwrap().len(), 3);
        assert_eq!(read().await, logged);
    }

    async fn a_sessions_timeline_is_its_events_with_their_times(world: World) {
        let admin = world.admin().await;
        let cart = world.cart("7").await;
        let phone = world.phone().await;
        let started = world.now();
        let session = phone.scan(&cart.qr().await).await.ok()["session_id"].as_i64().unwrap();
        world.advance(2);
        cart.ack(session).await.ok();
        world.advance(100);
        phone.post(&format!("/customer-session/{session}/end")).await.ok();
        let detail = admin.get(&format!("/admin/sessions/{session}")).await.ok();
        assert_eq!((&detail["status"], &detail["reason"], &detail["cart_id"]), (&json!("failed"), &json!("cancelled_by_customer"), &json!(7)));
        let timeline = detail["timeline"].as_array().unwrap();
        let kinds: Vec<&str> = timeline.iter().map(|step| step["event_type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["session-started", "session-fetched", "session-ended"]);
        assert_eq!((&timeline[0]["at"], &timeline[0]["phase"]), (&json!(started), &json!("pairing")));
        assert_eq!((&timeline[2]["at"], &timeline[2]["reason"]), (&json!(world.now()), &json!("cancelled_by_customer")));
        assert!(!detail.to_string().contains("token"), "{detail}");
    }

    async fn staff_end_a_session_for_a_reason_which_streams_and_the_audit_log_tell(world: World) {
        let (admin, operator) = (world.admin().await, Staff::hired(&world, "operator", Some(1)).await);
        let cart = world.cart("7").await;
        let mut screen = cart.acking_screen().await;
        let phone = world.phone().await;
        let session = shopping(&phone, &cart).await;
        let path = format!("/admin/sessions/{session}/end");
        for body in [json!({}), json!({ "reason": " " }), json!({ "reason": 7 }), json!({ "reason": "x".repeat(201) }), json!({ "reason": "a\nb" })] {
            assert_eq!(operator.post_json(&path, &body).await.refusal(), (422, "invalid-fields".into()), "{body}");
        }
        let ended = operator.post_json(&path, &json!({ "reason": "left at the door" })).await.ok();
        assert_eq!((&ended["status"], &ended["reason"]), (&json!("failed"), &json!("force_ended")));
        screen.expect("session-started").await;
        screen.expect("session-fetched").await;
        assert_eq!(screen.expect("session-ended").await["reason"], "force_ended");
        assert_eq!(cart.status().await, "available");
        assert_eq!(phone.get(&format!("/session/{session}")).await.ok()["status"], "failed");

        // Once more changes nothing, and is not told again.
        operator.post_json(&path, &json!({ "reason": "again" })).await.ok();
        let audit = admin.get(&format!("/admin/audit?target=session/{session}")).await.ok();
        let rows = audit["items"].as_array().unwrap();
        assert_eq!(rows.len(), 1, "{audit}");
        assert_eq!((&rows[0]["action"], &rows[0]["detail"], &rows[0]["store_id"]), (&json!("session.force_ended"), &json!("left at the door"), &json!(1)));

        let over = shopping(&phone, &cart).await;
        phone.post(&format!("/customer-session/{over}/end")).await.ok();
        let late = operator.post_json(&format!("/admin/sessions/{over}/end"), &json!({ "reason": "late" })).await;
        assert_eq!(late.refusal(), (409, "session-ended".into()));
    }

    async fn staff_of_one_store_see_and_end_nothing_of_another(world: World) {
        let admin = world.admin().await;
        let second = second_store(&admin).await;
        let session = shopping(&world.phone().await, &world.cart("7").await).await;
        let own = Staff::hired(&world, "viewer", Some(1)).await;
        let other = Staff::hired(&world, "manager", Some(second)).await;
        let path = format!("/admin/sessions/{session}");
        assert_eq!((ids(&own, "").await, ids(&other, "").await), (vec![session], vec![]));
        assert_eq!(own.get(&path).await.status, 200);
        assert_eq!(other.csv("/admin/sessions").await.text.lines().count(), 1);
        let reason = json!({ "reason": "x" });
        for refused in [
            other.get(&path).await,
            other.post_json(&format!("{path}/end"), &reason).await,
            other.get("/admin/sessions?store=1").await,
            own.get("/admin/sessions/999999").await,
            own.get("/admin/sessions/x").await,
        ] {
            assert_eq!(refused.refusal(), (404, "not-found".into()));
        }
        assert_eq!(own.post_json(&format!("{path}/end"), &reason).await.refusal(), (403, "forbidden".into()));
        assert_eq!(Answer::of(world.http.get(world.url(&path))).await.refusal().0, 401);
        assert_eq!(ids(&admin, "status=fetched").await, [session]);
    }
}

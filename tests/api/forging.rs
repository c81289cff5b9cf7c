//! What people write into names, labels, receipts and ids becomes no frame, and no line of one.

use reqwest::Method;
use serde_json::{Value, json};

use crate::helpers::{Answer, Phone, Screen, Service, World, both};

/// What ends a line somewhere: in event streams, in other readers, or only for who reads escapes.
const ENDS: [&str; 8] = ["\n", "\r", "\r\n", "\0", "\u{b}", "\u{85}", "\u{2028}", "\\n"];

/// A text that would be frames of its own, with a marker at the front.
fn frames(end: &str) -> String {
    format!("forged{end}{end}data: {{\"forged\":1}}{end}{end}id: forged{end}event: forged{end}data: x{end}{end}")
}

/// Every line of the stream is one that we write.
fn assert_ours(stream: &Screen) {
    for line in stream.raw.split(['\n', '\r']) {
        let (field, value) = line.split_once(": ").unwrap_or((line, ""));
        let ours = match field {
            "" | ":" => true,
            "retry" => value.bytes().all(|byte| byte.is_ascii_digit()),
            "id" => value != "forged" && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.'),
            "data" => {
                serde_json::from_str::<Value>(value).is_ok_and(|data| data.is_object() && data["forged"].is_null())
            }
            _ => false,
        };
        assert!(ours, "{line:?} in {:?}", stream.raw);
    }
    assert!(!stream.raw.contains('\r'), "{:?}", stream.raw);
}

/// Whether it was taken; else it was refused for what it says.
fn taken(answer: &Answer) -> bool {
    assert!(answer.status.is_success() || answer.status == 422, "{} {}", answer.status, answer.text);
    answer.status.is_success()
}

/// In a path or query.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

both! {
    async fn names_labels_receipts_and_data_are_read_as_they_were_written_and_forge_no_frame(world: World) {
        let (admin, cart) = (world.admin().await, world.cart("7").await);
        let settings = json!({ "settings": { "checkout_mode": "external" } });
        admin.send_json(Method::PATCH, "/admin/stores/1", &settings).await.ok();
        let till = Service::made(&world, &["checkout", "emit"], Some(1)).await;
        for end in ENDS {
            let text = frames(end);
            let labelled = taken(&admin.send_json(Method::PATCH, "/carts/7", &json!({ "label": &text[..40] })).await);
            let email = format!("customer{}@mail.example", world.fresh());
            let account = json!({ "email": email, "password": "correct horse battery", "full_name": text });
            let named = taken(&Answer::of(world.http.post(world.url("/auth/signup")).json(&account)).await);
            let phone = if named { Phone::named(&world, &text).await } else { world.phone().await };

            let mut floor = admin.stream("/admin/events").await;
            let mut screen = cart.acking_screen().await;
            let session = phone.scan(&cart.qr().await).await.ok()["session_id"].as_i64().unwrap();
            let mut told = [phone.stream("/sse/7").await, admin.stream("/sse/7").await];
            let mut states = phone.stream(&format!("/session/{session}/events")).await;
            screen.expect("session-started").await;
            cart.ack(session).await.ok();
            screen.expect("session-fetched").await;
            while !floor.next().await.json()["session"].is_object() {}

            let sold = json!({ "kind": "item-added", "data": { "name": text } });
            let sold = taken(&till.post_json("/carts/7/events", &sold).await);
            if sold {
                assert_eq!(screen.expect("item-added").await["name"], text);
            }
            let checkout = phone.post(&format!("/customer-session/{session}/checkout")).await.ok();
            screen.expect("checkout-started").await;
            let complete = format!("/customer-session/{session}/checkout/complete");
            let paid = |name: &str| {
                let items = json!([{ "name": name, "quantity": 1, "amount": 5 }]);
                json!({ "checkout_id": checkout["checkout_id"], "receipt": { "currency": "EUR", "total": 5, "items": items } })
            };
            let bought = if taken(&till.post_json(&complete, &paid(&text)).await) { text.as_str() } else { "Tea" };
            till.post_json(&complete, &paid(bought)).await.ok();
            assert_eq!(screen.expect("checkout-completed").await["receipt"]["items"][0]["name"], bought);
            for stream in &mut told {
                while stream.next().await.kind() != "checkout-completed" {}
            }
            states.rest().await;
            // Of each kind of place some are taken, or nothing is tried here.
            assert!(end == "\0" || sold && bought == text, "{end:?}");
            assert!(end != "\\n" || labelled && named);
            for stream in [&floor, &screen, &told[0], &told[1], &states] {
                assert_ours(stream);
            }
            // The cart says goodbye before it is free again.
            world.advance(16);
            while cart.status().await != "available" {}
        }
    }

    async fn an_id_or_a_name_in_an_address_forges_no_frame(world: World) {
        world.cart("7").await;
        let (admin, phone) = (world.admin().await, world.phone().await);
        for end in ENDS {
            let text = encoded(&frames(end));
            for who in [&phone.token, &admin.token] {
                for path in [
                    format!("/sse/{text}"), format!("/sse/7?last_event_id={text}"), format!("/sse/7?named={text}"),
                    format!("/session/{text}/events"), format!("/events/?token={text}"), format!("/sse/7?ticket={text}"),
                ] {
                    let request = world.http.get(world.url(&path)).bearer_auth(who).header("accept", "text/event-stream");
                    let mut answer = request.send().await.unwrap();
                    let is_stream = answer.headers()["content-type"] == "text/event-stream";
                    if !is_stream {
                        assert!(answer.status().is_client_error(), "{path} {}", answer.status());
                        continue;
                    }
                    // The greeting, or the refusal that a native client is told.
                    let mut raw = String::new();
                    while !raw.contains("\ndata:") || !raw.ends_with("\n\n") {
                        raw.push_str(std::str::from_utf8(&answer.chunk().await.unwrap().unwrap()).unwrap());
                    }
                    let forged = raw.split(['\n', '\r']).any(|line| line == "data: {\"forged\":1}" || line == "id: forged" || line == "event: forged");
                    assert!(!forged && !raw.contains('\r'), "{path} {raw:?}");
                }
            }
        }
    }
}

//! Carts: who sees what of them, how they are enrolled, revoked, heard of, changed and retired.

use cartlink::cart::enrol::VALID;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::helpers::{Answer, Backend, Staff, World, both};

async fn enrol(world: &World, code: &str) -> Answer {
    Answer::of(world.http.post(world.url("/carts/enrol")).json(&json!({ "code": code }))).await
}

async fn new_code(admin: &Staff<'_>, id: &str) -> String {
    let issued = admin.post(&format!("/carts/{id}/enrolment")).await.ok();
    issued["code"].as_str().unwrap().to_owned()
}

/// Whether this key still opens its cart.
async fn opens(world: &World, id: &str, key: &str) -> bool {
    let request = world.http.get(world.url(&format!("/carts/{id}"))).bearer_auth(key);
    Answer::of(request).await.status == 200
}

/// The code with another secret.
fn guessed(code: &str) -> String {
    let last = if code.ends_with('A') { 'B' } else { 'A' };
    format!("{}{last}", &code[..code.len() - 1])
}

async fn set(staff: &Staff<'_>, id: &str, change: Value) -> Answer {
    staff.send_json(Method::PATCH, &format!("/carts/{id}"), &change).await
}

/// A staff member of `role`, bound to `store` or to all.
async fn staff<'w>(world: &'w World, role: &str, store: Option<i64>) -> Staff<'w> {
    let email = format!("{role}{}@store.example", world.fresh());
    let password = "another long passphrase";
    let body = json!({ "email": email, "password": password, "full_name": "S", "role": role, "store_id": store });
    world.admin().await.post_json("/admin/staff", &body).await.ok();
    Staff::sign_in(world, &email, password).await
}

both! {
    async fn clients_in_the_field_read_carts_as_they_always_have(world: World) {
        world.cart("7").await;
        let phone = world.phone().await;
        let seen = json!({ "cart_id": 7, "status": "available", "battery_level": 100, "label": "Cart 7" });
        assert_eq!(phone.get("/carts/").await.ok(), json!([seen]));
        assert_eq!(phone.get("/carts/7").await.ok(), seen);
        assert_eq!(
            phone.get("/customer-session/cart-status/7").await.ok(),
            json!({ "cart_id": 7, "status": "available", "has_active_session": false, "session_id": null, "user_id": null })
        );
        let unknown = phone.get("/carts/8").await;
        assert_eq!((unknown.refusal(), &unknown.json()["detail"]), ((404, "not-found".into()), &json!("Cart not found")));
        for path in ["/carts/", "/carts/7", "/customer-session/cart-status/7"] {
            let anonymous = Answer::of(world.http.get(world.url(path))).await;
            assert_eq!(anonymous.refusal(), (401, "not-authenticated".into()), "{path}");
        }
    }

    async fn a_cart_sees_itself_and_no_other(world: World) {
        let cart = world.cart("7").await;
        world.cart("8").await;
        let seen = cart.get("/carts/").await.ok();
        assert_eq!((seen.as_array().unwrap().len(), &seen[0]["cart_id"]), (1, &json!(7)));
        assert_eq!(cart.get("/carts/8").await.refusal(), (404, "not-found".into()));
        assert_eq!(cart.get("/customer-session/cart-status/8").await.refusal(), (404, "not-found".into()));
    }

    async fn only_its_own_customer_learns_whose_session_a_cart_has(world: World) {
        let cart = world.cart("7").await;
        let (phone, other) = (world.phone().await, world.phone().await);
        let session = phone.scan(&cart.qr().await).await.ok();
        let path = "/customer-session/cart-status/7";
        let whole = json!({
            "cart_id": 7, "status": "in use", "has_active_session": true, "session_id": session["session_id"], "user_id": phone.id,
        });
        assert_eq!(phone.get(path).await.ok(), whole);
        assert_eq!(cart.get(path).await.ok(), whole);
        assert_eq!(world.admin().await.get(path).await.ok(), whole);
        let seen = other.get(path).await.ok();
        assert_eq!((&seen["status"], &seen["session_id"], &seen["user_id"]), (&json!("in use"), &Value::Null, &Value::Null));
    }

    async fn a_cart_waits_for_its_enrolment_and_then_is_in_service(world: World) {
        let admin = world.admin().await;
        let made = admin.post_json("/carts/", &json!({ "cart_id": "front-3", "label": " By the door " })).await;
        assert_eq!((made.status.as_u16(), made.headers["location"].to_str().unwrap()), (201, "/carts/front-3"));
        let made = made.json();
        assert_eq!((&made["lifecycle"], &made["label"], &made["link"]), (&json!("pending"), &json!("By the door"), &json!("offline")));
        assert_eq!((&made["enrolled"], &made["battery"], &made["battery_level"]), (&json!(false), &Value::Null, &json!(100)));
        assert_eq!(admin.post_json("/carts/", &json!({ "cart_id": "front-3" })).await.refusal(), (409, "cart-id-taken".into()));
        assert_eq!(world.phone().await.get("/carts/").await.ok(), json!([]), "customers see carts that stand in the store");

        let issued = admin.post("/carts/front-3/enrolment").await;
        assert_eq!(issued.headers["cache-control"], "no-store");
        let issued = issued.ok();
        let code = issued["code"].as_str().unwrap();
        assert_eq!(issued["url"], format!("http://{}/cart/#enrol={code}", world.address));
        assert_eq!(issued["expires_in"], VALID.as_secs());
        assert!(issued["svg"].as_str().unwrap().starts_with("<svg "));

        let enrolled = enrol(&world, &code.to_lowercase().replace('-', " ")).await;
        assert_eq!(enrolled.status, 201);
        let cookie = enrolled.headers["set-cookie"].to_str().unwrap();
        let body = enrolled.json();
        let key = body["device_key"].as_str().unwrap();
        assert_eq!(cookie, format!("cartlink={key}; HttpOnly; SameSite=Strict; Path=/; Max-Age=34560000"));
        assert_eq!((&body["cart_id"], &body["label"]), (&json!("front-3"), &json!("By the door")));
        assert!(opens(&world, "front-3", key).await);
        let by_cookie = world.http.get(world.url("/customer-session/qr/front-3")).header("cookie", format!("cartlink={key}"));
        assert_eq!(Answer::of(by_cookie).await.status, 200, "a screen in the field sends nothing but its cookie");
        let seen = admin.get("/carts/front-3").await.ok();
        assert_eq!((&seen["lifecycle"], &seen["enrolled"], &seen["link"]), (&json!("in_service"), &json!(true), &json!("online")));
        assert_eq!(enrol(&world, code).await.refusal(), (401, "invalid-credential".into()), "a code is good once");
        let audit = admin.get("/admin/audit?target=cart/front-3").await.text;
        for action in ["cart.created", "cart.enrolment-issued", "cart.enrolled"] {
            assert!(audit.contains(action), "{action}");
        }
        assert!(!audit.contains(code), "no code in the audit");
    }

    async fn enrolling_again_voids_the_key_the_codes_and_the_streams_of_before(world: World) {
        let (cart, admin) = (world.cart("7").await, world.admin().await);
        let mut screen = cart.screen().await;
        let (first, second) = (new_code(&admin, "7").await, new_code(&admin, "7").await);
        assert_eq!(enrol(&world, &first).await.status, 401, "a newer code voids the one before");
        let shown = cart.qr().await;
        let enrolled = enrol(&world, &second).await.ok();
        assert!(!opens(&world, "7", &cart.key).await);
        assert!(opens(&world, "7", enrolled["device_key"].as_str().unwrap()).await);
        assert_eq!(world.phone().await.scan(&shown).await.refusal(), (401, "qr-already-used".into()));
        screen.rest().await;
    }

    async fn a_wrong_secret_burns_its_own_selector_after_five_tries_and_no_other(world: World) {
        let admin = world.admin().await;
        for id in ["7", "8"] {
            admin.post_json("/carts/", &json!({ "cart_id": id })).await.ok();
        }
        let (burned, untouched) = (new_code(&admin, "7").await, new_code(&admin, "8").await);
        for _ in 0..5 {
            assert_eq!(enrol(&world, &guessed(&burned)).await.refusal(), (401, "invalid-credential".into()));
        }
        assert_eq!(enrol(&world, &burned).await.refusal(), (429, "too-many-requests".into()), "who guesses has to wait");
        world.advance(31);
        assert_eq!(enrol(&world, &burned).await.refusal(), (401, "invalid-credential".into()), "and the code is burned");
        assert_eq!(enrol(&world, &untouched).await.status, 201);
        for odd in ["", "ABCDE", "not a code at all", &untouched[1..]] {
            assert_eq!(enrol(&world, odd).await.refusal(), (422, "invalid-fields".into()), "{odd}");
        }
    }

    async fn of_many_screens_enrolling_with_one_code_one_gets_a_key(world: World) {
        let admin = world.admin().await;
        admin.post_json("/carts/", &json!({ "cart_id": 7 })).await.ok();
        let code = new_code(&admin, "7").await;
        let answers = join_all((0..20).map(|_| enrol(&world, &code))).await;
        let keys: Vec<Value> = answers.iter().filter(|answer| answer.status == 201).map(Answer::json).collect();
        assert_eq!(keys.len(), 1);
        assert!(opens(&world, "7", keys[0]["device_key"].as_str().unwrap()).await);
        assert!(answers.iter().all(|answer| [201, 401, 429].contains(&answer.status.as_u16())));
    }

    async fn an_enrolment_code_is_good_for_ten_minutes(world: World) {
        let admin = world.admin().await;
        admin.post_json("/carts/", &json!({ "cart_id": 7 })).await.ok();
        let code = new_code(&admin, "7").await;
        world.advance(VALID.as_secs());
        assert_eq!(enrol(&world, &code).await.status, 401);
        let code = new_code(&admin, "7").await;
        world.advance(VALID.as_secs() - 1);
        assert_eq!(enrol(&world, &code).await.status, 201);
    }

    async fn a_revoked_key_opens_nothing_and_cuts_its_streams(world: World) {
        let (cart, admin) = (world.cart("7").await, world.admin().await);
        let phone = world.phone().await;
        let session = phone.scan(&cart.qr().await).await.ok();
        let mut screen = cart.screen().await;
        let revoked = admin.post("/carts/7/revoke").await.ok();
        assert_eq!((&revoked["lifecycle"], &revoked["enrolled"]), (&json!("pending"), &json!(false)));
        screen.rest().await;
        assert_eq!(cart.get("/customer-session/qr/7").await.refusal(), (403, "wrong-key".into()));
        let path = format!("/customer-session/{}", session["session_id"]);
        assert_eq!(phone.get(&path).await.ok()["is_active"], true, "the session stays the customer's");
        phone.post(&format!("{path}/end")).await.ok();
        let refused = admin.get("/customer-session/qr/7").await;
        assert_eq!(refused.refusal(), (409, "cart-unavailable".into()));
    }

    async fn a_heartbeat_tells_the_server_of_the_battery_and_the_cart_of_its_session(world: World) {
        let (cart, admin) = (world.cart("7").await, world.admin().await);
        let mut screen = cart.screen().await;
        let beat = json!({ "battery": 54.4, "charging": false, "app_version": "1.2.3", "session_id": null });
        let heard = cart.post_json("/carts/7/heartbeat", &beat).await.ok();
        assert_eq!(heard, json!({ "server_time": world.now().to_string(), "status": "available", "session_id": null }));
        let seen = admin.get("/carts/7").await.ok();
        assert_eq!((&seen["battery"], &seen["battery_level"], &seen["app_version"]), (&json!(54), &json!(54), &json!("1.2.3")));

        // Only what changes how the cart stands is an event: the first beat was none.
        cart.post_json("/carts/7/heartbeat", &json!({ "battery": 9 })).await.ok();
        let low = screen.expect("cart-status").await;
        assert_eq!((&low["cart_id"], &low["status"], &low["battery"]), (&json!(7), &json!("battery low"), &json!(9)));
        cart.post_json("/carts/7/heartbeat", &json!({ "charging": true })).await.ok();
        assert_eq!(screen.expect("cart-status").await["status"], "available");

        let phone = world.phone().await;
        let session = phone.scan(&cart.qr().await).await.ok();
        let heard = cart.post_json("/carts/7/heartbeat", &json!({})).await.ok();
        assert_eq!((&heard["status"], &heard["session_id"]), (&json!("in use"), &session["session_id"]));

        // A cart whose stream is open counts as heard; this one has none.
        let quiet = world.cart("9").await;
        quiet.post_json("/carts/9/heartbeat", &json!({})).await.ok();
        for (link, silence) in [("online", 30), ("stale", 60), ("offline", 1)] {
            world.advance(silence);
            assert_eq!(admin.get("/carts/9").await.ok()["link"], link);
        }
        for wrong in [json!({ "battery": 101 }), json!({ "battery": -1 }), json!({ "battery": "full" }), json!({ "app_version": "x".repeat(81) })] {
            assert_eq!(cart.post_json("/carts/7/heartbeat", &wrong).await.refusal(), (422, "invalid-fields".into()), "{wrong}");
        }
        assert_eq!(cart.post_json("/carts/8/heartbeat", &json!({})).await.refusal(), (404, "not-found".into()));
        assert_eq!(admin.post_json("/carts/7/heartbeat", &json!({})).await.refusal(), (403, "forbidden".into()));
    }

    async fn a_cart_goes_through_its_life_by_legal_steps_only(world: World) {
        let (cart, admin) = (world.cart("7").await, world.admin().await);
        let mut screen = cart.screen().await;
        let refused = async |change: Value, code: &str| {
            assert_eq!(set(&admin, "7", change.clone()).await.refusal(), (409, code.into()), "{change}");
        };
        refused(json!({ "lifecycle": "pending" }), "cart-lifecycle").await;
        set(&admin, "7", json!({ "lifecycle": "maintenance" })).await.ok();
        let told = screen.expect("cart-status").await;
        assert_eq!((&told["status"], &told["lifecycle"]), (&json!("maintenance"), &json!("maintenance")));
        set(&admin, "7", json!({ "lifecycle": "in_service", "label": "Seven" })).await.ok();
        assert_eq!(screen.expect("cart-status").await["status"], "available");
        let phone = world.phone().await;
        let session = phone.scan(&cart.qr().await).await.ok();
        assert_eq!(session["cart_label"], "Seven");
        refused(json!({ "lifecycle": "retired" }), "cart-in-use").await;
        assert_eq!(admin.delete("/carts/7").await.refusal(), (409, "cart-in-use".into()));
        phone.post(&format!("/customer-session/{}/end", session["session_id"])).await.ok();
        assert_eq!(admin.delete("/carts/7").await.status, 204);
        assert_eq!(admin.delete("/carts/7").await.status, 204, "gone is gone");
        screen.rest().await;
        assert!(!opens(&world, "7", &cart.key).await);
        refused(json!({ "lifecycle": "in_service" }), "cart-lifecycle").await;
        assert_eq!(admin.post("/carts/7/enrolment").await.refusal(), (409, "cart-retired".into()));
        assert_eq!(admin.get("/carts/").await.ok(), json!([]));
        assert_eq!(admin.get("/carts/?lifecycle=retired").await.ok()[0]["cart_id"], 7);
        assert_eq!(world.phone().await.get("/carts/7").await.refusal(), (404, "not-found".into()));
        for wrong in [json!({ "label": " " }), json!({ "label": "a\nb" }), json!({ "lifecycle": "asleep" }), json!({ "label": 7 })] {
            assert_eq!(set(&admin, "7", wrong.clone()).await.refusal(), (422, "invalid-fields".into()), "{wrong}");
        }
        for wrong in [json!({}), json!({ "cart_id": "a b" }), json!({ "cart_id": -7 }), json!({ "cart_id": "enrol" })] {
            assert_eq!(admin.post_json("/carts/", &wrong).await.refusal(), (422, "invalid-fields".into()), "{wrong}");
        }
    }

    async fn a_role_allows_so_much_and_another_store_is_out_of_sight(world: World) {
        let (cart, admin) = (world.cart("7").await, world.admin().await);
        let own = admin.get("/carts/7").await.ok()["store_id"].as_i64().unwrap();
        let second = admin.post_json("/admin/stores", &json!({ "name": "Second" })).await.ok();
        let second = second["store_id"].as_i64().or(second["id"].as_i64()).unwrap();
        let maintenance = || json!({ "lifecycle": "maintenance" });

        let viewer = staff(&world, "viewer", Some(own)).await;
        assert_eq!(viewer.get("/carts/").await.ok()[0]["cart_id"], 7);
        assert_eq!(set(&viewer, "7", maintenance()).await.refusal(), (403, "forbidden".into()));
        let operator = staff(&world, "operator", Some(own)).await;
        assert_eq!(set(&operator, "7", maintenance()).await.ok()["lifecycle"], "maintenance");
        assert_eq!(set(&operator, "7", json!({ "label": "x" })).await.refusal(), (403, "forbidden".into()));
        for path in ["/carts/7/enrolment", "/carts/7/revoke"] {
            assert_eq!(operator.post(path).await.refusal(), (403, "forbidden".into()), "{path}");
        }
        assert_eq!(operator.delete("/carts/7").await.refusal(), (403, "forbidden".into()));
        assert_eq!(operator.post_json("/carts/", &json!({ "cart_id": 8 })).await.refusal(), (403, "forbidden".into()));
        assert_eq!(world.phone().await.delete("/carts/7").await.refusal(), (403, "forbidden".into()));
        assert_eq!(cart.delete("/carts/7").await.refusal(), (403, "forbidden".into()));

        let elsewhere = staff(&world, "manager", Some(second)).await;
        assert_eq!(elsewhere.get("/carts/").await.ok(), json!([]));
        let absent = (404, "not-found".to_owned());
        assert_eq!(elsewhere.get("/carts/7").await.refusal(), absent);
        assert_eq!(elsewhere.get("/customer-session/qr/7").await.refusal(), absent);
        assert_eq!(elsewhere.get("/customer-session/cart-status/7").await.refusal(), absent);
        assert_eq!(set(&elsewhere, "7", maintenance()).await.refusal(), absent);
        assert_eq!(elsewhere.post("/carts/7/revoke").await.refusal(), absent);
        assert_eq!(elsewhere.post("/carts/7/enrolment").await.refusal(), absent);
        assert_eq!(elsewhere.post_json("/carts/", &json!({ "cart_id": 9, "store_id": own })).await.refusal(), absent);
        let made = elsewhere.post_json("/carts/", &json!({ "cart_id": 9 })).await.ok();
        assert_eq!(made["store_id"], second, "a manager's carts are of the manager's store");
        assert_eq!(set(&elsewhere, "9", json!({ "store_id": own })).await.refusal(), absent);
        assert_eq!(set(&admin, "9", json!({ "store_id": own })).await.ok()["store_id"], own);
        assert!(opens(&world, "7", &cart.key).await);
    }
}

#[tokio::test]
async fn where_there_is_https_the_cookie_is_bound_to_host_and_https() {
    let world = World::with(Backend::Sqlite, &["--public-url=https://carts.example"]).await;
    let admin = world.admin().await;
    admin.post_json("/carts/", &json!({ "cart_id": 7 })).await.ok();
    let enrolled = enrol(&world, &new_code(&admin, "7").await).await;
    let key = enrolled.json()["device_key"].as_str().unwrap().to_owned();
    let cookie = enrolled.headers["set-cookie"].to_str().unwrap();
    assert_eq!(cookie, format!("__Host-cartlink={key}; HttpOnly; SameSite=Strict; Secure; Path=/; Max-Age=34560000"));
}

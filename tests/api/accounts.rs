//! Signing up, in and out, and what stays behind of somebody who leaves.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::helpers::{Answer, Phone, World, both, every_row, write};

const PASSWORD: &str = "correct horse battery";

async fn post(world: &World, path: &str, body: &Value) -> Answer {
    Answer::of(world.http.post(world.url(path)).json(body)).await
}

async fn sign_up(world: &World, email: &str, full_name: &str) -> Answer {
    post(world, "/auth/signup", &json!({ "email": email, "password": PASSWORD, "full_name": full_name })).await
}

async fn login(world: &World, email: &str, password: &str) -> Answer {
    let form = [("username", email), ("password", password)];
    Answer::of(world.http.post(world.url("/auth/login")).form(&form)).await
}

async fn refresh(world: &World, token: &str) -> Answer {
    post(world, "/auth/refresh-token", &json!({ "refresh_token": token })).await
}

async fn me(world: &World, token: &str) -> Answer {
    Answer::of(world.http.get(world.url("/auth/me")).bearer_auth(token)).await
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The members of an object, in order.
fn members(value: &Value) -> Vec<&str> {
    let mut members: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    members
}

both! {
    async fn sign_up_and_sign_in_answer_what_clients_in_the_field_read(world: World) {
        let user = sign_up(&world, " Sam@Mail.Example ", "Sam O'Neil").await.ok();
        let id = user["id"].as_i64().unwrap();
        assert_eq!(user, json!({ "id": id, "email": "sam@mail.example", "full_name": "Sam O'Neil", "is_active": true }));

        let by_form = login(&world, "sam@mail.example", PASSWORD).await;
        assert_eq!(by_form.headers["cache-control"], "no-store");
        let by_json = post(&world, "/auth/login", &json!({ "username": "SAM@mail.example", "password": PASSWORD })).await;
        for answer in [by_form.ok(), by_json.ok()] {
            assert_eq!(members(&answer), ["access_token", "expires_in", "refresh_token", "token_type", "user"]);
            assert_eq!(answer["user"], user);
            assert_eq!(answer["token_type"], "bearer");
            assert_eq!(answer["expires_in"], 6 * 3600);
            assert_eq!(me(&world, &text(&answer["access_token"])).await.ok()["id"], id);
        }

        let guest = post(&world, "/auth/guest", &Value::Null).await.ok();
        assert_eq!(members(&guest), ["access_token", "expires_in", "refresh_token", "token_type", "user"]);
        assert_eq!(guest["user"]["email"], Value::Null);
    }

    async fn an_unknown_user_and_a_wrong_password_get_the_same_answer(world: World) {
        sign_up(&world, "sam@mail.example", "Sam").await.ok();
        let wrong = login(&world, "sam@mail.example", "not this one").await;
        let unknown = login(&world, "nobody@mail.example", "not this one").await;
        for answer in [&wrong, &unknown] {
            assert_eq!(answer.refusal(), (401, "wrong-password".into()));
            assert_eq!(answer.json()["detail"], "Incorrect username or password");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
        assert_eq!(members(&wrong.json()), members(&unknown.json()));
    }

    async fn an_address_has_one_account_whoever_is_faster(world: World) {
        let tries = (0..8).map(|n| {
            let email = if n % 2 == 0 { "sam@mail.example" } else { "SAM@MAIL.EXAMPLE" };
            sign_up(&world, email, "Sam")
        });
        let answers = join_all(tries).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            assert_eq!(answer.refusal(), (409, "email-taken".into()));
        }
    }

    async fn every_wrong_field_is_told_at_once(world: World) {
        let answer = post(&world, "/auth/signup", &json!({ "email": 7, "password": "password1", "full_name": "a\nb" })).await;
        assert_eq!(answer.refusal(), (422, "invalid-fields".into()));
        let errors = answer.json()["errors"].clone();
        let fields: Vec<&str> = errors.as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap()).collect();
        assert_eq!(fields, ["email", "password", "full_name"]);
        assert_eq!(post(&world, "/auth/login", &json!({})).await.refusal(), (422, "invalid-fields".into()));
        assert_eq!(post(&world, "/auth/refresh-token", &json!({ "refresh_token": null })).await.refusal().0, 422);
        let broken = Answer::of(world.http.post(world.url("/auth/login")).header("content-type", "application/json").body("{")).await;
        assert_eq!(broken.refusal(), (400, "malformed".into()));
        let picture = Answer::of(world.http.post(world.url("/auth/login")).header("content-type", "image/png").body("x")).await;
        assert_eq!(picture.refusal(), (415, "unsupported-media-type".into()));
        let huge = Answer::of(world.http.post(world.url("/auth/login")).form(&[("username", "x".repeat(70_000))])).await;
        assert_eq!(huge.refusal(), (413, "too-large".into()));
    }

    async fn a_guest_who_signs_up_keeps_the_session(world: World) {
        let cart = world.cart("7").await;
        let guest = world.phone().await;
        let session = guest.scan(&cart.qr().await).await.ok()["session_id"].clone();
        assert_eq!(guest.get("/auth/me").await.ok()["is_guest"], true);

        let body = json!({ "email": "sam@mail.example", "password": PASSWORD, "full_name": "Sam" });
        let user = guest.post_json("/auth/signup", &body).await.ok();
        assert_eq!(user["id"], guest.id);
        assert_eq!(guest.get("/auth/me").await.ok()["is_guest"], false);

        let later = login(&world, "sam@mail.example", PASSWORD).await.ok();
        assert_eq!(later["user"]["id"], guest.id);
        let path = format!("/customer-session/active/{}", guest.id);
        let open = Answer::of(world.http.get(world.url(&path)).bearer_auth(text(&later["access_token"]))).await.ok();
        assert_eq!(open["session_id"], session);

        // Who has an account already gets another one, and is not turned into it.
        let another = guest.post_json("/auth/signup", &json!({ "email": "kim@mail.example", "password": PASSWORD, "full_name": "Kim" })).await.ok();
        assert_ne!(another["id"], guest.id);
    }

    async fn an_old_token_is_no_reason_to_refuse_an_account(world: World) {
        let body = json!({ "email": "sam@mail.example", "password": PASSWORD, "full_name": "Sam" });
        let request = world.http.post(world.url("/auth/signup")).bearer_auth("eyJhbGciOiJub25lIn0.e30.").json(&body);
        Answer::of(request).await.ok();
    }

    async fn a_refresh_token_works_once_and_its_second_use_ends_the_sign_in(world: World) {
        let cart = world.cart("7").await;
        let phone = world.phone().await;
        let next = refresh(&world, &phone.refresh_token).await.ok();
        assert_eq!(next["user"]["id"], phone.id);
        let access = text(&next["access_token"]);
        me(&world, &access).await.ok();
        let mut stream = phone.stream(&format!("/sse/{}", cart.id)).await;

        let again = refresh(&world, &phone.refresh_token).await;
        assert_eq!(again.refusal(), (401, "invalid-credential".into()));
        assert_eq!(me(&world, &access).await.refusal().0, 401, "the thief's and the owner's access are both over");
        assert_eq!(phone.get("/auth/me").await.refusal().0, 401);
        assert_eq!(refresh(&world, &text(&next["refresh_token"])).await.refusal().0, 401);
        stream.rest().await;
        assert_eq!(refresh(&world, "rt_nonsense").await.refusal().0, 401);
    }

    async fn of_many_who_hand_in_one_refresh_token_one_at_most_is_served(world: World) {
        let phone = world.phone().await;
        let answers = join_all((0..10).map(|_| refresh(&world, &phone.refresh_token))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            assert_eq!(answer.refusal().0, 401);
        }
        assert_eq!(phone.get("/auth/me").await.refusal().0, 401, "somebody has stolen it: the sign-in is over");
    }

    async fn logout_ends_this_sign_in_and_its_streams_and_no_other(world: World) {
        let cart = world.cart("7").await;
        sign_up(&world, "sam@mail.example", "Sam").await.ok();
        let home = login(&world, "sam@mail.example", PASSWORD).await.ok();
        let phone = login(&world, "sam@mail.example", PASSWORD).await.ok();
        let bearer = text(&phone["access_token"]);
        let request = world.http.get(world.url(&format!("/sse/{}", cart.id))).bearer_auth(&bearer).header("accept", "text/event-stream");
        let mut stream = crate::helpers::Screen::open(request).await;

        let out = Answer::of(world.http.post(world.url("/auth/logout")).bearer_auth(&bearer)).await;
        assert_eq!((out.status.as_u16(), out.text.as_str()), (204, ""));
        assert_eq!(me(&world, &bearer).await.refusal(), (401, "invalid-credential".into()));
        assert_eq!(refresh(&world, &text(&phone["refresh_token"])).await.refusal().0, 401);
        stream.rest().await;
        me(&world, &text(&home["access_token"])).await.ok();
        assert_eq!(Answer::of(world.http.post(world.url("/auth/logout"))).await.refusal(), (401, "not-authenticated".into()));
    }

    async fn an_access_token_lasts_six_hours_and_a_sign_in_thirty_days_from_its_last_refresh(world: World) {
        let phone = world.phone().await;
        world.advance(6 * 3600 - 1);
        phone.get("/auth/me").await.ok();
        world.advance(2);
        assert_eq!(phone.get("/auth/me").await.refusal(), (401, "invalid-credential".into()));

        let day = 24 * 3600;
        world.advance(29 * day);
        let next = refresh(&world, &phone.refresh_token).await.ok();
        world.advance(29 * day);
        let next = refresh(&world, &text(&next["refresh_token"])).await.ok();
        world.advance(30 * day);
        assert_eq!(refresh(&world, &text(&next["refresh_token"])).await.refusal().0, 401);
    }

    async fn the_export_holds_everything_stored(world: World) {
        let cart = world.cart("7").await;
        let phone = Phone::named(&world, "Sam O'Neil").await;
        let session = phone.scan(&cart.qr().await).await.ok()["session_id"].as_i64().unwrap();
        cart.ack(session).await.ok();
        let receipt = json!({ "currency": "EUR", "total": 250, "items": [{ "name": "Bread", "quantity": 1, "amount": 250 }] });
        phone.post_json(&format!("/customer-session/{session}/checkout"), &receipt).await.ok();

        let export = phone.get("/auth/me/export").await.ok();
        assert_eq!(export["account"]["full_name"], "Sam O'Neil");
        assert_eq!(export["account"]["id"], phone.id);
        assert_eq!(export["sign_ins"].as_array().unwrap().len(), 1);
        assert_eq!(export["sessions"][0]["session_id"], session);
        assert_eq!(export["sessions"][0]["receipt"]["total"], 250);
    }

    async fn whoever_leaves_leaves_nothing_behind_but_statistics(world: World) {
        let cart = world.cart("7").await;
        let phone = Phone::named(&world, "Quentin Unusual").await;
        let first = phone.scan(&cart.qr().await).await.ok()["session_id"].as_i64().unwrap();
        cart.ack(first).await.ok();
        let receipt = json!({ "currency": "EUR", "total": 250, "items": [{ "name": "Rare Marmalade", "quantity": 1, "amount": 250 }] });
        phone.post_json(&format!("/customer-session/{first}/checkout"), &receipt).await.ok();
        let open = phone.scan(&cart.qr().await).await.ok()["session_id"].as_i64().unwrap();
        let email = text(&phone.get("/auth/me").await.ok()["email"]);
        let mut stream = phone.stream("/sse/7").await;
        let mut screen = cart.screen().await;
        screen.expect("session-started").await;
        let kept = format!("INSERT INTO idempotency (principal, route, idempotency_key, body_hash, status, answer, created_at) VALUES ('cart/1', '/ack', 'k', 'h', 200, '{}', 1)", phone.get(&format!("/customer-session/{open}")).await.text);
        write(&world, kept).await;
        let his = format!("\"user_id\":{},", phone.id);
        let rows = every_row(&world).await;
        assert!(rows.contains(&email) && rows.contains(&his), "the search finds what is there:\n{rows}");

        assert_eq!(phone.delete("/auth/me").await.status, 204);
        let ended = screen.expect("session-ended").await;
        assert_eq!((ended["session_id"].as_i64().unwrap(), text(&ended["reason"])), (open, "account_closed".into()));
        stream.rest().await;
        assert_eq!(cart.status().await, "available");
        assert_eq!(phone.get("/auth/me").await.refusal().0, 401);
        assert_eq!(refresh(&world, &phone.refresh_token).await.refusal().0, 401);

        let rows = every_row(&world).await;
        for trace in [email.as_str(), "Quentin", "Unusual", "Marmalade", &his, &format!("account/{}", phone.id)] {
            assert!(!rows.contains(trace), "{trace} is still there:\n{rows}");
        }
        let admin = world.admin().await;
        for session in [first, open] {
            let kept = admin.get(&format!("/customer-session/{session}")).await.ok();
            assert_eq!(kept["user_id"], Value::Null, "the session is kept, and is nobody's");
        }
        sign_up(&world, &email, "Quentin").await.ok();
    }

    async fn staff_are_not_erased_as_customers(world: World) {
        let admin = world.admin().await;
        assert_eq!(admin.delete("/auth/me").await.refusal(), (403, "forbidden".into()));
        assert_eq!(admin.get("/auth/me").await.ok()["role"], "admin");
        let cart = world.cart("7").await;
        assert_eq!(cart.get("/auth/me").await.refusal(), (403, "forbidden".into()));
        assert_eq!(cart.send_json(Method::POST, "/auth/logout", &Value::Null).await.refusal(), (403, "forbidden".into()));
    }
}

/// The processor time this process has taken so far, the server's with it: waiting for a turn costs none.
fn cpu_time() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let of = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
    threads
        .map(|thread| of(thread).split(' ').next().unwrap().parse().map_or(Duration::ZERO, Duration::from_nanos))
        .sum()
}

#[tokio::test]
async fn an_unknown_user_costs_the_time_of_a_wrong_password() {
    let world = World::start(crate::helpers::Backend::Sqlite).await;
    sign_up(&world, "sam@mail.example", "Sam").await.ok();
    let time = async |email: String| {
        let (started, before) = (Instant::now(), cpu_time());
        assert_eq!(login(&world, &email, "not this one").await.status, 401);
        println!("{email}: {:?}", started.elapsed());
        cpu_time().saturating_sub(before)
    };
    let (mut known, mut unknown) = (Duration::MAX, Duration::MAX);
    for n in 0..4 {
        known = known.min(time("sam@mail.example".into()).await);
        unknown = unknown.min(time(format!("nobody{n}@mail.example")).await);
    }
    // The best of four: without the dummy hash it is not a third of it but a twentieth.
    assert!(known < unknown * 3 && unknown < known * 3, "known {known:?}, unknown {unknown:?}");
}

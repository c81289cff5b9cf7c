//! How much is too much, and that a flood of sign-ins delays nobody else.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::helpers::{Answer, Backend, World, both};

/// Refused for now, with everything a client needs to come back in time; for how many seconds.
#[track_caller]
fn too_many(answer: &Answer) -> u64 {
    assert_eq!(answer.refusal(), (429, "too-many-requests".into()));
    let header = |name: &str| answer.headers[name].to_str().unwrap();
    let wait: u64 = header("retry-after").parse().unwrap();
    assert_eq!(header("ratelimit"), format!("\"default\";r=0;t={wait}"));
    assert!(header("ratelimit-policy").starts_with("\"default\";q="));
    wait
}

async fn login(world: &World, from: &str, email: &str, password: &str) -> Answer {
    let form = [("username", email), ("password", password)];
    Answer::of(world.http.post(world.url("/auth/login")).header("x-forwarded-for", from).form(&form)).await
}

async fn guest(world: &World, from: &str) -> Answer {
    Answer::of(world.http.post(world.url("/auth/guest")).header("x-forwarded-for", from)).await
}

const BEHIND_A_PROXY: [&str; 1] = ["--trusted-proxies=127.0.0.1"];

#[tokio::test]
async fn after_five_wrong_passwords_even_the_right_one_has_to_wait() {
    let world = World::with(Backend::Sqlite, &BEHIND_A_PROXY).await;
    let body = json!({ "email": "sam@mail.example", "password": "correct horse battery", "full_name": "Sam" });
    Answer::of(world.http.post(world.url("/auth/signup")).json(&body)).await.ok();
    for _ in 0..5 {
        assert_eq!(login(&world, "192.0.2.1", "sam@mail.example", "wrong").await.refusal().0, 401);
    }
    assert_eq!(too_many(&login(&world, "192.0.2.1", "Sam@Mail.example", "correct horse battery").await), 30);
    login(&world, "192.0.2.2", "sam@mail.example", "correct horse battery").await.ok();
    assert_eq!(login(&world, "192.0.2.1", "kim@mail.example", "wrong").await.refusal().0, 401);

    world.advance(30);
    assert_eq!(login(&world, "192.0.2.1", "sam@mail.example", "wrong").await.refusal().0, 401);
    assert_eq!(too_many(&login(&world, "192.0.2.1", "sam@mail.example", "wrong").await), 60);
    world.advance(60);
    login(&world, "192.0.2.1", "sam@mail.example", "correct horse battery").await.ok();
    assert_eq!(login(&world, "192.0.2.1", "sam@mail.example", "wrong").await.refusal().0, 401, "all is forgiven");
}

#[tokio::test]
async fn many_guesses_at_once_are_no_way_around_the_limit() {
    let world = World::start(Backend::Sqlite).await;
    let guesses = (0..40).map(|n| {
        let world = &world;
        async move { login(world, "", "sam@mail.example", &format!("guess number {n}")).await.status.as_u16() }
    });
    let statuses = join_all(guesses).await;
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 5);
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 35);
}

#[tokio::test]
async fn an_address_makes_so_many_guests_and_this_machine_any_number() {
    let world = World::with(Backend::Sqlite, &BEHIND_A_PROXY).await;
    for _ in 0..30 {
        guest(&world, "198.51.100.7").await.ok();
    }
    assert_eq!(too_many(&guest(&world, "198.51.100.7").await), 2);
    assert_eq!(
        too_many(&guest(&world, "203.0.113.1, 198.51.100.7").await),
        2,
        "what the client itself wrote is not believed"
    );
    guest(&world, "198.51.100.8").await.ok();
    world.advance(2);
    guest(&world, "198.51.100.7").await.ok();
    for _ in 0..40 {
        Answer::of(world.http.post(world.url("/auth/guest"))).await.ok();
    }
}

#[tokio::test]
async fn without_a_trusted_proxy_nobody_chooses_their_address() {
    let world = World::with(Backend::Sqlite, &["--limit-address=1/1h"]).await;
    for _ in 0..5 {
        guest(&world, "198.51.100.7").await.ok();
    }
}

#[tokio::test]
async fn codes_and_scans_are_limited_as_configured() {
    let world = World::with(Backend::Sqlite, &["--limit-mints=2/10s", "--limit-scans=3/6s"]).await;
    let cart = world.cart("7").await;
    for _ in 0..2 {
        cart.qr().await;
    }
    assert_eq!(too_many(&cart.get("/customer-session/qr/7").await), 10);
    world.advance(10);
    let code = cart.qr().await;

    let phone = world.phone().await;
    for _ in 0..3 {
        assert_eq!(phone.scan("nonsense").await.refusal().0, 401);
    }
    assert_eq!(too_many(&phone.scan(&code).await), 6);
    world.phone().await.scan(&code).await.ok();
}

both! {
    async fn a_flood_of_sign_ins_delays_no_stream(world: World) {
        const ROUNDS: usize = 10;
        // As many as may wait for their password to be hashed, almost.
        const GUESSERS: usize = 240;
        let cart = world.cart("7").await;
        let phone = world.phone().await;
        let mut screen = cart.acking_screen().await;
        let (over, tried) = (AtomicBool::new(false), AtomicUsize::new(0));
        // Whoever is answered comes again, under another name.
        let guess = async || {
            while !over.load(Ordering::Relaxed) {
                let status = login(&world, "", &format!("nobody{}@mail.example", world.fresh()), "guess").await.status;
                assert!([401, 503].contains(&status.as_u16()), "{status}");
                tried.fetch_add(usize::from(status == 401), Ordering::Relaxed);
            }
        };
        let shop = async {
            let (mut waited, mut longest) = (Vec::new(), Duration::ZERO);
            for _ in 0..ROUNDS {
                let code = cart.qr().await;
                let (started, before) = (Instant::now(), tried.load(Ordering::Relaxed));
                let session = phone.scan(&code).await.ok()["session_id"].as_i64().unwrap();
                screen.expect("session-started").await;
                longest = longest.max(started.elapsed());
                waited.push(tried.load(Ordering::Relaxed) - before);
                phone.post(&format!("/customer-session/{session}/end")).await.ok();
                screen.expect("session-ended").await;
            }
            over.store(true, Ordering::Relaxed);
            (waited, longest)
        };
        let ((mut waited, longest), _) = tokio::join!(shop, join_all((0..GUESSERS).map(|_| guess())));
        println!("a scan reached its screen after {longest:?} at most, while {waited:?} sign-ins were answered");
        waited.sort_unstable();
        // Behind the others in one queue, a scan would wait for as many of them as there are.
        assert!(waited[ROUNDS / 2] < GUESSERS * 3 / 4, "sign-ins answered before a scan was seen: {waited:?}");
    }
}

#[tokio::test]
async fn services_that_fail_count_against_their_address() {
    let world = World::with(Backend::Sqlite, &["--trusted-proxies=127.0.0.1", "--limit-address=2/10s"]).await;
    let ask = async || {
        let body: Value = json!({ "grant_type": "client_credentials", "client_id": "svc_x", "client_secret": "y" });
        Answer::of(world.http.post(world.url("/oauth2/token")).header("x-forwarded-for", "192.0.2.9").json(&body)).await
    };
    for _ in 0..2 {
        assert_eq!(ask().await.refusal().0, 401);
    }
    assert_eq!(too_many(&ask().await), 10);
}

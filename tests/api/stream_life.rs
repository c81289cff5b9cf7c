//! The life of a stream: when it ends by itself, who is let in, and that one reader is nothing to another.

use std::time::{Duration, Instant};

use cartlink::broadcast::streams::Owner;
use futures_util::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::helpers::{Answer, Backend, Phone, Screen, Staff, World, both};

/// Waits until this many streams are open; there is no event for it.
async fn until_open(world: &World, streams: usize) {
    while world.app.streams.open() != streams {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Reads `stream` to its end, and returns the last word.
async fn last_word(stream: &mut Screen) -> Option<String> {
    let began = Instant::now();
    let last = stream.rest().await.pop();
    println!("the stream ended after {:?}", began.elapsed());
    last.map(|frame| frame.json()["code"].as_str().unwrap_or_default().to_owned())
}

both! {
    async fn a_stream_says_when_its_credential_is_about_to_expire_and_ends_with_it(world: World) {
        world.cart("7").await;
        let phone = world.phone().await;
        let mut stream = phone.stream("/sse/7").await;
        world.advance(6 * 3600 - 30);
        assert_eq!(stream.expect("auth").await["expires_in"], 30);
        world.advance(29);
        world.advance(1);
        assert_eq!(stream.rest().await, [], "once is enough");
    }

    async fn signing_out_ends_the_streams_of_that_sign_in_and_no_other(world: World) {
        world.cart("7").await;
        let (phone, other) = (world.phone().await, world.phone().await);
        let (mut mine, mut theirs) = (phone.stream("/sse/7").await, other.stream("/sse/7").await);
        phone.post("/auth/logout").await.ok();
        assert_eq!(last_word(&mut mine).await.as_deref(), Some("revoked"));
        other.post("/auth/logout").await.ok();
        assert_eq!(last_word(&mut theirs).await.as_deref(), Some("revoked"));
    }

    async fn whoever_is_demoted_or_dismissed_loses_the_stream(world: World) {
        world.cart("7").await;
        let admin = world.admin().await;
        for (step, body) in [("PATCH", Some(json!({ "role": "viewer" }))), ("DELETE", None)] {
            let staff = Staff::hired(&world, "manager", None).await;
            let id = staff.get("/auth/me").await.ok()["id"].clone();
            let mut stream = staff.stream("/sse/7").await;
            let path = format!("/admin/staff/{id}");
            match body {
                Some(body) => admin.send_json(step.parse().unwrap(), &path, &body).await.ok(),
                None => admin.delete(&path).await.ok(),
            };
            assert_eq!(last_word(&mut stream).await.as_deref(), Some("revoked"), "{step}");
        }
    }

    async fn a_revoked_key_ends_the_carts_streams_which_is_no_pick_up(world: World) {
        let cart = world.cart("7").await;
        let phone = world.phone().await;
        let mut watching = phone.stream("/sse/7").await;
        // A screen in the field: to close its stream is its way to acknowledge.
        let mut screen = cart.screen().await;
        phone.scan(&cart.qr().await).await.ok();
        screen.expect("session-started").await;
        watching.expect("session-started").await;
        world.admin().await.post("/carts/7/revoke").await.ok();
        assert_eq!(last_word(&mut screen).await.as_deref(), Some("revoked"));
        until_open(&world, 1).await;
        world.advance(31);
        loop {
            let event = watching.next().await;
            assert_ne!(event.kind(), "session-fetched");
            if event.kind() == "session-expired" {
                assert_eq!(event.json()["reason"], "pickup_timeout");
                break;
            }
        }
    }

    async fn ids_that_fell_out_of_the_log_get_a_marked_reset_and_an_open_session_keeps_its_events(world: World) {
        let (cart, other) = (world.cart("7").await, world.cart("8").await);
        let before = cart.screen().await.last_id.unwrap();
        let (phone, second) = (world.phone().await, world.phone().await);
        phone.scan(&cart.qr().await).await.ok();
        phone.post("/customer-session/1/end").await.ok();
        second.scan(&other.qr().await).await.ok();
        let kept = other.screen().await.last_id.unwrap();
        // On a LocalSet, as the server itself: PostgreSQL's writes are tasks of their own.
        let dropping = cartlink::event::retention::drop_before(&world.app.db, world.now() + Duration::from_secs(1));
        tokio::task::LocalSet::new().run_until(dropping).await.unwrap();
        let reset = cart.stream_after("/sse/7", Some(&before)).await.greeting.unwrap();
        assert_eq!((&reset.json()["reset"], reset.id.is_some()), (&json!(true), true));
        let head = cart.screen().await;
        assert_eq!(head.greeting.unwrap().json()["reset"], json!(null));
        // What is left is resumed as ever.
        let mut resumed = cart.stream_after("/sse/7?ack=1", head.last_id.as_deref()).await;
        phone.scan(&cart.qr().await).await.ok();
        resumed.expect("session-started").await;
        let (epoch, seq) = kept.rsplit_once('.').unwrap();
        let mut whole = other.stream_after("/sse/8", Some(&format!("{epoch}.{}", seq.parse::<i64>().unwrap() - 1))).await;
        whole.expect("session-started").await;
    }
}

/// At each heartbeat the server looks into the log for what has ended elsewhere; what ends here does not wait for that.
#[tokio::test]
async fn a_stream_whose_credential_ends_is_told_so_and_not_found_later() {
    let world = World::start(Backend::Postgres).await;
    let looks = async || {
        let figures = Answer::of(world.http.get(format!("http://{}/metrics", world.control))).await.text;
        figures
            .lines()
            .filter(|line| line.starts_with("cartlink_looks_into_the_log_total"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    // It does look: for the first time a moment after its start.
    while looks().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..20 {
        let phone = world.phone().await;
        let mut stream = phone.stream("/sse/7").await;
        let before = looks().await;
        phone.post("/auth/logout").await.ok();
        assert_eq!(last_word(&mut stream).await.as_deref(), Some("revoked"));
        if before == looks().await {
            return;
        }
    }
    panic!("each time the server had looked into the log before the stream ended");
}

#[tokio::test]
async fn old_events_are_dropped_when_their_time_comes() {
    let world = World::with(Backend::Sqlite, &["--keep-events=1h"]).await;
    let emit = |n: u32| {
        let form = [("userId", "*".to_owned()), ("channel", "c".into()), ("payload", format!("data: {n}"))];
        world.http.post(format!("http://{}/emit/", world.control)).form(&form)
    };
    for n in 0..3 {
        emit(n).send().await.unwrap();
    }
    world.advance(3601);
    let channel = cartlink::event::Channel::Emitted("c".into());
    let head = || async { cartlink::event::store::head(world.app.db.read(), &channel).await.unwrap().unwrap() };
    while head().await.dropped < 3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(emit(3).send().await.unwrap().headers()["event-id"], format!("{}.4", head().await.epoch.0));
}

#[tokio::test]
async fn more_old_events_than_one_batch_holds_are_dropped_and_no_young_one_is() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let world = World::with(backend, &["--keep-events=1h"]).await;
        let emit = async |channel: &str, n: usize| {
            let form = [("userId", "*"), ("channel", channel), ("payload", &"data: x\n\n".repeat(n))];
            let sent = world.http.post(format!("http://{}/emit/", world.control)).form(&form).send().await.unwrap();
            assert_eq!(sent.status(), 200);
        };
        for _ in 0..3 {
            emit("busy", 900).await;
        }
        emit("quiet", 1).await;
        world.advance(3601);
        emit("young", 2).await;
        emit("quiet", 1).await;
        for (name, wanted) in [("busy", 2_700), ("quiet", 1), ("young", 0)] {
            let channel = cartlink::event::Channel::Emitted(name.into());
            let head = async || cartlink::event::store::head(world.app.db.read(), &channel).await.unwrap().unwrap();
            let dropping = async {
                while head().await.dropped < wanted {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), dropping).await.unwrap_or_else(|_| panic!("{name} is kept"));
            assert_eq!(head().await.dropped, wanted, "{name}");
        }
    }
}

#[tokio::test]
async fn a_stream_is_asked_to_come_back_at_its_greatest_age() {
    let world = World::with(Backend::Sqlite, &["--stream-max-age=1s"]).await;
    let phone = world.phone().await;
    let mut stream = phone.stream("/sse/7").await;
    assert_eq!(stream.rest().await, []);
}

#[tokio::test]
async fn a_quiet_stream_beats() {
    let world = World::with(Backend::Sqlite, &["--heartbeat=1s"]).await;
    let phone = world.phone().await;
    let mut stream = phone.stream("/sse/7").await;
    let began = Instant::now();
    let beats = |stream: &Screen| stream.raw.matches("\n:\n\n").count();
    while beats(&stream) < 3 {
        assert!(stream.read_bytes().await, "{:?}", stream.raw);
    }
    // Late on a busy machine, but never early: at most one for each 0.8 s.
    let most = began.elapsed().as_millis() / 800 + 2;
    assert!(beats(&stream) as u128 <= most, "{} beats in {:?}", beats(&stream), began.elapsed());
    assert!(!stream.raw.split("\n:\n\n").skip(1).any(|between| between.contains("data:")), "nothing is dispatched");
}

#[tokio::test]
async fn stopping_spreads_the_goodbyes_over_the_window_and_keeps_to_it() {
    const WINDOW: Duration = Duration::from_secs(12);
    let mut world = World::with(Backend::Sqlite, &["--drain=12s", "--streams-per-customer=1000"]).await;
    let phone = world.phone().await;
    let streams = join_all((0..60).map(|_| phone.stream("/sse/7"))).await;
    let token = phone.token.clone();
    let (http, url) = (world.http.clone(), world.url(""));
    let began = Instant::now();
    let late = async {
        // Once the stop has begun.
        while Answer::of(http.get(format!("{url}/readyz"))).await.status != 503 {}
        let request = || http.get(format!("{url}/sse/7")).bearer_auth(&token);
        let native = Screen::open(request().header("accept", "text/event-stream")).await;
        assert!(native.raw.starts_with("retry: "), "{}", native.raw);
        assert_eq!(native.greeting.unwrap().json()["code"], "unavailable");
        assert_eq!(Answer::of(request()).await.refusal(), (503, "unavailable".into()));
    };
    let ends = join_all(streams.into_iter().map(|mut stream| async move {
        assert_eq!(stream.rest().await, []);
        assert_eq!(stream.raw.matches("retry: ").count(), 2, "an opening and a goodbye: {}", stream.raw);
        let retry: u64 = stream.raw.rsplit_once("retry: ").unwrap().1.lines().next().unwrap().parse().unwrap();
        (began.elapsed(), retry)
    }));
    let (_, (), ends) = tokio::join!(world.stop(true), late, ends);
    let (first, last) = (ends.iter().map(|(at, _)| *at).min().unwrap(), ends.iter().map(|(at, _)| *at).max().unwrap());
    println!("with --drain {WINDOW:?}: goodbyes from {first:?} to {last:?}, stopped after {:?}", began.elapsed());
    // Goodbyes are given over 8 s of the window: all at once they come only where nothing is spread.
    assert!(last - first > Duration::from_secs(1), "no thundering goodbye: {first:?} to {last:?}");
    let waits: Vec<u64> = ends.iter().map(|(_, retry)| *retry).collect();
    assert!(waits.iter().max().unwrap() - waits.iter().min().unwrap() > 2000, "no thundering return: {waits:?}");
}

#[tokio::test]
async fn over_a_limit_a_native_client_gets_an_error_frame_and_others_429() {
    let world = World::with(Backend::Sqlite, &["--streams-per-customer=1", "--streams-per-cart=2"]).await;
    let cart = world.cart("7").await;
    let phone = world.phone().await;
    let first = phone.stream("/sse/7").await;
    let refused = phone.stream("/sse/7").await;
    assert_eq!(refused.headers["content-type"], "text/event-stream");
    assert!(refused.raw.starts_with("retry: "));
    let error = refused.greeting.clone().unwrap().json();
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("too-many-requests")));
    let other = phone.get("/sse/7").await;
    assert_eq!(other.refusal(), (429, "too-many-requests".into()));
    for header in ["retry-after", "ratelimit", "ratelimit-policy"] {
        assert!(other.headers.contains_key(header), "{header}");
    }
    // The cart's own quota is its own.
    let own = [cart.acking_screen().await, cart.acking_screen().await];
    assert_eq!(cart.acking_screen().await.greeting.unwrap().json()["type"], "error");
    // A place is free again once its stream is gone.
    drop((first, own));
    until_open(&world, 0).await;
    assert_eq!(phone.stream("/sse/7").await.greeting.unwrap().json()["type"], "connection");
}

#[tokio::test]
async fn fifty_guests_on_one_cart_leave_its_screen_its_place() {
    let world = World::start(Backend::Sqlite).await;
    let cart = world.cart("7").await;
    let guests = join_all((0..50).map(|_| world.phone())).await;
    let _watching = join_all(
        guests.iter().flat_map(|guest| [guest.stream("/sse/7"), guest.stream("/sse/7"), guest.stream("/sse/7")]),
    )
    .await;
    let mut screen = cart.acking_screen().await;
    guests[0].scan(&cart.qr().await).await.ok();
    screen.expect("session-started").await;
}

#[tokio::test]
async fn streams_are_counted_by_address_where_an_ipv6_customer_has_a_whole_64() {
    let world = World::with(
        Backend::Sqlite,
        &["--streams-per-address=2", "--trusted-proxies=127.0.0.1", "--streams-per-customer=100"],
    )
    .await;
    let phone = world.phone().await;
    let from = |address: &str| {
        let request = world.http.get(world.url("/sse/7")).bearer_auth(&phone.token).header("x-forwarded-for", address);
        Screen::open(request.header("accept", "text/event-stream"))
    };
    let kind = |screen: &Screen| screen.greeting.as_ref().unwrap().json()["type"].as_str().unwrap().to_owned();
    for (near, also_near, far) in
        [("203.0.113.7", "203.0.113.7", "203.0.113.8"), ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1")]
    {
        let _open = [from(near).await, from(also_near).await];
        assert_eq!(kind(&from(near).await), "error");
        assert_eq!(kind(&from(far).await), "connection");
    }
}

#[tokio::test]
async fn a_node_takes_so_many_streams_and_so_many_new_ones_at_a_time() {
    let world = World::with(Backend::Sqlite, &["--streams=2", "--streams-per-customer=100"]).await;
    let phone = world.phone().await;
    let _open = [phone.stream("/sse/7").await, phone.stream("/sse/7").await];
    assert_eq!(phone.get("/sse/7").await.refusal(), (503, "unavailable".into()));
    let world = World::with(Backend::Sqlite, &["--limit-streams=2/10s"]).await;
    let phone = world.phone().await;
    for _ in 0..2 {
        phone.stream("/sse/7").await;
    }
    assert_eq!(phone.get("/sse/7").await.refusal(), (429, "too-many-requests".into()));
    world.advance(10);
    assert_eq!(phone.stream("/sse/7").await.greeting.unwrap().json()["type"], "connection");
}

/// A subscriber as a bare socket, whose reading is the test's business.
async fn socket(world: &World, channel: &str) -> TcpStream {
    let form = [("userId", "42"), ("channel", channel), ("exp", "3600")];
    let token = Answer::of(world.http.post(format!("http://{}/token/", world.control)).form(&form)).await.text;
    let mut socket = TcpStream::connect(world.address).await.unwrap();
    let head = format!("GET /events/ HTTP/1.1\r\nHost: store.example\r\nAuthorization: Bearer {token}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    // The first byte: it is open.
    socket.read_u8().await.unwrap();
    socket
}

/// Emits `count` events of 50 KB, more than any socket buffer holds; each is answered before the next.
async fn flood(world: &World, channel: &str, count: usize) {
    for n in 0..count {
        let form = [
            ("userId", "*".to_owned()),
            ("channel", channel.into()),
            ("payload", format!("data: {n} {}", "x".repeat(50_000))),
        ];
        let answer = Answer::of(world.http.post(format!("http://{}/emit/", world.control)).form(&form)).await;
        assert_eq!(answer.text, "OK");
    }
}

/// The numbers of all events a socket brings, until it has `count` of them.
async fn numbers(socket: &mut TcpStream, count: usize) -> std::io::Result<Vec<usize>> {
    let (mut numbers, mut text, mut buffer) = (Vec::new(), Vec::new(), vec![0; 1 << 16]);
    while numbers.len() < count {
        let read = socket.read(&mut buffer).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        text.extend_from_slice(&buffer[..read]);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            if let Some(data) = line.strip_prefix(b"data: ") {
                let number = data.split(|byte| *byte == b' ').next().unwrap();
                numbers.push(std::str::from_utf8(number).unwrap().parse().unwrap());
            }
        }
    }
    Ok(numbers)
}

#[tokio::test]
async fn a_reader_that_stops_delays_nobody_and_is_caught_up_when_it_reads_on() {
    let world = World::start(Backend::Sqlite).await;
    // A machine may be so slow that the reader is given up before it reads on, but not with less and less to read.
    for count in [400, 300, 250, 250, 250] {
        let channel = format!("c{}", world.fresh());
        let mut stopped = socket(&world, &channel).await;
        let mut live = socket(&world, &channel).await;
        let (_, seen) = tokio::join!(flood(&world, &channel, count), numbers(&mut live, count));
        let all: Vec<usize> = (0..count).collect();
        assert_eq!(seen.unwrap(), all);
        // Many megabytes later: nothing waited for it, and nothing is lost to it.
        match numbers(&mut stopped, count).await {
            Ok(seen) => return assert_eq!(seen, all),
            Err(cut) => println!("the reader that stopped was given up: {cut}"),
        }
    }
    panic!("a reader that stops for a moment is cut off");
}

#[tokio::test]
async fn a_reader_that_never_reads_on_is_cut_and_its_place_freed() {
    let world = World::start(Backend::Sqlite).await;
    let _stopped = socket(&world, "c").await;
    assert_eq!(world.app.streams.open(), 1);
    flood(&world, "c", 200).await;
    // TCP_USER_TIMEOUT is real time: some 25 s.
    until_open(&world, 0).await;
}

#[tokio::test]
async fn a_reader_that_stopped_is_cut_as_soon_as_its_credential_ends() {
    let revoke = |world: &World| world.app.streams.close(&Owner::Subscriber("42".into()));
    let expire = |world: &World| world.advance(3601);
    for end in [&revoke as &dyn Fn(&World), &expire] {
        let world = World::start(Backend::Sqlite).await;
        let mut stopped = Vec::new();
        // A machine may be so slow that a reader is given up for its silence alone.
        while world.app.streams.open() == 0 {
            stopped.push(socket(&world, "c").await);
            flood(&world, "c", 300).await;
        }
        end(&world);
        let ended = Instant::now();
        until_open(&world, 0).await;
        assert!(ended.elapsed() < Duration::from_secs(15), "only TCP_USER_TIMEOUT ended it");
    }
}

#[tokio::test]
async fn a_client_that_closes_or_half_closes_is_gone() {
    let world = World::start(Backend::Sqlite).await;
    let closed = socket(&world, "c").await;
    let mut half = socket(&world, "c").await;
    assert_eq!(world.app.streams.open(), 2);
    drop(closed);
    half.shutdown().await.unwrap();
    until_open(&world, 0).await;
    let mut rest = Vec::new();
    half.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test]
async fn streams_that_come_and_go_leave_nothing_behind() {
    let world = World::start(Backend::Sqlite).await;
    let phone: Phone = world.phone().await;
    for _ in 0..20 {
        drop(
            join_all((0..25).map(|n| {
                let phone = &phone;
                async move { phone.stream(&format!("/sse/{n}")).await }
            }))
            .await,
        );
    }
    until_open(&world, 0).await;
    assert_eq!(world.app.broadcaster.followed().len(), 0);
}

//! The control listener and `/events/`: what back ends in the field send and get, and who is kept out.

use reqwest::StatusCode;
use serde_json::json;

use crate::helpers::{Answer, Backend, Screen, World, both, every_row};

/// The store's till, as it calls the control listener.
struct Till<'w>(&'w World);

impl Till<'_> {
    fn post(&self, path: &str, form: &[(&str, &str)]) -> reqwest::RequestBuilder {
        self.0.http.post(format!("http://{}{path}", self.0.control)).form(form)
    }

    async fn emit(&self, user: &str, channel: &str, payload: &str) -> Answer {
        Answer::of(self.post("/emit/", &[("userId", user), ("channel", channel), ("payload", payload)])).await
    }

    async fn token(&self, user: &str, channel: &str) -> String {
        let answer = Answer::of(self.post("/token/", &[("userId", user), ("channel", channel), ("exp", "3600")])).await;
        assert_eq!((answer.status, &answer.headers["content-type"]), (StatusCode::OK, &"text/plain".parse().unwrap()));
        answer.text
    }
}

/// A subscriber's stream; its first event is read by the test.
struct Subscriber {
    stream: Screen,
    first: Option<crate::helpers::Frame>,
}

impl Subscriber {
    /// Subscribes, has `till` emit `first`, and reads that.
    async fn open(world: &World, token: &str, last_event_id: Option<&str>, then: impl Future<Output = Answer>) -> Self {
        let mut request = world.http.get(world.url("/events/")).bearer_auth(token);
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let (stream, _) = tokio::join!(Screen::open(request), then);
        let first = stream.greeting.clone();
        Self { stream, first }
    }
}

/// The id that the first block of a subscriber's stream bears, which comes before there is any event.
async fn place(world: &World, token: &str, last_event_id: Option<&str>) -> Option<String> {
    let mut request = world.http.get(world.url("/events/")).bearer_auth(token);
    if let Some(id) = last_event_id {
        request = request.header("last-event-id", id);
    }
    let (mut answer, mut opening) = (request.send().await.unwrap(), String::new());
    while !opening.contains("\n\n") {
        opening.push_str(std::str::from_utf8(&answer.chunk().await.unwrap().unwrap()).unwrap());
    }
    let (block, rest) = opening.split_once("\n\n").unwrap();
    assert_eq!(rest, "", "and nothing else");
    block.lines().find_map(|line| line.strip_prefix("id: ")).map(str::to_owned)
}

both! {
    async fn a_subscriber_is_told_what_is_emitted_for_it_and_for_all(world: World) {
        let till = Till(&world);
        let token = till.token("42", "7").await;
        let before = till.emit("42", "7", "data: before\n\n").await.ok_id();
        let mut mine = Subscriber::open(&world, &token, Some(&before), async {
            till.emit("43", "7", "data: another's\n\n").await;
            till.emit("42", "8", "data: elsewhere\n\n").await;
            till.emit("42", "7", "data: mine\n\n").await
        })
        .await;
        let mut seen = vec![mine.first.take().unwrap()];
        while seen.last().unwrap().data != "end" {
            if seen.len() == 1 {
                till.emit("*", "7", "event: note\nid: forged\nretry: 1\n: dropped\ndata: a\ndata: b\n\ndata: end").await.ok_text();
            }
            seen.push(mine.stream.next().await);
        }
        let told: Vec<_> = seen.iter().map(|frame| (frame.event.as_deref(), frame.data.as_str())).collect();
        assert_eq!(told, [(None, "mine"), (Some("note"), "a\nb"), (None, "end")]);
        let ids: Vec<_> = seen.iter().map(|frame| frame.id.clone().unwrap()).collect();
        let seqs: Vec<i64> = ids.iter().map(|id| id.rsplit_once('.').unwrap().1.parse().unwrap()).collect();
        assert!(seqs.is_sorted() && !mine.stream.raw.contains("forged"));
    }

    async fn an_emission_answers_ok_with_the_last_events_id(world: World) {
        let till = Till(&world);
        let answer = till.emit("42", "7", "data: 1\n\ndata: 2\n\n").await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, "OK"));
        assert!(answer.headers["event-id"].to_str().unwrap().ends_with(".2"));
        let unslashed = Answer::of(till.post("/emit", &[("userId", "42"), ("channel", "7"), ("payload", "data: 3")])).await;
        assert!(unslashed.headers["event-id"].to_str().unwrap().ends_with(".3"));
    }

    async fn of_many_emitting_at_once_each_is_written_once_and_in_order(world: World) {
        let till = Till(&world);
        let emitting = (0..200).map(|n| {
            let (till, channel) = (Till(&world), format!("c{}", n % 3));
            async move { till.emit("*", &channel, &format!("data: {n}.0\n\ndata: {n}.1\n\n")).await.ok_text() }
        });
        futures_util::future::join_all(emitting).await;
        for channel in ["c0", "c1", "c2"] {
            let head = till.emit("*", channel, "data: end").await.ok_id();
            let (epoch, last) = head.rsplit_once('.').unwrap();
            let token = till.token("42", channel).await;
            let start = format!("{epoch}.0");
            let request = world.http.get(world.url("/events/")).bearer_auth(&token).header("last-event-id", &start);
            let mut stream = Screen::open(request).await;
            let mut frames = vec![stream.greeting.take().unwrap()];
            while frames.last().unwrap().data != "end" {
                frames.push(stream.next().await);
            }
            let ids: Vec<_> = frames.iter().map(|frame| frame.id.clone().unwrap()).collect();
            let expected: Vec<_> = (1..=last.parse().unwrap()).map(|seq: i64| format!("{epoch}.{seq}")).collect();
            assert_eq!(ids, expected, "no gap, no repeat, no disorder");
            for pair in frames[..frames.len() - 1].chunks(2) {
                let (first, second) = (pair[0].data.strip_suffix(".0"), pair[1].data.strip_suffix(".1"));
                assert!(first.is_some() && first == second, "the events of one payload stay together");
            }
        }
    }

    async fn a_subscriber_that_comes_back_misses_nothing_also_across_a_restart(world: World) {
        let mut world = world;
        let token = Till(&world).token("42", "7").await;
        let id = Till(&world).emit("42", "7", "data: 1").await.ok_id();
        for (n, orderly) in [(2, true), (3, false)] {
            Till(&world).emit("42", "7", &format!("data: {n}")).await.ok_text();
            world.restart(orderly).await;
        }
        let mut stream = Screen::open(world.http.get(world.url(&format!("/events/?token={token}&last_event_id={id}")))).await;
        assert_eq!((stream.greeting.take().unwrap().data, stream.next().await.data), ("2".into(), "3".into()));
    }

    async fn a_subscriber_that_is_away_before_the_channels_first_event_misses_nothing_either(world: World) {
        let mut world = world;
        let token = Till(&world).token("42", "7").await;
        let mut at = place(&world, &token, None).await.unwrap();
        assert!(!every_row(&world).await.contains("emit/7"), "to follow is not to write");
        assert_eq!(place(&world, &token, Some(&at)).await, None, "its place is still the same");
        world.restart(false).await;
        Till(&world).emit("43", "7", "data: another's").await.ok_text();
        for n in 1..=3 {
            Till(&world).emit("42", "7", &format!("data: {n}")).await.ok_text();
        }
        for n in 1..=3 {
            let request = world.http.get(world.url("/events/")).bearer_auth(&token).header("last-event-id", &at);
            let first = Screen::open(request).await.greeting.unwrap();
            assert_eq!((first.event, first.data), (None, n.to_string()));
            at = first.id.unwrap();
        }
        assert_eq!(place(&world, &token, None).await.unwrap(), at, "who comes anew begins at the end");
    }

    async fn an_id_from_another_life_is_told_so_by_a_named_reset(world: World) {
        let till = Till(&world);
        let token = till.token("42", "7").await;
        let head = till.emit("42", "7", "data: 1").await.ok_id();
        let stream = Subscriber::open(&world, &token, Some("0000000000.1"), std::future::ready(head_of(&head))).await;
        let reset = stream.first.unwrap();
        assert_eq!((reset.event.as_deref(), reset.id.as_deref()), (Some("reset"), Some(head.as_str())));
        assert_eq!(reset.json()["reset"], true);
    }

    async fn a_payload_or_name_that_could_forge_a_frame_is_refused(world: World) {
        let till = Till(&world);
        for (user, channel, payload) in [
            ("a\nb", "7", "data: 1"), ("a\rb", "7", "data: 1"), ("a\0b", "7", "data: 1"), ("", "7", "data: 1"),
            ("42", "a\ndata: x", "data: 1"), ("42", "", "data: 1"), ("42", "\0", "data: 1"), (&"u".repeat(257), "7", "data: 1"),
            ("42", &"c".repeat(257), "data: 1"), ("42", "7", ""), ("42", "7", "hello"), ("42", "7", ": comment\n\n"),
            ("42", "7", "event: a\0b\ndata: 1"), ("42", "7", "data: a\0b"),
        ] {
            assert_eq!(till.emit(user, channel, payload).await.refusal(), (422, "invalid-fields".into()), "{user:?} {channel:?} {payload:?}");
        }
        let missing = Answer::of(till.post("/emit/", &[("userId", "42")])).await;
        let fields: Vec<_> = missing.json()["errors"].as_array().unwrap().iter().map(|error| error["field"].clone()).collect();
        assert_eq!(fields, ["channel", "payload"]);
        let large = till.emit("42", "7", &format!("data: {}", "x".repeat(70_000))).await;
        assert_eq!(large.refusal().0, 413);
    }
}

impl Answer {
    #[track_caller]
    fn ok_text(&self) {
        assert_eq!((self.status, self.text.as_str()), (StatusCode::OK, "OK"));
    }

    #[track_caller]
    fn ok_id(&self) -> String {
        self.ok_text();
        self.headers["event-id"].to_str().unwrap().to_owned()
    }
}

/// An answer to wait for where there is nothing to wait for.
fn head_of(id: &str) -> Answer {
    let headers = [("event-id".parse().unwrap(), id.parse().unwrap())].into_iter().collect();
    Answer { status: StatusCode::OK, headers, text: "OK".into() }
}

#[tokio::test]
async fn the_sample_command_lines_secret_signs_tokens_as_back_ends_in_the_field_do() {
    let world = World::with(Backend::Sqlite, &["--secret=MySuperPassword42"]).await;
    let minted = Till(&world).token("42", "7").await;
    let own = cartlink::token::Subscriber { user_id: "42".into(), channel: "7".into(), exp: world.now().unix() + 3600 };
    assert_eq!(minted, cartlink::token::sign_subscriber(b"MySuperPassword42", &own));
    // Header and claims as the field writes them, byte for byte.
    let parts: Vec<_> = minted.split('.').take(2).map(decoded).collect();
    assert_eq!(parts[0], r#"{"typ":"JWT","alg":"HS256"}"#);
    assert_eq!(parts[1], format!(r#"{{"userId":"42","channel":"7","exp":{}}}"#, own.exp));
    let offline = std::process::Command::new(env!("CARGO_BIN_EXE_cartlink"))
        .args(["token", "--user-id=42", "--channel=7", "--exp=60", "-secret", "MySuperPassword42"])
        .output()
        .unwrap();
    let offline = String::from_utf8(offline.stdout).unwrap();
    let opened =
        cartlink::token::open_subscriber(b"MySuperPassword42", offline.trim(), cartlink::clock::Timestamp(0)).unwrap();
    assert_eq!((opened.user_id.as_str(), opened.channel.as_str()), ("42", "7"));
}

fn decoded(part: &str) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn a_bad_lifetime_is_400_and_a_subscriber_is_never_everybody() {
    let world = World::start(Backend::Sqlite).await;
    let till = Till(&world);
    for exp in ["", "0", "-5", "soon", "1e3", "9223372036854775807"] {
        let answer = Answer::of(till.post("/token/", &[("userId", "42"), ("channel", "7"), ("exp", exp)])).await;
        assert_eq!(answer.refusal().0, 400, "{exp}");
    }
    assert_eq!(Answer::of(till.post("/token", &[("userId", "42"), ("channel", "7")])).await.refusal().0, 400);
    let all = Answer::of(till.post("/token/", &[("userId", "*"), ("channel", "7"), ("exp", "60")])).await;
    assert_eq!(all.refusal().0, 422);
}

#[tokio::test]
async fn a_token_without_end_or_for_everybody_or_of_another_kind_opens_no_events() {
    let world = World::with(Backend::Sqlite, &["--secret=0123456789abcdef0123456789abcdef"]).await;
    let secret = b"0123456789abcdef0123456789abcdef";
    let now = world.now().unix();
    let sign = |secret: &[u8], user_id: &str, exp: i64| {
        let claims = cartlink::token::Subscriber { user_id: user_id.into(), channel: "7".into(), exp };
        cartlink::token::sign_subscriber(secret, &claims)
    };
    let endless = jsonwebtoken::encode(
        &jsonwebtoken::Header::default(),
        &json!({ "userId": "42", "channel": "7" }),
        &jsonwebtoken::EncodingKey::from_secret(secret),
    );
    let phone = world.phone().await;
    let refused = [
        endless.unwrap(),
        sign(secret, "*", now + 60),
        sign(secret, "42", now),
        sign(b"another secret of thirty-two bytes", "42", now + 60),
        phone.token.clone(),
        "nonsense".into(),
    ];
    for token in refused {
        let answer = Answer::of(world.http.get(world.url("/events/")).bearer_auth(&token)).await;
        assert_eq!(answer.refusal().0, 401, "{token}");
    }
    assert_eq!(Answer::of(world.http.get(world.url("/events/"))).await.refusal().0, 401);
    // And a subscriber's token opens nothing else: channel 7 is not cart 7.
    world.cart("7").await;
    for path in ["/sse/7", "/session/1/events", "/auth/me", "/customer-session/qr/7"] {
        let answer = Answer::of(world.http.get(world.url(path)).bearer_auth(sign(secret, "42", now + 60))).await;
        assert_eq!(answer.refusal().0, 401, "{path}");
    }
}

#[tokio::test]
async fn a_subscribers_stream_ends_when_its_token_does_without_a_word_of_ours() {
    let world = World::start(Backend::Sqlite).await;
    let till = Till(&world);
    let token = till.token("42", "7").await;
    let mut stream = Subscriber::open(&world, &token, Some("x.1"), std::future::ready(head_of("x.1"))).await.stream;
    world.advance(3590);
    till.emit("42", "7", "data: last").await.ok_text();
    assert_eq!(stream.next().await.data, "last");
    world.advance(10);
    assert_eq!(stream.rest().await, []);
}

#[tokio::test]
async fn browsers_and_foreign_hosts_are_refused_on_the_control_listener() {
    let world = World::start(Backend::Sqlite).await;
    let till = Till(&world);
    let form = [("userId", "42"), ("channel", "7"), ("payload", "data: 1")];
    for origin in ["null", "http://evil.example", "http://127.0.0.1:8001"] {
        assert_eq!(
            Answer::of(till.post("/emit/", &form).header("origin", origin)).await.refusal(),
            (403, "forbidden".into())
        );
    }
    for host in ["evil.example", "127.0.0.1.evil.example:8001"] {
        assert_eq!(Answer::of(till.post("/emit/", &form).header("host", host)).await.refusal().0, 403, "{host}");
    }
    Answer::of(till.post("/emit/", &form).header("host", "localhost:8001")).await.ok_text();
    for path in ["/emit/", "/token/"] {
        let answer = Answer::of(world.http.get(format!("http://{}{path}", world.control))).await;
        assert_eq!((answer.refusal().0, &answer.headers["allow"]), (405, &"POST".parse().unwrap()));
        let elsewhere = Answer::of(world.http.post(world.url(path)).form(&form)).await;
        assert_eq!(elsewhere.refusal().0, 404, "never on the public listener");
    }
    for path in ["/livez", "/readyz", "/health/", "/metrics"] {
        let answer = Answer::of(world.http.get(format!("http://{}{path}", world.control))).await;
        assert_eq!(answer.status, 200, "{path}");
    }
    let metrics = Answer::of(world.http.get(format!("http://{}/metrics", world.control))).await.text;
    assert!(metrics.contains("cartlink_requests_total{route=\"/emit/\",status=\"200\"} "), "{metrics}");
    assert_eq!(Answer::of(world.http.get(world.url("/metrics"))).await.refusal().0, 404);
}

#[tokio::test]
async fn where_credentials_are_asked_for_a_service_needs_the_scope() {
    let world = World::with(Backend::Sqlite, &["--control-auth=credential"]).await;
    let till = Till(&world);
    let admin = world.admin().await;
    let made = admin.post_json("/admin/services", &json!({ "name": "Till", "scopes": ["emit"] })).await.ok();
    let (id, secret) = (made["client_id"].as_str().unwrap(), made["client_secret"].as_str().unwrap());
    let granted = Answer::of(world.http.post(world.url("/oauth2/token")).form(&[
        ("grant_type", "client_credentials"),
        ("client_id", id),
        ("client_secret", secret),
    ]));
    let token = granted.await.ok()["access_token"].as_str().unwrap().to_owned();
    let form = [("userId", "42"), ("channel", "7"), ("payload", "data: 1"), ("exp", "60")];
    Answer::of(till.post("/emit/", &form).basic_auth(id, Some(secret))).await.ok_text();
    Answer::of(till.post("/emit/", &form).bearer_auth(&token)).await.ok_text();
    assert_eq!(Answer::of(till.post("/token/", &form).bearer_auth(&token)).await.refusal().0, 403);
    assert_eq!(Answer::of(till.post("/emit/", &form)).await.refusal().0, 401);
    assert_eq!(Answer::of(till.post("/emit/", &form).basic_auth(id, Some("wrong"))).await.refusal().0, 401);
    assert_eq!(Answer::of(till.post("/emit/", &form).bearer_auth(&admin.token)).await.refusal().0, 403);
    assert_eq!(Answer::of(world.http.get(format!("http://{}/metrics", world.control))).await.refusal().0, 401);
}

both! {
    async fn a_client_of_http_1_0_is_told_too_until_its_connection_ends(world: World) {
        use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
        let till = Till(&world);
        let token = till.token("42", "7").await;
        let address = world.url("").replace("http://", "");
        let mut socket = tokio::net::TcpStream::connect(address.trim_end_matches('/')).await.unwrap();
        let request = format!("GET /events/ HTTP/1.0\r\nAuthorization: Bearer {token}\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut lines = BufReader::new(socket).lines();
        let mut next = async || lines.next_line().await.unwrap().unwrap();
        let mut head = vec![next().await];
        while head.last().unwrap() != "" {
            head.push(next().await.to_lowercase());
        }
        assert!(head[0].ends_with(" 200 OK"), "{head:?}");
        assert!(!head.iter().any(|line| line.starts_with("transfer-encoding")), "{head:?}");
        while next().await != ": connected" {}
        till.emit("42", "7", "data: mine\n\n").await.ok_text();
        while next().await != "data: mine" {}
    }
}

//! A cart's code: who may see it, when there is one, how it is written, and that cameras read it.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use cartlink::qr::image::Picture;
use serde_json::{Value, json};

use crate::decoders::{Pixels, rendered};
use crate::helpers::{Answer, Backend, Cart, World, both};

/// Widths of a code, in pixels, between a third and the whole height of a 7-inch screen of 1024×600
/// and of a 10-inch one of 1280×800.
const ON_SCREENS: [usize; 7] = [200, 240, 320, 400, 480, 560, 720];

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

fn claims(jwt: &str) -> Value {
    let body = URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&body).unwrap()
}

async fn accepting(cart: &Cart<'_>, accept: &str) -> Answer {
    let url = cart.world.url(&format!("/customer-session/qr/{}", cart.id));
    Answer::of(cart.world.http.get(url).header("x-api-key", &cart.key).header("accept", accept)).await
}

async fn bytes(cart: &Cart<'_>, path: &str) -> Vec<u8> {
    let answer = cart.world.http.get(cart.world.url(path)).header("x-api-key", &cart.key).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap().to_vec()
}

both! {
    async fn a_screen_in_the_field_gets_the_token_as_a_bare_json_string(world: World) {
        let cart = world.cart("7").await;
        for accept in ["*/*", "application/json", "application/json, text/plain, */*"] {
            let answer = accepting(&cart, accept).await;
            assert_eq!((answer.status.as_u16(), header(&answer, "content-type")), (200, "application/json"));
            assert!(answer.text.starts_with("\"eyJ") && answer.text.ends_with('"'), "{}", answer.text);
            let claims = claims(answer.text.trim_matches('"'));
            assert_eq!(claims["cartid"], 7);
            assert_eq!(claims["exp"], world.now().unix() + 60);
            assert_eq!(claims["jti"].as_str().unwrap().len(), 34);
        }
    }

    async fn every_representation_says_the_same_and_none_is_kept_on_the_way(world: World) {
        let cart = world.cart("front-3").await;
        let details = cart.get("/customer-session/qr/front-3.json").await;
        let said = details.ok();
        let code = said["code"].as_str().unwrap();
        assert_eq!(said["payload"], format!("http://{}/s#{code}", world.address));
        assert_eq!((&said["expires_in"], &said["refresh_in"]), (&json!(60), &json!(40)));
        assert_eq!(said["server_time"], world.now().to_string());
        assert_eq!(claims(said["token"].as_str().unwrap())["jti"], said["code"]);
        assert_eq!(claims(said["token"].as_str().unwrap())["cartid"], "front-3");
        let kinds = [
            ("", "image/png", "image/png"),
            (".png", "*/*", "image/png"),
            ("", "image/svg+xml", "image/svg+xml"),
            ("", "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "image/svg+xml"),
            (".svg", "*/*", "image/svg+xml"),
            ("", "text/plain", "text/plain; charset=utf-8"),
            (".txt", "*/*", "text/plain; charset=utf-8"),
            ("", "text/html,*/*;q=0.1", "application/json"),
        ];
        for (suffix, accept, kind) in kinds {
            let url = world.url(&format!("/customer-session/qr/front-3{suffix}"));
            let request = world.http.get(url).header("x-api-key", &cart.key).header("accept", accept);
            let answer = request.send().await.unwrap();
            let header = |name: &str| answer.headers().get(name).unwrap().to_str().unwrap().to_owned();
            assert_eq!((answer.status().as_u16(), header("content-type").as_str()), (200, kind), "{suffix} {accept}");
            assert_eq!(header("cache-control"), "no-store");
            assert_eq!((header("x-code-expires-in").as_str(), header("x-code-refresh-in").as_str()), ("60", "40"));
        }
        assert_eq!(accepting(&cart, "text/csv").await.refusal(), (406, "not-acceptable".into()));
        assert_eq!(accepting(&cart, "application/json;q=0, image/gif").await.refusal(), (406, "not-acceptable".into()));
        assert_eq!(cart.get("/customer-session/qr/front-3.gif").await.refusal(), (404, "not-found".into()));
    }

    async fn what_a_camera_reads_from_any_picture_starts_the_session(world: World) {
        let cart = world.cart("7").await;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        type Rendering<'a> = &'a dyn Fn(Vec<u8>) -> Pixels;
        let pictures: [(&str, Rendering<'_>); 4] = [
            (".png?size=400", &|png| Pixels::of_png(&png)),
            (".png?size=560&payload=jwt", &|png| Pixels::of_png(&png)),
            (".svg", &|svg| Pixels::of_png(&rendered(&text(svg), 400))),
            (".txt?render=terminal", &|lines| Pixels::of_terminal(&text(lines), 6)),
        ];
        for (suffix, seen) in pictures {
            let pixels = seen(bytes(&cart, &format!("/customer-session/qr/7{suffix}")).await);
            let [zbar, rxing] = pixels.decoded();
            assert_eq!(zbar, rxing, "{suffix}");
            let phone = world.phone().await;
            let session = phone.scan(&zbar).await.ok();
            assert_eq!(session["cart_id"], 7, "{suffix}");
            phone.post(&format!("/customer-session/{}/end", session["session_id"])).await.ok();
        }
    }

    async fn pictures_have_whole_pixels_per_module(world: World) {
        let cart = world.cart("7").await;
        // Version 4 has 33 modules, and four more of white on each side.
        for (asked, drawn) in [(400, 369), (1, 41), (99_999, 2009)] {
            let png = Pixels::of_png(&bytes(&cart, &format!("/customer-session/qr/7.png?size={asked}")).await);
            assert_eq!((png.width, png.height), (drawn, drawn));
        }
        let refused = cart.get("/customer-session/qr/7.png?size=large").await;
        assert_eq!(refused.refusal(), (422, "invalid-fields".into()));
    }

    async fn only_the_cart_itself_and_staff_of_its_store_see_its_code(world: World) {
        let (cart, other) = (world.cart("7").await, world.cart("8").await);
        let path = "/customer-session/qr/7";
        let anonymous = Answer::of(world.http.get(world.url(path))).await;
        assert_eq!(anonymous.refusal(), (401, "not-authenticated".into()));
        assert_eq!(header(&anonymous, "www-authenticate"), "Bearer");
        let absent = other.get("/customer-session/qr/9").await;
        assert_eq!(absent.refusal(), (404, "not-found".into()));
        assert_eq!(absent.json()["detail"], "Cart not found");
        assert_eq!(other.get(path).await.refusal(), (404, "not-found".into()));
        assert_eq!(world.phone().await.get(path).await.refusal(), (403, "forbidden".into()));
        assert!(cart.get(path).await.ok().is_string() && world.admin().await.get(path).await.ok().is_string());
        for odd in ["a%20b", "..%2F7", "7.", "%00", &"x".repeat(65)] {
            assert_eq!(cart.get(&format!("/customer-session/qr/{odd}")).await.status, 404, "{odd}");
        }
    }

    async fn a_cart_that_cannot_be_taken_shows_no_code(world: World) {
        let (cart, admin) = (world.cart("7").await, world.admin().await);
        let refused = async |status: &str| {
            let answer = cart.get("/customer-session/qr/7.svg").await;
            assert_eq!(answer.refusal(), (409, "cart-unavailable".into()), "{status}");
            assert!(answer.json()["detail"].as_str().unwrap().contains(status));
        };
        cart.post_json("/carts/7/heartbeat", &json!({ "battery": 9 })).await.ok();
        refused("battery low").await;
        cart.post_json("/carts/7/heartbeat", &json!({ "charging": true })).await.ok();
        let code = cart.qr().await;
        admin.send_json(reqwest::Method::PATCH, "/carts/7", &json!({ "lifecycle": "maintenance" })).await.ok();
        refused("maintenance").await;
        admin.send_json(reqwest::Method::PATCH, "/carts/7", &json!({ "lifecycle": "in_service" })).await.ok();
        assert_eq!(world.phone().await.scan(&code).await.refusal(), (401, "qr-already-used".into()), "maintenance voids codes");
        world.phone().await.scan(&cart.qr().await).await.ok();
        refused("in use").await;
    }

    async fn fetching_a_code_writes_nothing(world: World) {
        let cart = world.cart("7").await;
        let before = cart.get("/carts/7").await.ok();
        world.advance(1);
        for suffix in ["", ".png", ".svg", ".txt", ".json"] {
            bytes(&cart, &format!("/customer-session/qr/7{suffix}")).await;
        }
        assert_eq!(cart.get("/carts/7").await.ok()["updated_at"], before["updated_at"]);
    }
}

#[test]
fn pictures_of_every_size_a_screen_shows_are_read_by_two_decoders() {
    let code = "7ZZZZZZZZZ0123456789ABCDEFGHJKMNPQ";
    for origin in ["https://cart.example", "https://a-store-with-a-longish-name.shop.example"] {
        let picture = Picture::of_link(origin, code).unwrap();
        let payload = format!("{origin}/s#{code}");
        for size in ON_SCREENS {
            let png = Pixels::of_png(&picture.png(size));
            let svg = Pixels::of_png(&rendered(&picture.svg(size), size as u32));
            assert_eq!(png.decoded(), [payload.clone(), payload.clone()], "PNG {size}");
            assert_eq!(svg.decoded(), [payload.clone(), payload.clone()], "SVG {size}");
        }
        let shown = Pixels::of_terminal(&picture.terminal(), 5);
        assert_eq!(shown.decoded(), [payload.clone(), payload.clone()], "terminal");
    }
}

#[tokio::test]
async fn a_cart_that_asks_for_code_after_code_is_slowed_down_and_no_other_is() {
    let world = World::with(Backend::Sqlite, &[]).await;
    let (cart, other) = (world.cart("7").await, world.cart("8").await);
    for _ in 0..5 {
        cart.qr().await;
    }
    let refused = cart.get("/customer-session/qr/7").await;
    assert_eq!(refused.refusal(), (429, "too-many-requests".into()));
    assert_eq!(header(&refused, "retry-after"), "10");
    assert!(!header(&refused, "ratelimit").is_empty() && !header(&refused, "ratelimit-policy").is_empty());
    other.qr().await;
    world.advance(10);
    cart.qr().await;
}

#[tokio::test]
async fn the_public_host_comes_from_the_configuration_and_never_from_the_request() {
    let world = World::with(Backend::Sqlite, &["--public-url=https://carts.example"]).await;
    let cart = world.cart("7").await;
    let request = world
        .http
        .get(world.url("/customer-session/qr/7.txt"))
        .header("x-api-key", &cart.key)
        .header("host", "evil.example");
    let said = Answer::of(request).await;
    assert!(said.text.starts_with("https://carts.example/s#"), "{}", said.text);
}

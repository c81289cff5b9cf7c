//! The role table: what carts and staff may do, by role, in their own store and in another's.
//!
//! A cell says whether the door opens: `in`, or with which status it stays shut. Who is let in may still be told that the
//! request makes no sense; that is another test's business.

use std::collections::BTreeSet;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::helpers::{Answer, Cart, Phone, Staff, World, both};

type Row = (&'static str, &'static str, [&'static str; 4], [&'static str; 4], [&'static str; 4], &'static str);

/// For staff: viewer, operator, manager and admin of the store, the same of another store, and an admin of all stores.
/// `{cart}` is in use, `{spare}` is not; `{staff}` and `{service}` are new ones each time.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    // route and body                                                      nobody customer cart another | of the store           | of another store       | of all
    ("GET /carts/", "",                                                    ["401", "in",  "in",  "in"],  ["in",  "in",  "in",  "in"], ["in",  "in",  "in",  "in"],  "in"),
    ("GET /carts/{cart}", "",                                              ["401", "in",  "in",  "404"], ["in",  "in",  "in",  "in"], ["404", "404", "404", "404"], "in"),
    ("POST /carts/", r#"{"cart_id":"{new}","store_id":1}"#,                ["401", "403", "403", "403"], ["403", "403", "in",  "in"], ["403", "403", "404", "404"], "in"),
    ("PATCH /carts/{cart}", r#"{"lifecycle":"in_service"}"#,               ["401", "403", "403", "403"], ["403", "in",  "in",  "in"], ["403", "404", "404", "404"], "in"),
    ("PATCH /carts/{cart}", r#"{"label":"L"}"#,                            ["401", "403", "403", "403"], ["403", "403", "in",  "in"], ["403", "403", "404", "404"], "in"),
    ("POST /carts/{spare}/enrolment", "",                                  ["401", "403", "403", "403"], ["403", "403", "in",  "in"], ["403", "403", "404", "404"], "in"),
    ("POST /carts/{spare}/revoke", "",                                     ["401", "403", "403", "403"], ["403", "403", "in",  "in"], ["403", "403", "404", "404"], "in"),
    ("DELETE /carts/{spare}", "",                                          ["401", "403", "403", "403"], ["403", "403", "in",  "in"], ["403", "403", "404", "404"], "in"),
    ("POST /carts/{cart}/heartbeat", r#"{"battery":50}"#,                  ["401", "403", "in",  "404"], ["403", "403", "403", "403"], ["403", "403", "403", "403"], "403"),
    ("POST /carts/{cart}/events", r#"{"kind":"item","data":{}}"#,          ["401", "403", "403", "403"], ["403", "403", "403", "403"], ["403", "403", "403", "403"], "403"),
    ("GET /customer-session/qr/{cart}", "",                                ["401", "403", "in",  "404"], ["in",  "in",  "in",  "in"], ["404", "404", "404", "404"], "in"),
    ("GET /customer-session/cart/{cart}", "",                              ["401", "404", "in",  "403"], ["in",  "in",  "in",  "in"], ["404", "404", "404", "404"], "in"),
    ("GET /customer-session/cart-status/{cart}", "",                       ["401", "in",  "in",  "404"], ["in",  "in",  "in",  "in"], ["404", "404", "404", "404"], "in"),
    ("GET /customer-session/{session}", "",                                ["401", "404", "in",  "404"], ["in",  "in",  "in",  "in"], ["404", "404", "404", "404"], "in"),
    ("GET /session/{session}", "",                                         ["401", "404", "in",  "404"], ["in",  "in",  "in",  "in"], ["404", "404", "404", "404"], "in"),
    ("GET /session/{session}/events", "",                                  ["401", "404", "in",  "404"], ["in",  "in",  "in",  "in"], ["404", "404", "404", "404"], "in"),
    ("POST /customer-session/{session}/ack", "",                           ["401", "403", "in",  "404"], ["403", "403", "403", "403"], ["403", "403", "403", "403"], "403"),
    ("POST /customer-session/{session}/activity", "",                      ["401", "404", "in",  "404"], ["403", "403", "403", "403"], ["403", "403", "403", "403"], "403"),
    ("GET /sse/{cart}", "",                                                ["401", "in",  "in",  "404"], ["in",  "in",  "in",  "in"], ["404", "404", "404", "404"], "in"),
    ("GET /admin/sessions", "",                                            ["401", "403", "403", "403"], ["in",  "in",  "in",  "in"], ["in",  "in",  "in",  "in"],  "in"),
    ("GET /admin/sessions?store=1", "",                                    ["401", "403", "403", "403"], ["in",  "in",  "in",  "in"], ["404", "404", "404", "404"], "in"),
    ("GET /admin/sessions/{session}", "",                                  ["401", "403", "403", "403"], ["in",  "in",  "in",  "in"], ["404", "404", "404", "404"], "in"),
    ("GET /admin/events", "",                                              ["401", "403", "403", "403"], ["in",  "in",  "in",  "in"], ["in",  "in",  "in",  "in"],  "in"),
    ("GET /admin/events?store_id=1", "",                                   ["401", "403", "403", "403"], ["in",  "in",  "in",  "in"], ["404", "404", "404", "404"], "in"),
    ("GET /admin/stats", "",                                               ["401", "403", "403", "403"], ["in",  "in",  "in",  "in"], ["in",  "in",  "in",  "in"],  "in"),
    ("GET /admin/stats?store_id=1", "",                                    ["401", "403", "403", "403"], ["in",  "in",  "in",  "in"], ["404", "404", "404", "404"], "in"),
    ("GET /admin/attention", "",                                           ["401", "403", "403", "403"], ["in",  "in",  "in",  "in"], ["in",  "in",  "in",  "in"],  "in"),
    ("GET /admin/attention?store_id=1", "",                                ["401", "403", "403", "403"], ["in",  "in",  "in",  "in"], ["404", "404", "404", "404"], "in"),
    ("GET /admin/audit", "",                                               ["401", "403", "403", "403"], ["403", "403", "in",  "in"], ["403", "403", "in",  "in"],  "in"),
    ("GET /admin/stores", "",                                              ["401", "403", "403", "403"], ["in",  "in",  "in",  "in"], ["in",  "in",  "in",  "in"],  "in"),
    ("POST /admin/stores", r#"{"name":"S"}"#,                              ["401", "403", "403", "403"], ["403", "403", "403", "403"], ["403", "403", "403", "403"], "in"),
    ("PATCH /admin/stores/1", r#"{"name":"S"}"#,                           ["401", "403", "403", "403"], ["403", "403", "in",  "in"], ["403", "403", "404", "404"], "in"),
    ("GET /admin/staff", "",                                               ["401", "403", "403", "403"], ["403", "403", "in",  "in"], ["403", "403", "in",  "in"],  "in"),
    ("POST /admin/staff", r#"{"email":"{new}@s.example","password":"another long passphrase","full_name":"S","role":"viewer","store_id":1}"#,
                                                                           ["401", "403", "403", "403"], ["403", "403", "in",  "in"], ["403", "403", "403", "403"], "in"),
    ("PATCH /admin/staff/{staff}", r#"{"full_name":"S"}"#,                 ["401", "403", "403", "403"], ["403", "403", "in",  "in"], ["403", "403", "404", "404"], "in"),
    ("DELETE /admin/staff/{staff}", "",                                    ["401", "403", "403", "403"], ["403", "403", "in",  "in"], ["403", "403", "404", "404"], "in"),
    ("GET /admin/services", "",                                            ["401", "403", "403", "403"], ["403", "403", "403", "in"], ["403", "403", "403", "in"],  "in"),
    ("POST /admin/services", r#"{"name":"S","scopes":["checkout"],"store_id":1}"#,
                                                                           ["401", "403", "403", "403"], ["403", "403", "403", "in"], ["403", "403", "403", "403"], "in"),
    ("POST /admin/services/{service}/rotate", "",                          ["401", "403", "403", "403"], ["403", "403", "403", "in"], ["403", "403", "403", "404"], "in"),
    ("DELETE /admin/services/{service}", "",                               ["401", "403", "403", "403"], ["403", "403", "403", "in"], ["403", "403", "403", "404"], "in"),
    ("GET /admin/webhooks", "",                                            ["401", "403", "403", "403"], ["403", "403", "403", "in"], ["403", "403", "403", "in"],  "in"),
    ("POST /admin/webhooks", r#"{"url":"http://127.0.0.1:9/","store_id":1}"#,
                                                                           ["401", "403", "403", "403"], ["403", "403", "403", "in"], ["403", "403", "403", "403"], "in"),
    ("DELETE /admin/webhooks/{webhook}", "",                               ["401", "403", "403", "403"], ["403", "403", "403", "in"], ["403", "403", "403", "404"], "in"),
    ("GET /admin/webhooks/{webhook}/dead-letters", "",                     ["401", "403", "403", "403"], ["403", "403", "403", "in"], ["403", "403", "403", "404"], "in"),
    ("POST /admin/webhooks/{webhook}/replay", "",                          ["401", "403", "403", "403"], ["403", "403", "403", "in"], ["403", "403", "403", "404"], "in"),
    // Last, because the session is over then.
    ("POST /admin/sessions/{session}/end", r#"{"reason":"x"}"#,            ["401", "403", "403", "403"], ["403", "in",  "in",  "in"], ["403", "404", "404", "404"], "in"),
];

/// Routes of carts that need no credential but what is sent along.
const OPEN: &[&str] = &["POST /carts/enrol"];

/// Second spellings.
const ALIASES: &[&str] = &["/carts"];

/// What the table's names stand for.
struct Scene<'w> {
    world: &'w World,
    admin: Staff<'w>,
    session: i64,
}

impl Scene<'_> {
    /// `text` with the names filled in, with new things where it asks for such.
    async fn fill(&self, text: &str) -> String {
        let mut text =
            text.replace("{cart}", "7").replace("{spare}", "9").replace("{session}", &self.session.to_string());
        if text.contains("{new}") {
            text = text.replace("{new}", &format!("new-{}", self.world.fresh()));
        }
        if text.contains("{staff}") {
            let email = format!("target{}@s.example", self.world.fresh());
            let body = json!({ "email": email, "password": "another long passphrase", "full_name": "T", "role": "viewer", "store_id": 1 });
            text = text.replace("{staff}", &self.admin.post_json("/admin/staff", &body).await.ok()["id"].to_string());
        }
        if text.contains("{webhook}") {
            let body = json!({ "url": "http://127.0.0.1:9/", "store_id": 1 });
            let made = self.admin.post_json("/admin/webhooks", &body).await.ok();
            text = text.replace("{webhook}", made["id"].as_str().unwrap());
        }
        if text.contains("{service}") {
            let made = self
                .admin
                .post_json("/admin/services", &json!({ "name": "T", "scopes": ["checkout"], "store_id": 1 }))
                .await
                .ok();
            text = text.replace("{service}", made["client_id"].as_str().unwrap());
        }
        text
    }

    /// What this caller finds at the door.
    async fn knock(&self, route: &str, body: &str, credential: Option<&(&'static str, String)>) -> String {
        let route = self.fill(route).await;
        let (method, path) = route.split_once(' ').unwrap();
        let mut request: RequestBuilder =
            self.world.http.request(Method::from_bytes(method.as_bytes()).unwrap(), self.world.url(path));
        if let Some((name, value)) = credential {
            request = request.header(*name, value);
        }
        if !body.is_empty() {
            let body: Value = serde_json::from_str(&self.fill(body).await).unwrap();
            request = request.json(&body);
        }
        // The status alone: some of these answers never end.
        let answer = request.send().await.unwrap();
        match answer.status().as_u16() {
            shut @ (401 | 403 | 404) => {
                Answer {
                    status: answer.status(),
                    headers: answer.headers().clone(),
                    text: answer.text().await.unwrap(),
                }
                .refusal();
                shut.to_string()
            }
            status if status < 500 && status != 405 => "in".into(),
            odd => format!("{odd} {}", answer.text().await.unwrap()),
        }
    }
}

both! {
    async fn every_door_opens_to_whom_it_should(world: World) {
        let admin = world.admin().await;
        let second = admin.post_json("/admin/stores", &json!({ "name": "Second" })).await.ok()["store_id"].as_i64().unwrap();
        let (cart, another, _spare) = (world.cart("7").await, world.cart("8").await, world.cart("9").await);
        let session = world.phone().await.scan(&cart.qr().await).await.ok()["session_id"].as_i64().unwrap();
        let bearer = |token: &str| Some(("authorization", format!("Bearer {token}")));
        let key = |cart: &Cart<'_>| Some(("x-api-key", cart.key.clone()));
        let stranger: Phone<'_> = world.phone().await;
        let mut callers = vec![("nobody".to_owned(), None), ("a customer".into(), bearer(&stranger.token))];
        callers.extend([("the cart".to_owned(), key(&cart)), ("another cart".into(), key(&another))]);
        for store in [1, second] {
            for role in ["viewer", "operator", "manager", "admin"] {
                callers.push((format!("{role} of store {store}"), bearer(&Staff::hired(&world, role, Some(store)).await.token)));
            }
        }
        callers.push(("admin of all".into(), bearer(&Staff::hired(&world, "admin", None).await.token)));

        let scene = Scene { world: &world, admin, session };
        let mut wrong = Vec::new();
        for (route, body, carts, own, other, all) in TABLE {
            let cells = carts.iter().chain(own).chain(other).chain([all]);
            for ((who, credential), expected) in callers.iter().zip(cells) {
                let found = scene.knock(route, body, credential.as_ref()).await;
                if found != *expected {
                    wrong.push(format!("{route} {body}, {who}: expected {expected}, found {found}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

#[test]
fn the_table_holds_every_route_of_carts_and_staff() {
    // `{cart}`, `{id}`, `{client_id}` and `1` are all the same to a list of routes.
    let shape = |path: &str| {
        let path = path.split('?').next().unwrap_or_default();
        path.split('/')
            .map(|part| if part.starts_with('{') || part == "1" { "{}" } else { part })
            .collect::<Vec<_>>()
            .join("/")
    };
    let known: BTreeSet<String> = TABLE
        .iter()
        .map(|row| row.0)
        .chain(OPEN.iter().copied())
        .map(|route| {
            let (method, path) = route.split_once(' ').unwrap();
            format!("{method} {}", shape(path))
        })
        .collect();
    for (path, methods) in cartlink::server::listed() {
        let is_ours = path.starts_with("/carts") || (path.starts_with("/admin/") && path != "/admin/");
        if !is_ours || ALIASES.contains(&path.as_str()) {
            continue;
        }
        for method in methods {
            let route = format!("{} {}", method.as_str(), shape(&path));
            assert!(known.contains(&route), "{route} is not in the table");
        }
    }
}

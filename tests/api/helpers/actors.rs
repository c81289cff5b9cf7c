//! Who uses the server: phones, carts and staff.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Screen, World};

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub async fn of(request: reqwest::RequestBuilder) -> Self {
        let answer = request.send().await.unwrap();
        Self { status: answer.status(), headers: answer.headers().clone(), text: answer.text().await.unwrap() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {} {}", self.status, self.text))
    }

    /// The JSON of an answer that must be a success.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert!(self.status.is_success(), "{} {}", self.status, self.text);
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    /// Status and `code` of a refusal, which must be a complete problem.
    #[track_caller]
    pub fn refusal(&self) -> (u16, String) {
        let kind = self.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        assert_eq!(kind, "application/problem+json", "{} {}", self.status, self.text);
        let problem = self.json();
        for member in ["type", "title", "status", "detail", "message", "code", "request_id"] {
            assert!(!problem[member].is_null(), "{member} is missing: {problem}");
        }
        assert_eq!(problem["message"], problem["detail"]);
        assert_eq!(problem["status"], self.status.as_u16());
        (self.status.as_u16(), problem["code"].as_str().unwrap().to_owned())
    }
}

/// A busy machine's database may be taken for silent; then nothing was done, and whoever is refused is to come again.
async fn come_again(answer: &Answer) -> bool {
    let refused = answer.status == 503 && answer.text.contains("the database does not answer");
    if refused {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    refused
}

/// A request in somebody's name.
async fn send(
    world: &World,
    method: Method,
    path: &str,
    credential: Option<(&str, &str)>,
    body: Option<&Value>,
) -> Answer {
    let mut request = world.http.request(method, world.url(path));
    if let Some((name, value)) = credential {
        request = request.header(name, value);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    for _ in 0..60 {
        let answer = Answer::of(request.try_clone().unwrap()).await;
        if !come_again(&answer).await {
            return answer;
        }
    }
    Answer::of(request).await
}

macro_rules! requests {
    () => {
        #[allow(dead_code, reason = "not every actor does everything")]
        pub async fn get(&self, path: &str) -> Answer {
            let (name, value) = self.credential();
            send(self.world, Method::GET, path, Some((name, &value)), None).await
        }

        #[allow(dead_code, reason = "not every actor does everything")]
        pub async fn post(&self, path: &str) -> Answer {
            let (name, value) = self.credential();
            send(self.world, Method::POST, path, Some((name, &value)), None).await
        }

        #[allow(dead_code, reason = "not every actor does everything")]
        pub async fn post_json(&self, path: &str, body: &Value) -> Answer {
            let (name, value) = self.credential();
            send(self.world, Method::POST, path, Some((name, &value)), Some(body)).await
        }

        /// A POST that says which one it is, so that it can be sent twice.
        #[allow(dead_code, reason = "not every actor does everything")]
        pub async fn post_keyed(&self, path: &str, key: &str, body: &Value) -> Answer {
            let (name, value) = self.credential();
            let request = self.world.http.post(self.world.url(path)).header(name, value).header("idempotency-key", key);
            Answer::of(request.json(body)).await
        }

        #[allow(dead_code, reason = "not every actor does everything")]
        pub async fn send_json(&self, method: Method, path: &str, body: &Value) -> Answer {
            let (name, value) = self.credential();
            send(self.world, method, path, Some((name, &value)), Some(body)).await
        }

        #[allow(dead_code, reason = "not every actor does everything")]
        pub async fn delete(&self, path: &str) -> Answer {
            let (name, value) = self.credential();
            send(self.world, Method::DELETE, path, Some((name, &value)), None).await
        }

        /// Opens an event stream and reads its greeting.
        #[allow(dead_code, reason = "not every actor does everything")]
        pub async fn stream(&self, path: &str) -> Screen {
            self.stream_after(path, None).await
        }

        /// As a client that comes back with the last id it has seen.
        #[allow(dead_code, reason = "not every actor does everything")]
        pub async fn stream_after(&self, path: &str, last_event_id: Option<&str>) -> Screen {
            let (name, value) = self.credential();
            let mut request =
                self.world.http.get(self.world.url(path)).header(name, value).header("accept", "text/event-stream");
            if let Some(id) = last_event_id {
                request = request.header("last-event-id", id);
            }
            Screen::open(request).await
        }
    };
}

/// A customer's phone.
pub struct Phone<'w> {
    pub world: &'w World,
    pub token: String,
    pub refresh_token: String,
    pub id: i64,
}

impl<'w> Phone<'w> {
    pub async fn guest(world: &'w World) -> Self {
        Self::signed_in(world, &send(world, Method::POST, "/auth/guest", None, None).await)
    }

    /// A customer with an e-mail and a name.
    pub async fn named(world: &'w World, name: &str) -> Self {
        let email = format!("customer{}@mail.example", world.fresh());
        let password = "correct horse battery";
        let body = json!({ "email": email, "password": password, "full_name": name });
        send(world, Method::POST, "/auth/signup", None, Some(&body)).await.ok();
        let form = [("username", email.as_str()), ("password", password)];
        Self::signed_in(world, &Answer::of(world.http.post(world.url("/auth/login")).form(&form)).await)
    }

    fn signed_in(world: &'w World, answer: &Answer) -> Self {
        let body = answer.ok();
        Self {
            world,
            token: body["access_token"].as_str().unwrap().into(),
            refresh_token: body["refresh_token"].as_str().unwrap().into(),
            id: body["user"]["id"].as_i64().unwrap(),
        }
    }

    fn credential(&self) -> (&'static str, String) {
        ("authorization", format!("Bearer {}", self.token))
    }

    pub async fn scan(&self, code: &str) -> Answer {
        self.post_json("/customer-session/scan-qr", &json!({ "token": code })).await
    }

    requests!();
}

/// A cart with its device key.
pub struct Cart<'w> {
    pub world: &'w World,
    pub id: String,
    pub key: String,
}

impl<'w> Cart<'w> {
    pub async fn enrolled(world: &'w World, admin: &Staff<'w>, id: &str) -> Self {
        admin.post_json("/carts/", &json!({ "cart_id": id, "label": format!("Cart {id}") })).await.ok();
        let code = admin.post(&format!("/carts/{id}/enrolment")).await.ok();
        let enrolled =
            send(world, Method::POST, "/carts/enrol", None, Some(&json!({ "code": code["code"] }))).await.ok();
        Self { world, id: id.into(), key: enrolled["device_key"].as_str().unwrap().into() }
    }

    fn credential(&self) -> (&'static str, String) {
        ("x-api-key", self.key.clone())
    }

    /// A new code, as the JWT that screens in the field draw.
    pub async fn qr(&self) -> String {
        let answer = self.get(&format!("/customer-session/qr/{}", self.id)).await;
        answer.ok().as_str().unwrap().to_owned()
    }

    /// The cart's own stream, as a screen in the field opens it.
    pub async fn screen(&self) -> Screen {
        self.stream(&format!("/sse/{}", self.id)).await
    }

    /// The cart's own stream, as our screen opens it: it will acknowledge.
    pub async fn acking_screen(&self) -> Screen {
        self.stream(&format!("/sse/{}?ack=1", self.id)).await
    }

    pub async fn ack(&self, session: i64) -> Answer {
        self.post(&format!("/customer-session/{session}/ack")).await
    }

    pub async fn status(&self) -> String {
        let answer = self.get(&format!("/customer-session/cart-status/{}", self.id)).await.ok();
        answer["status"].as_str().unwrap().to_owned()
    }

    requests!();
}

/// A staff member.
pub struct Staff<'w> {
    pub world: &'w World,
    pub token: String,
}

impl<'w> Staff<'w> {
    /// A new staff member of `role`, bound to `store` or to all of them.
    pub async fn hired(world: &'w World, role: &str, store: Option<i64>) -> Self {
        let (email, password) = (format!("{role}{}@store.example", world.fresh()), "another long passphrase");
        let body = json!({ "email": email, "password": password, "full_name": "Staff Member", "role": role, "store_id": store });
        world.admin().await.post_json("/admin/staff", &body).await.ok();
        Self::sign_in(world, &email, password).await
    }

    /// As a spreadsheet's owner asks.
    pub async fn csv(&self, path: &str) -> Answer {
        Answer::of(self.world.http.get(self.world.url(path)).bearer_auth(&self.token).header("accept", "text/csv"))
            .await
    }

    pub async fn sign_in(world: &'w World, email: &str, password: &str) -> Self {
        let form = [("username", email), ("password", password)];
        let answer = Answer::of(world.http.post(world.url("/auth/login")).form(&form)).await.ok();
        Self { world, token: answer["access_token"].as_str().unwrap().into() }
    }

    fn credential(&self) -> (&'static str, String) {
        ("authorization", format!("Bearer {}", self.token))
    }

    requests!();
}

/// One of the store's back ends.
pub struct Service<'w> {
    pub world: &'w World,
    pub token: String,
}

impl<'w> Service<'w> {
    /// A new one with these scopes, signed in.
    pub async fn made(world: &'w World, scopes: &[&str], store: Option<i64>) -> Self {
        let body = json!({ "name": "Till", "scopes": scopes, "store_id": store });
        let made = world.admin().await.post_json("/admin/services", &body).await.ok();
        let (id, secret) = (made["client_id"].as_str().unwrap(), made["client_secret"].as_str().unwrap());
        let form = [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret)];
        let granted = Answer::of(world.http.post(world.url("/oauth2/token")).form(&form)).await.ok();
        Self { world, token: granted["access_token"].as_str().unwrap().into() }
    }

    fn credential(&self) -> (&'static str, String) {
        ("authorization", format!("Bearer {}", self.token))
    }

    requests!();
}

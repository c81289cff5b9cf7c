//! A store full of carts and customers, made through the API like any other.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::Events;
use serde_json::Value;

use crate::net::{Net, What};
use crate::ours::{ADMIN, Ours, PASSWORD};

/// Requests in flight while the store is furnished.
const AT_ONCE: usize = 32;

/// Enrolled carts and signed-in customers; the cart of number `n` is called `n`.
pub struct Fleet {
    pub device_keys: Vec<String>,
    pub customers: Vec<String>,
}

impl Fleet {
    pub fn furnish(ours: &Ours, carts: usize, customers: usize) -> Result<Self, String> {
        let mut asker = Asker::new(ours.public_addr())?;
        let form = format!("username={}&password={PASSWORD}", ADMIN.replace('@', "%40"));
        let signed_in = asker.wave(1, |_| post("/auth/login", "", "application/x-www-form-urlencoded", &form))?;
        let admin = text(&signed_in[0], "access_token")?;
        asker.wave(carts, |n| post_json("/carts/", &admin, &format!(r#"{{"cart_id":"{n}"}}"#)))?;
        let codes = asker.wave(carts, |n| post_json(&format!("/carts/{n}/enrolment"), &admin, ""))?;
        let codes: Vec<String> = codes.iter().map(|answer| text(answer, "code")).collect::<Result<_, _>>()?;
        let enrolled =
            asker.wave(carts, |n| post_json("/carts/enrol", "", &format!(r#"{{"code":"{}"}}"#, codes[n])))?;
        let guests = asker.wave(customers, |_| post_json("/auth/guest", "", ""))?;
        Ok(Self {
            device_keys: enrolled.iter().map(|answer| text(answer, "device_key")).collect::<Result<_, _>>()?,
            customers: guests.iter().map(|answer| text(answer, "access_token")).collect::<Result<_, _>>()?,
        })
    }
}

/// A field of a JSON answer.
pub fn text(answer: &[u8], field: &str) -> Result<String, String> {
    let value: Value = serde_json::from_slice(answer)
        .map_err(|why| format!("not JSON ({why}): {}", String::from_utf8_lossy(answer)))?;
    match &value[field] {
        Value::String(text) => Ok(text.clone()),
        Value::Null => Err(format!("no {field} in {value}")),
        other => Ok(other.to_string()),
    }
}

/// A GET with a bearer credential.
pub fn get(path: &str, bearer: &str, accept: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {bearer}\r\nAccept: {accept}\r\n\r\n")
        .into_bytes()
}

/// A POST of JSON; without a bearer where that is empty.
pub fn post_json(path: &str, bearer: &str, body: &str) -> Vec<u8> {
    post(path, bearer, "application/json", body)
}

fn post(path: &str, bearer: &str, kind: &str, body: &str) -> Vec<u8> {
    let credential = if bearer.is_empty() { String::new() } else { format!("Authorization: Bearer {bearer}\r\n") };
    let kind = if body.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
    format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{credential}{kind}Content-Length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

/// Asks the same kind of thing many times, outside of what is measured.
pub struct Asker {
    net: Net,
    events: Events,
    to: SocketAddr,
}

impl Asker {
    pub fn new(to: SocketAddr) -> Result<Self, String> {
        Ok(Self { net: Net::new().map_err(|why| why.to_string())?, events: Events::with_capacity(1024), to })
    }

    /// The answers' bodies, in order; any refusal is an error.
    pub fn wave(&mut self, count: usize, make: impl Fn(usize) -> Vec<u8>) -> Result<Vec<Vec<u8>>, String> {
        self.wave_of(count, AT_ONCE, make)
    }

    pub fn wave_of(
        &mut self,
        count: usize,
        at_once: usize,
        make: impl Fn(usize) -> Vec<u8>,
    ) -> Result<Vec<Vec<u8>>, String> {
        let mut answers = vec![Vec::new(); count];
        let (mut asked, mut answered) = (0, 0);
        let mut refusal = None;
        let deadline = Instant::now() + Duration::from_secs(300);
        while answered < count && refusal.is_none() {
            while asked < count && self.net.capacity(at_once) > 0 {
                self.net.ask(self.to, &make(asked), asked as u64).map_err(|why| why.to_string())?;
                asked += 1;
            }
            self.net
                .turn(Duration::from_millis(100), &mut self.events, &mut |what| match what {
                    What::Answered { tag, status: 200..300, body, .. } => {
                        answers[tag as usize] = body.to_vec();
                        answered += 1;
                    }
                    What::Answered { status, body, .. } => {
                        refusal = Some(format!("{status}: {}", String::from_utf8_lossy(body)))
                    }
                    What::Failed => refusal = Some("the connection broke".to_owned()),
                    _ => {}
                })
                .map_err(|why| why.to_string())?;
            if Instant::now() > deadline {
                return Err(format!("only {answered} of {count} answers in five minutes"));
            }
        }
        match refusal {
            Some(refusal) => Err(format!(
                "a request was refused with {refusal}; it was: {}",
                String::from_utf8_lossy(&make(answered))
            )),
            None => Ok(answers),
        }
    }
}

//! How to speak to a server: where a channel's stream is, and how an event is published on it. Ours, nchan, or any other
//! that two templates describe.

use std::net::{SocketAddr, ToSocketAddrs};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};

/// Fills `{channel}`, `{token}`, `{data}` (the event's data) and `{frame:form}` (the whole frame, form-encoded).
#[derive(Clone, Debug)]
pub struct Peer {
    pub name: String,
    pub stream_addr: SocketAddr,
    pub publish_addr: SocketAddr,
    stream_head: String,
    publish_head: String,
    publish_body: String,
    secret: String,
    /// Credentials by channel; where there are none, `{token}` is a subscriber JWT.
    keys: Vec<String>,
}

/// A server's templates as they are given on the command line.
#[derive(Clone, Debug)]
pub struct Templates<'a> {
    pub name: &'a str,
    pub stream_url: &'a str,
    pub headers: &'a [String],
    pub publish_url: &'a str,
    pub publish_body: &'a str,
    pub publish_type: &'a str,
    pub secret: &'a str,
}

impl Peer {
    pub fn new(of: &Templates<'_>) -> Result<Self, String> {
        let (stream_addr, stream_host, stream_path) = split(of.stream_url)?;
        let (publish_addr, publish_host, publish_path) = split(of.publish_url)?;
        let headers: String = of.headers.iter().map(|header| format!("{header}\r\n")).collect();
        Ok(Self {
            name: of.name.to_owned(),
            stream_addr,
            publish_addr,
            stream_head: format!(
                "GET {stream_path} HTTP/1.1\r\nHost: {stream_host}\r\nAccept: text/event-stream\r\n{headers}"
            ),
            publish_head: format!(
                "POST {publish_path} HTTP/1.1\r\nHost: {publish_host}\r\nContent-Type: {}\r\n",
                of.publish_type
            ),
            publish_body: of.publish_body.to_owned(),
            secret: of.secret.to_owned(),
            keys: Vec::new(),
        })
    }

    /// The same, with a credential for each channel.
    pub fn with_keys(self, keys: Vec<String>) -> Self {
        Self { keys, ..self }
    }

    /// The request that opens a channel's stream, after `last_id` where there is one.
    pub fn stream(&self, channel: u32, last_id: &[u8]) -> Vec<u8> {
        let mut head = self.stream_head.replace("{channel}", &channel.to_string());
        if head.contains("{token}") {
            let key = self.keys.get(channel as usize).cloned();
            let key = key.unwrap_or_else(|| subscriber_jwt(&self.secret, &channel.to_string()));
            head = head.replace("{token}", &key);
        }
        if !last_id.is_empty() {
            head.push_str(&format!("Last-Event-ID: {}\r\n", String::from_utf8_lossy(last_id)));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// The request that publishes `data` on a channel.
    pub fn publish(&self, channel: u32, data: &str) -> Vec<u8> {
        let channel = channel.to_string();
        let mut body = self.publish_body.replace("{channel}", &channel).replace("{data}", data);
        if body.contains("{frame:form}") {
            body = body.replace("{frame:form}", &form_encode(&format!("data: {data}\n\n")));
        }
        let head = self.publish_head.replace("{channel}", &channel);
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }
}

/// `http://host:port/path` in its three parts: address, host, path.
fn split(url: &str) -> Result<(SocketAddr, &str, &str), String> {
    let rest = url.strip_prefix("http://").ok_or_else(|| format!("{url}: only http:// is spoken here"))?;
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let addr = host.to_socket_addrs().ok().and_then(|mut found| found.next());
    Ok((addr.ok_or_else(|| format!("{url}: host and port expected"))?, host, path))
}

/// A subscriber JWT as back ends in the field mint it, good for a day.
fn subscriber_jwt(secret: &str, channel: &str) -> String {
    let exp = crate::unix_seconds() + 86_400;
    let claims = format!(r#"{{"userId":"load","channel":"{channel}","exp":{exp}}}"#);
    let signed =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#), URL_SAFE_NO_PAD.encode(claims));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

fn form_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

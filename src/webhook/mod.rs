//! Webhooks: sessions' starts and ends, told to other back ends by the rules of Standard Webhooks
//! (<https://www.standardwebhooks.com>).
//!
//! What is to be told is written beside the event it tells of, in one transaction, so that a crash loses none. Within a
//! session deliveries keep the order of events; a message that comes twice bears the same id.

pub mod deliver;
pub mod http;
pub mod service;
pub mod store;

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;

use crate::clock::Timestamp;
use crate::event::Kind;
use crate::ids::StoreId;
use crate::token;

/// What can be told.
pub const KINDS: [&str; 3] = ["session-started", "checkout-completed", "session-ended"];

/// Who is told what.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Its id; what its secret is derived from.
    pub id: String,
    /// The store whose sessions it hears of; all where `None`.
    pub store: Option<StoreId>,
    /// Where.
    pub url: String,
    /// Of [`KINDS`].
    pub kinds: Vec<String>,
    /// Since when.
    pub created_at: Timestamp,
}

/// A message on its way to a webhook.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The row's.
    pub id: i64,
    /// To which webhook.
    pub webhook: String,
    /// Where.
    pub url: String,
    /// The message's, alike each time it is sent.
    pub message_id: String,
    /// What it says.
    pub body: String,
    /// How often it has been tried.
    pub attempts: u32,
    /// When it was due.
    pub due_at: Timestamp,
}

/// How a kind of event is called here, if it is told at all. Whatever the cause, an end is an end.
pub fn told_as(kind: &Kind) -> Option<&'static str> {
    match kind {
        Kind::SessionStarted => Some("session-started"),
        Kind::CheckoutCompleted => Some("checkout-completed"),
        Kind::SessionEnded | Kind::SessionExpired => Some("session-ended"),
        _ => None,
    }
}

/// How long after each failed attempt the next one comes: a day in all, then it is a dead letter.
pub fn backoff(attempts: u32) -> Option<Duration> {
    const SECONDS: [u64; 10] = [5, 30, 120, 600, 1800, 3600, 7200, 14_400, 28_800, 28_800];
    SECONDS.get(attempts.saturating_sub(1) as usize).map(|&seconds| Duration::from_secs(seconds))
}

/// A secret as receivers' libraries read it.
pub fn written(secret: &[u8; 32]) -> String {
    format!("whsec_{}", STANDARD.encode(secret))
}

/// `webhook-signature`: one signature for each secret.
pub fn signature(secrets: &[[u8; 32]], message_id: &str, at: Timestamp, body: &str) -> String {
    let signed = format!("{message_id}.{}.{body}", at.unix());
    let each = secrets.iter().map(|secret| format!("v1,{}", STANDARD.encode(token::mac(secret, signed.as_bytes()))));
    each.collect::<Vec<_>>().join(" ")
}

/// Reads an address that may be told: https, or loopback; nothing private unless `private` is allowed.
pub fn target(text: &str, private: bool) -> Result<Url, &'static str> {
    const RULE: &str =
        "give an https address (or http on a loopback one), without credentials and not in a private network";
    let url = Url::parse(text).map_err(|_| RULE)?;
    let https = match url.scheme() {
        "https" => true,
        "http" => false,
        _ => return Err(RULE),
    };
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none() && text.len() <= 2000;
    let host = url.host_str().unwrap_or_default();
    let reachable = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => may_reach(ip, https, private),
        // A name is judged by the addresses it has when something is delivered.
        Err(_) => https || host == "localhost",
    };
    if plain && reachable { Ok(url) } else { Err(RULE) }
}

/// Whether something may be delivered to this address.
pub fn may_reach(ip: IpAddr, https: bool, private: bool) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || (https && !is_nowhere(ip) && (private || !is_private(ip)))
}

fn is_nowhere(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast() || ip.octets()[0] == 0);
    ip.is_unspecified() || ip.is_multicast() || broadcast
}

/// Networks of one's own, and those that lead into one (RFC 1918, 3927, 4193, 4291, 6052, 6598, 6890, 3056).
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let special = (a == 192 && b == 0 && c == 0) || (a == 198 && (b == 18 || b == 19)) || a >= 240;
            ip.is_private() || ip.is_link_local() || shared || special || ip.is_documentation()
        }
        IpAddr::V6(ip) => {
            let first = ip.segments();
            let translated =
                (first[0] == 0x64 && first[1] == 0xff9b) || first[0] == 0x2002 || (first[0] == 0x2001 && first[1] == 0);
            let documentation = first[0] == 0x2001 && first[1] == 0xdb8;
            let compatible = first[..6] == [0; 6];
            ip.is_unique_local() || ip.is_unicast_link_local() || translated || documentation || compatible
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_loopback_are_told_and_nothing_private() {
        for right in [
            "https://till.example/hook?x=1",
            "http://127.0.0.1:9000/",
            "http://[::1]:9000/",
            "http://localhost:1/",
            "https://8.8.8.8/",
        ] {
            assert!(target(right, false).is_ok(), "{right}");
        }
        for wrong in [
            "http://till.example/",
            "ftp://till.example/",
            "https://u:p@till.example/",
            "https://till.example/#x",
            "no address",
            "https://10.1.2.3/",
            "https://172.16.0.1/",
            "https://192.168.1.1/",
            "https://169.254.169.254/",
            "https://100.64.0.1/",
            "https://[fd00::1]/",
            "https://[fe80::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[64:ff9b::a00:1]/",
            "https://0.0.0.0/",
            "https://[::]/",
            "https://224.0.0.1/",
            "http://8.8.8.8/",
            "https://0x0a000001/",
            "https://167772161/",
        ] {
            assert!(target(wrong, false).is_err(), "{wrong}");
        }
        assert!(target("https://10.1.2.3/", true).is_ok() && target("http://10.1.2.3/", true).is_err());
        assert!(target("https://0.0.0.0/", true).is_err() && target("https://224.0.0.1/", true).is_err());
    }

    #[test]
    fn a_message_is_tried_for_a_day() {
        let all: Duration = (1..).map_while(backoff).sum();
        assert!((23 * 3600..=26 * 3600).contains(&all.as_secs()), "{all:?}");
    }
}

//! What a setting may be: each kind of value, and how it is written.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

/// Where a test may have the server die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// After a COMMIT that wrote events, before anybody is told.
    CommitBeforePush,
}

/// Who may use the control listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ControlAuth {
    /// Network on a loopback address, else credential.
    Auto,
    /// Reaching it is enough.
    Network,
    /// A service's access JWT, or its id and secret as Basic.
    Credential,
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl FromStr for Secret {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
}

/// A span of time: `500ms`, `30s`, `15m`, `4h`, `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let number: u64 = number.parse().map_err(|_| "write a span as 30s, 15m, 4h or 30d".to_owned())?;
        let millis = match unit.trim() {
            "ms" => 1,
            "s" | "" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            other => return Err(format!("unknown unit {other:?}: use ms, s, m, h or d")),
        };
        number.checked_mul(millis).map(|ms| Self(Duration::from_millis(ms))).ok_or_else(|| "too long".into())
    }
}

/// So many at once, and one more after each span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// At once.
    pub burst: u32,
    /// For one more.
    pub every: Duration,
}

impl FromStr for Quota {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (burst, every) =
            text.split_once('/').ok_or("write a quota as 5/10s: so many at once, and one more after each span")?;
        let burst = burst.parse().ok().filter(|n| *n > 0).ok_or("a quota's number is 1 or more")?;
        let every: Span = every.parse()?;
        if every.0.is_zero() {
            return Err("a quota's span is 1ms or more".into());
        }
        Ok(Self { burst, every: every.0 })
    }
}

/// The address customers use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    origin: String,
}

impl PublicUrl {
    /// `https://host[:port]`, without a trailing slash.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether cookies can be `Secure`.
    pub fn is_https(&self) -> bool {
        self.origin.starts_with("https://")
    }

    /// The host alone: a name or an address, as a certificate names it.
    pub fn name(&self) -> &str {
        let host = self.host();
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        name.trim_matches(['[', ']'])
    }

    /// Whether browsers may be told to come by https alone from now on (RFC 6797). That holds for every port of a name,
    /// so only where it has the usual one; addresses and this machine's own name are for a try.
    pub fn is_for_good(&self) -> bool {
        let host = self.host();
        self.is_https() && !host.contains([':', '[']) && host != "localhost" && host.parse::<IpAddr>().is_err()
    }

    /// The host, with its port where it has one.
    pub fn host(&self) -> &str {
        self.origin.split_once("://").map_or("", |(_, host)| host)
    }
}

impl FromStr for PublicUrl {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let origin = text.trim_end_matches('/').to_ascii_lowercase();
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        let plain =
            |host: &str| !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b));
        match host {
            Some(host) if plain(host) => Ok(Self { origin }),
            _ => Err("write it as https://host or https://host:port, without a path".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_told_to_come_by_https_alone_where_that_hurts_nothing_else() {
        let for_good = |url: &str| url.parse::<PublicUrl>().unwrap().is_for_good();
        assert!(for_good("https://carts.example"));
        for url in ["http://carts.example", "https://carts.example:8443", "https://192.168.1.5", "https://[fd00::1]"] {
            assert!(!for_good(url), "{url}");
        }
        assert!(!for_good("https://localhost"));
    }

    #[test]
    fn a_host_s_name_has_no_port_and_no_brackets() {
        let hosts = [
            ("a.b:8443", "a.b"),
            ("a.b", "a.b"),
            ("10.0.0.1:1", "10.0.0.1"),
            ("[fd00::1]:8000", "fd00::1"),
            ("[::1]", "::1"),
        ];
        for (host, name) in hosts {
            assert_eq!(format!("https://{host}").parse::<PublicUrl>().unwrap().name(), name);
        }
    }
}

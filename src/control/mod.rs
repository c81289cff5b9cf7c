//! The second listener, for the store's other back ends: emitted events, subscribers' tokens, metrics.
//!
//! Emitted channels are a world of their own: whoever holds the control secret can neither read nor
//! forge a cart's stream. What a back end emits is parsed as event streams are and encoded anew, so
//! no text of its can pose as a frame of ours.

pub mod emitting;
pub mod http;
pub mod payload;

use std::net::IpAddr;
use std::sync::Arc;

use crate::event::{Audience, Channel, Draft, Joined, Kind};
use payload::Frame;

/// The longest `userId` or `channel`, in bytes: both are keys.
const LONGEST_NAME: usize = 256;

/// The longest a subscriber's token may be good: ten years, in seconds.
const LONGEST_TOKEN: i64 = 10 * 366 * 86_400;

/// A `userId` or `channel`: what may stand in a key and in a line of a stream.
pub fn name(text: &str) -> Result<Arc<str>, &'static str> {
    match text {
        "" => Err("is empty"),
        _ if text.len() > LONGEST_NAME => Err("is longer than 256 bytes"),
        _ if text.contains(['\r', '\n', '\0']) => Err("holds a line end or U+0000"),
        _ => Ok(text.into()),
    }
}

/// Whom an emitted event is for: everybody where the `userId` is `*`.
pub fn audience(user_id: &str) -> Result<Audience, &'static str> {
    name(user_id).map(|name| if &*name == "*" { Audience::All } else { Audience::User(name) })
}

/// A subscriber's `userId`: of one user, for `*` would read what is meant for others.
pub fn subscriber(user_id: &str) -> Result<Arc<str>, &'static str> {
    match name(user_id)? {
        name if &*name == "*" => Err("is `*`, which is for emitting only: a subscriber is one user"),
        name => Ok(name),
    }
}

/// How long a subscriber's token is to be good, in seconds.
pub fn lifetime(text: &str) -> Result<i64, &'static str> {
    let seconds = text.trim().parse().ok().filter(|seconds| (1..=LONGEST_TOKEN).contains(seconds));
    seconds.ok_or("`exp` is a number of seconds from now, 1 or more, ten years at most")
}

/// What the log is to hold of emitted frames, in their order.
pub fn drafts(channel: &Arc<str>, audience: &Audience, frames: Vec<Frame>) -> Vec<Draft> {
    let draft = |frame: Frame| Draft {
        channel: Channel::Emitted(Arc::clone(channel)),
        session: None,
        audience: audience.clone(),
        kind: Kind::Own(frame.name),
        data: frame.data.into(),
        joined: Joined::default(),
    };
    frames.into_iter().map(draft).collect()
}

/// Whether a request's `Host` names this listener. A page in a browser on this machine can be made to
/// call any name that resolves here, but not one of these.
pub fn is_own_host(host: &str, listens_at: IpAddr, names: &[String]) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    if name.eq_ignore_ascii_case("localhost") || names.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return true;
    }
    let ip = name.trim_matches(['[', ']']).parse::<IpAddr>();
    ip.is_ok_and(|ip| ip.is_loopback() || ip == listens_at || listens_at.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_ends_no_line() {
        assert!(name("7").is_ok() && name(&"x".repeat(256)).is_ok() && name("тележка 7").is_ok());
        for odd in ["", "a\nb", "a\rb", "a\0b", &"x".repeat(257)] {
            assert!(name(odd).is_err(), "{odd:?}");
        }
        assert_eq!(audience("*"), Ok(Audience::All));
        assert_eq!(audience("**"), Ok(Audience::User("**".into())));
        assert!(subscriber("*").is_err());
    }

    #[test]
    fn a_lifetime_is_seconds_from_now() {
        assert_eq!(lifetime("3600"), Ok(3600));
        for odd in ["", "0", "-1", "1.5", "soon", "99999999999999999999", "9223372036854775807"] {
            assert!(lifetime(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_host_is_ours_by_address_by_loopback_or_by_configuration() {
        let (loopback, wild) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0]));
        for own in ["127.0.0.1:8001", "localhost", "LOCALHOST:1", "[::1]:8001", "127.9.9.9"] {
            assert!(is_own_host(own, loopback, &[]), "{own}");
        }
        for foreign in
            ["evil.example", "evil.example:8001", "127.0.0.1.evil.example", "localhost.evil.example:80", "10.0.0.5", ""]
        {
            assert!(!is_own_host(foreign, loopback, &[]), "{foreign}");
        }
        // A name can be made to resolve anywhere; an address cannot.
        assert!(is_own_host("10.0.0.5:8001", wild, &[]) && !is_own_host("evil.example", wild, &[]));
        assert!(is_own_host("cartlink:8001", wild, &["cartlink".into()]));
    }
}

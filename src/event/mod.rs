//! Events: what happened on a channel, in the order it happened.
//!
//! The log is the truth. An event holds ids and states only; what names a person, or opens
//! something, is joined when it is delivered ([`Joined`]) and never stored.

pub mod http;
pub mod retention;
pub mod store;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{AccountId, CartNum, SessionId};

/// What events are ordered within. Carts' channels and emitted ones are worlds apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Channel {
    /// Everything about one cart.
    Cart(CartNum),
    /// What other back ends emit through the control listener, by the name they gave it.
    Emitted(Arc<str>),
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cart(num) => write!(f, "cart/{num}"),
            Self::Emitted(name) => write!(f, "emit/{name}"),
        }
    }
}

impl From<Channel> for String {
    fn from(channel: Channel) -> Self {
        channel.to_string()
    }
}

impl TryFrom<String> for Channel {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once('/') {
            Some(("cart", num)) => num.parse().map(Self::Cart).map_err(|_| text.clone()),
            Some(("emit", name)) => Ok(Self::Emitted(name.into())),
            _ => Err(text),
        }
    }
}

/// Who may see an event, beside what the stream itself allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum Audience {
    /// On a cart's channel: the cart, the store's staff, and the customer of the event's session.
    /// On an emitted channel: every subscriber.
    All,
    /// On an emitted channel: the subscribers with this `userId`.
    User(Arc<str>),
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::User(id) => write!(f, "user:{id}"),
        }
    }
}

impl From<Audience> for String {
    fn from(audience: Audience) -> Self {
        audience.to_string()
    }
}

impl From<String> for Audience {
    fn from(text: String) -> Self {
        match text.strip_prefix("user:") {
            Some(id) => Self::User(id.into()),
            None => Self::All,
        }
    }
}

/// What kind of thing happened: `event_type` on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum Kind {
    /// A phone scanned the cart's code.
    SessionStarted,
    /// The cart's screen picked the session up.
    SessionFetched,
    /// Nothing was done for a while; the session will expire.
    SessionIdleWarning,
    /// Somebody came back in time.
    SessionResumed,
    /// The customer wants to pay.
    CheckoutStarted,
    /// The payment failed or took too long; shopping goes on.
    CheckoutFailed,
    /// Paid: the session is completed.
    CheckoutCompleted,
    /// The session failed: somebody ended it.
    SessionEnded,
    /// The session's time ran out.
    SessionExpired,
    /// The session moved to another cart.
    SessionTransferred,
    /// The cart's own state changed (maintenance, battery, revoked …).
    CartStatus,
    /// The cart has been silent for a while.
    CartOffline,
    /// A store's own kind, put on a stream by one of its services.
    Own(Arc<str>),
}

/// Ours and their spelling, in one place.
const SPELLED: &[(Kind, &str)] = &[
    (Kind::SessionStarted, "session-started"),
    (Kind::SessionFetched, "session-fetched"),
    (Kind::SessionIdleWarning, "session-idle-warning"),
    (Kind::SessionResumed, "session-resumed"),
    (Kind::CheckoutStarted, "checkout-started"),
    (Kind::CheckoutFailed, "checkout-failed"),
    (Kind::CheckoutCompleted, "checkout-completed"),
    (Kind::SessionEnded, "session-ended"),
    (Kind::SessionExpired, "session-expired"),
    (Kind::SessionTransferred, "session-transferred"),
    (Kind::CartStatus, "cart-status"),
    (Kind::CartOffline, "cart-offline"),
];

/// Frames that are no history, whose names a store's own events may not take either.
const RESERVED: &[&str] = &["connection", "qr", "auth", "error", "message", "open"];

impl Kind {
    /// As it is written on the wire and in the log.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Own(name) => name,
            ours => SPELLED.iter().find(|(kind, _)| kind == ours).map_or("", |(_, name)| name),
        }
    }

    /// Whether `name` is one a store may not use for its own events.
    pub fn is_ours(name: &str) -> bool {
        RESERVED.contains(&name) || SPELLED.iter().any(|(_, ours)| *ours == name)
    }

    /// Whether the event's session ended with it.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::CheckoutCompleted | Self::SessionEnded | Self::SessionExpired)
    }
}

impl From<Kind> for String {
    fn from(kind: Kind) -> Self {
        kind.as_str().into()
    }
}

impl From<String> for Kind {
    fn from(name: String) -> Self {
        match SPELLED.iter().find(|(_, ours)| *ours == name) {
            Some((kind, _)) => kind.clone(),
            None => Self::Own(name.into()),
        }
    }
}

/// Which life of a channel an id belongs to: random, made with the channel, renewed by a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub Arc<str>);

impl Epoch {
    /// A new life.
    pub fn random() -> Self {
        Self(crate::token::hex(&crate::token::random::<5>()).into())
    }

    /// Before the first one: a channel that nothing was ever written to has no life yet. A word that is never drawn.
    pub fn unborn() -> Self {
        Self("new".into())
    }
}

/// A place in a channel: `<epoch>.<seq>`, the `id:` of a frame (WHATWG HTML §9.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventId {
    /// The channel's life.
    pub epoch: Epoch,
    /// Counted from 1 within the channel, without gaps, in commit order.
    pub seq: i64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch.0, self.seq)
    }
}

impl FromStr for EventId {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (epoch, seq) = text.rsplit_once('.').ok_or(())?;
        let seq = seq.parse().map_err(|_| ())?;
        if seq < 0 || epoch.is_empty() {
            return Err(());
        }
        Ok(Self { epoch: Epoch(epoch.into()), seq })
    }
}

/// Something that happened, with its place in the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Where.
    pub channel: Channel,
    /// The channel's life.
    pub epoch: Epoch,
    /// Its place there.
    pub seq: i64,
    /// The session it belongs to, if any.
    pub session: Option<SessionId>,
    /// Who may see it.
    pub audience: Audience,
    /// What happened.
    pub kind: Kind,
    /// A JSON object on a cart's channel; the caller's own text on an emitted one.
    pub data: Arc<str>,
    /// When.
    pub at: Timestamp,
    /// What delivery adds.
    pub joined: Joined,
}

impl Event {
    /// Its place, as the wire writes it.
    pub fn id(&self) -> EventId {
        EventId { epoch: self.epoch.clone(), seq: self.seq }
    }
}

/// What is joined to an event at delivery, and stored nowhere with it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Joined {
    /// The customer of the event's session: decides who may see it.
    pub customer: Option<AccountId>,
    /// How the screen greets them ("S.").
    pub display_name: Option<Arc<str>>,
    /// Of a started session: when it ends at the latest, and its token with it.
    pub expires_at: Option<Timestamp>,
    /// Of a completed checkout: the receipt, as JSON.
    pub receipt: Option<Arc<str>>,
}

/// The initial by which a screen greets a customer: enough to know oneself, nothing to know others.
pub fn display_name(full_name: Option<&str>) -> Option<Arc<str>> {
    let initial = full_name?.trim().chars().next()?;
    Some(initial.to_uppercase().chain(['.']).collect::<String>().into())
}

/// An event on its way into the log, before it has a place there.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Where.
    pub channel: Channel,
    /// The session it belongs to, if any.
    pub session: Option<SessionId>,
    /// Who may see it.
    pub audience: Audience,
    /// What happened.
    pub kind: Kind,
    /// As [`Event::data`].
    pub data: Arc<str>,
    /// As [`Event::joined`].
    pub joined: Joined,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_written_and_nothing_else_reads_as_one() {
        let id: EventId = "a1b2.17".parse().unwrap();
        assert_eq!((id.to_string().as_str(), id.seq), ("a1b2.17", 17));
        for odd in ["", "17", ".17", "a.", "a.-1", "a.x", "a.1.x"] {
            assert!(odd.parse::<EventId>().is_err(), "{odd}");
        }
    }

    #[test]
    fn every_kind_of_ours_reads_back_and_may_not_be_taken() {
        for (kind, name) in SPELLED {
            assert_eq!(Kind::from(String::from(kind.clone())), *kind);
            assert!(Kind::is_ours(name));
        }
        assert!(!Kind::is_ours("item-added"));
    }

    #[test]
    fn a_customer_is_greeted_by_an_initial() {
        assert_eq!(display_name(Some("  søren K")).as_deref(), Some("S."));
        assert_eq!(display_name(Some(" ")), None);
        assert_eq!(display_name(None), None);
    }
}

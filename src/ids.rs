//! Ids as types, so that a cart's number never passes for a session's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An id the database counts up.
macro_rules! counted {
    ($(#[$doc:meta] $name:ident)*) => {$(
        #[$doc]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )*};
}

counted! {
    /// A store: the unit that staff, services and settings are bound to.
    StoreId
    /// An account, be it a customer's, a guest's or a staff member's. `user_id` on the wire.
    AccountId
    /// One sign-in of an account: what logout revokes.
    SignInId
    /// A customer's session on a cart.
    SessionId
    /// A cart's number: 32 bits, in every pairing code. Its name on the wire is [`CartId`].
    CartNum
}

/// A cart's name on the wire: `[A-Za-z0-9_-]{1,64}`, chosen by the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CartId(Box<str>);

impl CartId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number it reads as, where text and number are the same thing (so `007` stays text).
    fn as_number(&self) -> Option<i64> {
        let number: i64 = self.0.parse().ok()?;
        // 2^53: beyond it, JavaScript's numbers would round.
        ((0..=9_007_199_254_740_991).contains(&number) && number.to_string() == *self.0).then_some(number)
    }
}

impl fmt::Display for CartId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no cart id.
#[derive(Debug, thiserror::Error)]
#[error("a cart id is 1 to 64 of the characters A-Z a-z 0-9 _ -")]
pub struct NotACartId;

impl FromStr for CartId {
    type Err = NotACartId;
    fn from_str(text: &str) -> Result<Self, NotACartId> {
        let fits =
            (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if fits { Ok(Self(text.into())) } else { Err(NotACartId) }
    }
}

impl Serialize for CartId {
    /// A number where it reads as one: clients in the field compare it with numbers.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.as_number() {
            Some(number) => serializer.serialize_i64(number),
            None => serializer.serialize_str(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for CartId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Spelling {
            Number(u64),
            Text(String),
        }
        let text = match Spelling::deserialize(deserializer)? {
            Spelling::Number(number) => number.to_string(),
            Spelling::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::CartId;

    #[test]
    fn a_cart_id_is_a_number_on_the_wire_only_where_nothing_is_lost() {
        let spelled = |text: &str| serde_json::to_string(&text.parse::<CartId>().unwrap()).unwrap();
        assert_eq!(spelled("7"), "7");
        assert_eq!(spelled("007"), "\"007\"");
        assert_eq!(spelled("-7"), "\"-7\"");
        assert_eq!(spelled("99999999999999999999"), "\"99999999999999999999\"");
        assert_eq!(spelled("front-3"), "\"front-3\"");
        assert_eq!(serde_json::from_str::<CartId>("7").unwrap(), "7".parse().unwrap());
        assert!("".parse::<CartId>().is_err() && "a b".parse::<CartId>().is_err());
    }
}

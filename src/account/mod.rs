//! Accounts: customers, guests and staff. What they may be called, and what staff may grant.

pub mod http;
pub mod service;
pub mod services;
pub mod sign_ins;
pub mod staff;
mod standing;
pub mod store;

use std::fmt;

use crate::clock::Timestamp;
use crate::ids::{AccountId, StoreId};
use crate::principal::{Role, Staff};

/// Somebody who can sign in.
#[derive(Clone, Debug)]
pub struct Account {
    /// Their id.
    pub id: AccountId,
    /// What they told us; nothing of a guest.
    pub profile: Option<Profile>,
    /// What they are in the store; nothing of a customer.
    pub post: Option<Post>,
    /// Whether they may sign in.
    pub is_active: bool,
    /// Since when there is the account.
    pub created_at: Timestamp,
    /// Its latest change.
    pub updated_at: Timestamp,
}

impl Account {
    /// Whether nobody knows who it is.
    pub fn is_guest(&self) -> bool {
        self.profile.is_none() && self.post.is_none()
    }
}

/// What a person told us.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Where mail reaches them; their name at sign-in.
    pub email: Email,
    /// What they are called.
    pub full_name: FullName,
    /// Their password, hashed.
    pub password_hash: String,
}

/// A staff member's role, and where it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Post {
    /// What they may do.
    pub role: Role,
    /// In which store; in all where `None`.
    pub store: Option<StoreId>,
}

impl Post {
    /// The post of staff who have signed in.
    pub fn of(staff: &Staff) -> Self {
        Self { role: staff.role, store: staff.store }
    }

    /// Whether `other` works in no store beyond ours: such people exist for us.
    pub fn sees(&self, other: &Self) -> bool {
        self.reaches(other.store)
    }

    /// Whether nothing about `other` goes beyond ours. Nobody grants, changes or takes away more.
    pub fn may_grant(&self, other: &Self) -> bool {
        self.sees(other) && other.role <= self.role
    }

    /// Whether what is bound to `store` (to all where `None`) is bound within ours.
    pub fn reaches(&self, store: Option<StoreId>) -> bool {
        self.store.is_none_or(|own| store == Some(own))
    }
}

/// An e-mail address: trimmed, in lower case, plausible. Only mail sent to it could tell more.
#[derive(Clone, PartialEq, Eq)]
pub struct Email(String);

/// A person's name as they write it.
#[derive(Clone, PartialEq, Eq)]
pub struct FullName(String);

/// A password good enough to be hashed.
#[derive(Clone)]
pub struct Password(String);

/// Why a text is not what it should be, for whoever wrote it.
pub type Wrong = &'static str;

impl Email {
    /// Reads what a person typed.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let email = Self::normalised(text);
        let plausible = email.0.split_once('@').is_some_and(|(local, domain)| {
            (1..=64).contains(&local.len())
                && !domain.contains('@')
                && domain.split('.').count() >= 2
                && domain.split('.').all(|label| !label.is_empty())
        });
        let plain = !email.0.chars().any(|c| c.is_whitespace() || c.is_control() || "<>()[],;:\\\"".contains(c));
        if plausible && plain && email.0.len() <= 254 {
            Ok(email)
        } else {
            Err("give an e-mail address, as in name@example.com")
        }
    }

    /// As it is kept and looked up, plausible or not.
    pub fn normalised(text: &str) -> Self {
        Self(text.trim().to_lowercase())
    }

    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FullName {
    /// Reads what a person typed.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let name = text.trim();
        let fits = (1..=100).contains(&name.chars().count()) && !name.chars().any(is_unprintable);
        if fits { Ok(Self(name.to_owned())) } else { Err("give a name of 1 to 100 characters, on one line") }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a person hands in to get an account.
pub struct SignUp {
    /// Their name at sign-in.
    pub email: Email,
    /// Their password.
    pub password: Password,
    /// What they are called.
    pub full_name: FullName,
}

/// Control characters, and the marks that turn the direction of what is written after them.
pub fn is_unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

impl Password {
    /// Reads what a person typed; not a character of it is changed.
    pub fn parse(text: &str, email: Option<&Email>) -> Result<Self, Wrong> {
        if !(8..=128).contains(&text.chars().count()) {
            return Err("choose a password of 8 to 128 characters");
        }
        let lower = text.to_lowercase();
        if is_common(&lower) || email.is_some_and(|email| email.as_str() == lower) {
            return Err("this password is one of the first that are guessed; choose another");
        }
        Ok(Self(text.to_owned()))
    }

    /// Gives the password away, to be hashed.
    pub fn reveal(self) -> String {
        self.0
    }
}

/// Personal data and passwords: never shown by accident, as in a log line.
macro_rules! hidden {
    ($($name:ident)*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    )*};
}
hidden!(Email FullName Password);

/// The passwords that lists of stolen ones begin with, of 8 characters or more, in lower case.
const COMMON: &[&str] = &[
    "password",
    "password1",
    "password12",
    "password123",
    "password1234",
    "password!",
    "passw0rd",
    "p@ssw0rd",
    "p@ssword",
    "pa$$word",
    "passwort",
    "passwort1",
    "qwertyui",
    "qwertyuiop",
    "qwerty12",
    "qwerty123",
    "qwerty1234",
    "qwertzui",
    "qwertzuiop",
    "azertyui",
    "azertyuiop",
    "asdfghjk",
    "asdfghjkl",
    "asdf1234",
    "zxcvbnm1",
    "zxcvbnm123",
    "1q2w3e4r",
    "1q2w3e4r5t",
    "1qaz2wsx",
    "1qaz2wsx3edc",
    "qazwsxedc",
    "q1w2e3r4",
    "q1w2e3r4t5",
    "abcd1234",
    "abc12345",
    "abcdefgh",
    "abcdefghi",
    "a1b2c3d4",
    "aa123456",
    "aa12345678",
    "a12345678",
    "a123456789",
    "iloveyou",
    "iloveyou1",
    "sunshine",
    "princess",
    "princess1",
    "football",
    "football1",
    "baseball",
    "baseball1",
    "basketball",
    "superman",
    "superman1",
    "batman123",
    "trustno1",
    "welcome1",
    "welcome123",
    "letmein1",
    "letmein123",
    "admin123",
    "admin1234",
    "administrator",
    "changeme",
    "changeme1",
    "changeme123",
    "default1",
    "testtest",
    "test1234",
    "testing123",
    "guest123",
    "master123",
    "monkey123",
    "dragon123",
    "shadow123",
    "michael1",
    "jennifer",
    "computer",
    "internet",
    "starwars",
    "whatever",
    "corvette",
    "mercedes",
    "midnight",
    "november",
    "december",
    "september",
    "chocolate",
    "butterfly",
    "liverpool",
    "barcelona",
    "juventus",
    "chelsea1",
    "arsenal1",
    "pokemon1",
    "minecraft",
    "samsung1",
    "google123",
    "facebook",
    "secret123",
    "summer2024",
    "summer2025",
    "winter2024",
    "winter2025",
    "hello123",
    "hello1234",
    "supermarket",
    "shopping",
    "shopping1",
    "cartlink",
    "cartlink1",
    "cartlink123",
];

/// A listed password, one character over and over, or digits that only count.
fn is_common(lower: &str) -> bool {
    let bytes = lower.as_bytes();
    let step = |by: u8| bytes.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(by));
    let digits = bytes.iter().all(u8::is_ascii_digit);
    let counts = digits && bytes.windows(2).all(|pair| (pair[0] - b'0' + 1) % 10 == pair[1] - b'0');
    COMMON.contains(&lower) || step(0) || step(1) || step(u8::MAX) || counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_trimmed_and_in_lower_case() {
        assert_eq!(Email::parse("  Sam@Example.COM ").unwrap().as_str(), "sam@example.com");
        assert!(Email::parse("a@b.c").is_ok() && Email::parse("jürgen@müller.example").is_ok());
        for wrong in
            ["", "sam", "@b.c", "a@", "a@b", "a@b.", "a@.c", "a@b@c.d", "a b@c.d", "a@b.c\r\nBcc: d@e.f", "<a@b.c>"]
        {
            assert!(Email::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(Email::parse(&format!("a@{}.example", "b".repeat(250))).is_err());
    }

    #[test]
    fn the_first_passwords_that_are_guessed_are_refused() {
        let email = Email::parse("sam@example.com").unwrap();
        let refused = [
            "short",
            "Password1",
            "12345678",
            "1234567890123",
            "87654321",
            "aaaaaaaaaa",
            "abcdefghijk",
            "SAM@example.com",
        ];
        for wrong in refused {
            assert!(Password::parse(wrong, Some(&email)).is_err(), "{wrong}");
        }
        assert!(Password::parse(&"long".repeat(33), None).is_err());
        for right in ["correct horse", "пароль-длинный", "        x"] {
            assert!(Password::parse(right, Some(&email)).is_ok(), "{right}");
        }
    }

    #[test]
    fn a_name_is_one_line_of_text() {
        assert_eq!(FullName::parse(" Sam O'Neil 三 ").unwrap().as_str(), "Sam O'Neil 三");
        for wrong in ["", "   ", "a\nb", "a\u{0}b", "a\u{202E}b", &"x".repeat(101)] {
            assert!(FullName::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn nobody_grants_a_role_or_a_store_beyond_their_own() {
        let post = |role, store: Option<i64>| Post { role, store: store.map(StoreId) };
        let manager = post(Role::Manager, Some(1));
        assert!(manager.may_grant(&post(Role::Manager, Some(1))) && manager.may_grant(&post(Role::Viewer, Some(1))));
        assert!(!manager.may_grant(&post(Role::Admin, Some(1))));
        assert!(!manager.may_grant(&post(Role::Viewer, Some(2))) && !manager.may_grant(&post(Role::Viewer, None)));
        let admin = post(Role::Admin, None);
        assert!(admin.may_grant(&admin) && admin.may_grant(&post(Role::Admin, Some(2))));
    }

    #[test]
    fn what_names_a_person_is_not_shown_by_accident() {
        let (email, name) = (Email::parse("sam@example.com").unwrap(), FullName::parse("Sam").unwrap());
        let shown = format!("{:?} {:?} {:?}", email, name, Password::parse("correct horse", None).unwrap());
        assert!(!shown.contains("sam") && !shown.contains("Sam") && !shown.contains("horse"), "{shown}");
    }
}

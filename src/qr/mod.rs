//! The pairing code: what a cart's QR code says, sealed and opened.
//!
//! 34 characters of Crockford base32 are 170 bits: the cart's number (32), the low 16 bits of its
//! pairing epoch, the expiry in seconds since 1970 (32), and the first 90 bits of an HMAC over the
//! full values. Nothing is stored to make one: it is good while its epoch is the cart's current one
//! and its time has not run out. Bare code, link and JWT are three spellings of the same thing.

pub mod http;
pub mod image;

use std::time::Duration;

use subtle::ConstantTimeEq;

use crate::cart::Cart;
use crate::clock::Timestamp;
use crate::ids::CartNum;
use crate::token::{KeyRing, QrToken};

/// Characters of a bare code.
pub const LENGTH: usize = 34;

/// Says, within the HMAC, what is sealed: a change of layout changes this too.
const DOMAIN: &[u8] = b"cartlink pairing code 1";

/// Crockford's digits: without I, L, O and U, which people misread.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The digit for the low five bits of `value`.
pub fn digit(value: u8) -> char {
    char::from(DIGITS[usize::from(value & 31)])
}

/// The five bits a digit stands for, read as Crockford asks: in either case, I and L as 1, O as 0.
pub fn digit_value(digit: u8) -> Option<u8> {
    let digit = match digit.to_ascii_uppercase() {
        b'I' | b'L' => b'1',
        b'O' => b'0',
        other => other,
    };
    // At most 31, so nothing is cut off.
    DIGITS.iter().position(|known| *known == digit).map(|value| value as u8)
}

/// A code that has been read, but not yet believed: see [`Code::genuine`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// The cart's number.
    pub num: CartNum,
    /// The low 16 bits of the pairing epoch it was sealed in.
    pub epoch_low: u16,
    /// When it expires, in seconds since 1970.
    pub exp: u32,
    /// 90 bits; the last six are zero.
    mac: [u8; 12],
}

/// The text is no pairing code in any spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a pairing code")]
pub struct Malformed;

/// Why a text cannot be opened, before any cart is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a code in any spelling.
    #[error("not a pairing code")]
    Malformed,
    /// A JWT that this server did not sign as a QR token.
    #[error("not sealed by this server")]
    Forged,
}

/// How a code was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spelling<'t> {
    /// The code itself, alone or in a link's fragment.
    Bare(Code),
    /// A JWT whose `jti` is the code.
    Jwt(&'t str),
}

/// A cart's code, good until `exp` unless its pairing epoch moves on before.
pub fn seal(keys: &KeyRing, num: CartNum, epoch: i64, exp: Timestamp) -> String {
    let num32 = u32::try_from(num.0).expect("carts are counted from 1, and 32 bits count four billion");
    let exp32 = u32::try_from(exp.unix()).expect("seconds since 1970 fit 32 bits until 2106");
    let values = sealed_values(num32, epoch, exp32);
    let mac = keys.pairing_macs(&values).next().expect("a key ring has a current key");
    // The low 16 bits of the epoch, on purpose.
    let code = Code { num, epoch_low: epoch as u16, exp: exp32, mac: first_90_bits(&mac) };
    code.to_string()
}

/// A cart's code as its screen gets it, in all three spellings.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Bare.
    pub code: String,
    /// As a JWT, which screens in the field draw.
    pub token: String,
    /// As a link, which any phone's camera opens.
    pub link: String,
    /// When it expires, to the second.
    pub expires_at: Timestamp,
}

/// A new code of `cart`, good for `ttl`. Whether the cart may show one is the caller's question.
pub fn issue(keys: &KeyRing, origin: &str, cart: &Cart, now: Timestamp, ttl: Duration) -> Issued {
    let expires_at = Timestamp::from_unix((now + ttl).unix());
    let code = seal(keys, cart.num, cart.pairing_epoch, expires_at);
    let claims = QrToken { cartid: cart.id.clone(), jti: code.clone() };
    Issued { token: keys.sign(claims, now, expires_at), link: link(origin, &code), code, expires_at }
}

/// The link a picture shows: the code stands in the fragment, which no server, proxy or referrer sees.
pub fn link(origin: &str, code: &str) -> String {
    format!("{origin}/s#{code}")
}

/// Recognises a bare code, a link of any host with a code in its fragment, or a JWT.
pub fn spelled(text: &str) -> Result<Spelling<'_>, Malformed> {
    let text = text.trim();
    if let Some(code) = fragment(text) {
        return Code::parse(code).map(Spelling::Bare);
    }
    let looks_like_a_jwt = text.starts_with("ey") && text.bytes().filter(|byte| *byte == b'.').count() == 2;
    if looks_like_a_jwt { Ok(Spelling::Jwt(text)) } else { Code::parse(text).map(Spelling::Bare) }
}

/// The fragment of `https://host/s#…`.
fn fragment(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
        return None;
    }
    let (location, fragment) = rest.split_once('#')?;
    let (_, path) = location.split_once('/')?;
    path.eq_ignore_ascii_case("s").then_some(fragment)
}

/// Opens a code in any spelling. What only the cart's row can tell (is it genuine, does its epoch
/// stand) and what only the clock can (has it expired) is left to the caller.
pub fn open(keys: &KeyRing, text: &str) -> Result<Code, Refusal> {
    match spelled(text).map_err(|Malformed| Refusal::Malformed)? {
        Spelling::Bare(code) => Ok(code),
        Spelling::Jwt(jwt) => {
            let opened = keys.open_ignoring_expiry::<QrToken>(jwt).map_err(|_| Refusal::Forged)?;
            Code::parse(&opened.claims.jti).map_err(|Malformed| Refusal::Forged)
        }
    }
}

impl Code {
    /// Reads a bare code, in either case, with spaces or hyphens around it.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '-').as_bytes();
        if text.len() != LENGTH {
            return Err(Malformed);
        }
        let mut bytes = [0; BYTES];
        for (index, digit) in text.iter().enumerate() {
            put_five_bits(&mut bytes, index * 5, digit_value(*digit).ok_or(Malformed)?);
        }
        Ok(Self::from_bytes(&bytes))
    }

    /// The epoch it was sealed in: the newest one, up to the cart's `current`, that its 16 bits fit.
    pub fn full_epoch(&self, current: i64) -> i64 {
        // How far back, counted within 16 bits.
        let back = (current as u16).wrapping_sub(self.epoch_low);
        current - i64::from(back)
    }

    /// Whether a key of the ring sealed it for its cart in this epoch. Takes the same time whatever
    /// the answer.
    pub fn genuine(&self, keys: &KeyRing, epoch: i64) -> bool {
        let Ok(num) = u32::try_from(self.num.0) else {
            return false;
        };
        let values = sealed_values(num, epoch, self.exp);
        let fits = keys
            .pairing_macs(&values)
            .fold(subtle::Choice::from(0), |fits, mac| fits | first_90_bits(&mac).ct_eq(&self.mac));
        fits.into()
    }

    /// When it expires.
    pub fn expires_at(&self) -> Timestamp {
        Timestamp::from_unix(self.exp.into())
    }

    fn to_bytes(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        // Read from 32 bits, or checked against them when sealed.
        bytes[..4].copy_from_slice(&(self.num.0 as u32).to_be_bytes());
        bytes[4..6].copy_from_slice(&self.epoch_low.to_be_bytes());
        bytes[6..10].copy_from_slice(&self.exp.to_be_bytes());
        bytes[10..].copy_from_slice(&self.mac);
        bytes
    }

    fn from_bytes(bytes: &[u8; BYTES]) -> Self {
        let [n0, n1, n2, n3, p0, p1, e0, e1, e2, e3, mac @ ..] = *bytes;
        Self {
            num: CartNum(u32::from_be_bytes([n0, n1, n2, n3]).into()),
            epoch_low: u16::from_be_bytes([p0, p1]),
            exp: u32::from_be_bytes([e0, e1, e2, e3]),
            mac,
        }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = self.to_bytes();
        let text: String = (0..LENGTH).map(|index| digit(five_bits(&bytes, index * 5))).collect();
        f.write_str(&text)
    }
}

/// 170 bits, and six that stay zero.
const BYTES: usize = 22;

fn sealed_values(num: u32, epoch: i64, exp: u32) -> Vec<u8> {
    [DOMAIN, &num.to_be_bytes(), &epoch.to_be_bytes(), &exp.to_be_bytes()].concat()
}

fn first_90_bits(mac: &[u8; 32]) -> [u8; 12] {
    let mut first = [0; 12];
    first.copy_from_slice(&mac[..12]);
    first[11] &= 0b1100_0000;
    first
}

/// Five bits from bit `at`, counted from the most significant one of the first byte.
fn five_bits(bytes: &[u8; BYTES], at: usize) -> u8 {
    let next = bytes.get(at / 8 + 1).copied().unwrap_or(0);
    let window = u16::from_be_bytes([bytes[at / 8], next]);
    ((window >> (11 - at % 8)) & 31) as u8
}

fn put_five_bits(bytes: &mut [u8; BYTES], at: usize, value: u8) {
    let [first, second] = (u16::from(value) << (11 - at % 8)).to_be_bytes();
    bytes[at / 8] |= first;
    if let Some(next) = bytes.get_mut(at / 8 + 1) {
        *next |= second;
    }
}

#[cfg(test)]
mod tests;

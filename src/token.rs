//! The kinds of JWT and the key ring: the only user of `jsonwebtoken`.
//!
//! Each kind is signed with its own key, derived from the master secret (HKDF-SHA-256, RFC 5869),
//! and carries its kind in `typ` (RFC 8725 §3.11): a token of one kind never verifies as another.
//! `exp` is compared with the [`Clock`](crate::clock::Clock)'s time, which the library cannot know.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::ids::{AccountId, CartId, SessionId, SignInId};

/// Who signs, in `iss`; and whom every token is for, in `aud`.
const ISSUER: &str = "cartlink";

/// A kind of JWT: its `typ` and its claims.
pub trait Kind: Serialize + DeserializeOwned {
    /// `typ` in the header, and the HKDF label of its key.
    const TYP: &'static str;
    /// Index of its key in a [`Generation`].
    const KEY: usize;
}

/// Signs a person in: customer or staff. Its sign-in is checked at each request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Access {
    /// The account.
    pub sub: AccountId,
    /// The sign-in that must still stand.
    pub sid: SignInId,
}

/// Signs a service in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServiceAccess {
    /// Its `client_id`.
    pub sub: String,
}

/// A pairing code as a JWT, as screens in the field draw it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QrToken {
    /// The cart.
    pub cartid: CartId,
    /// The pairing code itself.
    pub jti: String,
}

/// What the cart's screen holds during one session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CartSessionToken {
    /// The session.
    pub sub: SessionId,
    /// The cart.
    pub cart: CartId,
}

/// A stream ticket: opens one stream, and lives no longer than what bought it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ticket {
    /// Which stream: `cart:7`, `session:1`, `floor:2` or `floor:all`.
    pub sub: String,
    /// Who bought it.
    pub buyer: Buyer,
    /// When the buyer's own credential expires, seconds since 1970.
    pub until: i64,
}

/// Who bought a stream ticket.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Buyer {
    /// A customer or staff member, by sign-in.
    Person(Access),
    /// A cart, by the hash of its device key.
    Cart(String),
    /// A service.
    Service(String),
    /// A cart session.
    CartSession(CartSessionToken),
}

macro_rules! kinds {
    ($($claims:ident $typ:literal $key:literal),* $(,)?) => {
        $(impl Kind for $claims {
            const TYP: &'static str = $typ;
            const KEY: usize = $key;
        })*
        const LABELS: &[&str] = &[$(concat!($typ, "#", $key)),*];
    };
}

// A service's access token is an `at+jwt` too (RFC 9068), under a key of its own.
kinds! {
    Access "at+jwt" 0,
    ServiceAccess "at+jwt" 1,
    QrToken "qr+jwt" 2,
    CartSessionToken "cart-session+jwt" 3,
    Ticket "sse+jwt" 4,
}

/// The claims every token has beside its own.
#[derive(Serialize, Deserialize)]
struct Envelope<C> {
    iss: String,
    aud: String,
    exp: i64,
    iat: i64,
    #[serde(flatten)]
    claims: C,
}

/// Why a token opened nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not a token of this kind signed by a key of the ring.
    #[error("the token is not valid")]
    Invalid,
    /// It was valid, once.
    #[error("the token has expired")]
    Expired,
}

/// A token that verified.
#[derive(Debug)]
pub struct Opened<C> {
    /// Its own claims.
    pub claims: C,
    /// When it expires.
    pub exp: Timestamp,
}

/// The keys derived from one master secret.
struct Generation {
    id: String,
    jwt: Vec<(EncodingKey, DecodingKey)>,
    pairing: [u8; 32],
    fingerprint: [u8; 32],
    subscribers: [u8; 32],
    subjects: [u8; 32],
    webhooks: [u8; 32],
    devices: [u8; 32],
}

impl Generation {
    fn derive(secret: &[u8]) -> Self {
        let hkdf = Hkdf::<Sha256>::new(Some(b"cartlink/1"), secret);
        let key = |label: &str| {
            let mut out = [0; 32];
            hkdf.expand(label.as_bytes(), &mut out).expect("32 bytes are a valid HKDF length");
            out
        };
        let jwt = LABELS
            .iter()
            .map(|label| key(label))
            .map(|key| (EncodingKey::from_secret(&key), DecodingKey::from_secret(&key)))
            .collect();
        let fingerprint = key("fingerprint");
        Self {
            id: hex(&fingerprint[..4]),
            jwt,
            pairing: key("pairing-code"),
            fingerprint,
            subscribers: key("subscriber+jwt"),
            subjects: key("log-subject"),
            webhooks: key("webhook"),
            devices: key("device-key"),
        }
    }
}

/// All keys: the current generation signs; next and previous ones verify, so that a rotation goes
/// node by node and signs nobody out.
pub struct KeyRing {
    current: Generation,
    others: Vec<Generation>,
}

impl KeyRing {
    /// The ring of `current` and what else still (or already) verifies.
    pub fn new(current: &[u8], others: &[Vec<u8>]) -> Self {
        Self {
            current: Generation::derive(current),
            others: others.iter().map(|secret| Generation::derive(secret)).collect(),
        }
    }

    /// Identifies the current secret without giving it away; nodes of a cluster compare it.
    pub fn fingerprint(&self) -> String {
        hex(&self.current.fingerprint)
    }

    /// The fingerprints of the ring's other secrets.
    pub fn other_fingerprints(&self) -> Vec<String> {
        self.others.iter().map(|generation| hex(&generation.fingerprint)).collect()
    }

    /// Signs subscribers' tokens where no control secret is configured.
    pub fn subscriber_secret(&self) -> [u8; 32] {
        self.current.subscribers
    }

    /// Signs `claims` until `exp`.
    pub fn sign<C: Kind>(&self, claims: C, now: Timestamp, exp: Timestamp) -> String {
        let header =
            Header { typ: Some(C::TYP.into()), kid: Some(self.current.id.clone()), ..Header::new(Algorithm::HS256) };
        let envelope = Envelope { iss: ISSUER.into(), aud: ISSUER.into(), exp: exp.unix(), iat: now.unix(), claims };
        encode(&header, &envelope, &self.current.jwt[C::KEY].0).expect("claims are plain data and the key is symmetric")
    }

    /// Verifies `token` as of kind `C` at `now`.
    pub fn open<C: Kind>(&self, token: &str, now: Timestamp) -> Result<Opened<C>, Refused> {
        let opened = self.open_ignoring_expiry::<C>(token)?;
        if opened.exp <= now { Err(Refused::Expired) } else { Ok(opened) }
    }

    /// As [`open`](Self::open), for callers that judge the expiry themselves.
    pub fn open_ignoring_expiry<C: Kind>(&self, token: &str) -> Result<Opened<C>, Refused> {
        let header = decode_header(token).map_err(|_| Refused::Invalid)?;
        if header.typ.as_deref() != Some(C::TYP) {
            return Err(Refused::Invalid);
        }
        let generation = std::iter::once(&self.current)
            .chain(&self.others)
            .find(|generation| Some(generation.id.as_str()) == header.kid.as_deref())
            .ok_or(Refused::Invalid)?;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[ISSUER]);
        let data =
            decode::<Envelope<C>>(token, &generation.jwt[C::KEY].1, &validation).map_err(|_| Refused::Invalid)?;
        Ok(Opened { claims: data.claims.claims, exp: Timestamp::from_unix(data.claims.exp) })
    }

    /// The MAC of a pairing code's full values, under the current key first, then the others'.
    pub fn pairing_macs<'a>(&'a self, values: &'a [u8]) -> impl Iterator<Item = [u8; 32]> + 'a {
        std::iter::once(&self.current).chain(&self.others).map(move |generation| mac(&generation.pairing, values))
    }

    /// The secrets a webhook's deliveries are signed with, the current one first: derived, so that none is stored.
    /// During a rotation there are several, and a receiver may go by any.
    pub fn webhook_secrets(&self, id: &str) -> Vec<[u8; 32]> {
        let generations = std::iter::once(&self.current).chain(&self.others);
        generations.map(|generation| mac(&generation.webhooks, id.as_bytes())).collect()
    }

    /// Device keys for an enrolment that may be asked for again, the current generation's first: derived from what only
    /// the screen says, so that the same one can be given twice without being stored.
    pub fn device_keys(&self, prefix: &str, said: &str) -> Vec<String> {
        let generations = std::iter::once(&self.current).chain(&self.others);
        generations.map(|generation| text_of(prefix, &mac(&generation.devices, said.as_bytes()))).collect()
    }

    /// Stands for a customer in a log line: the same within this installation, nothing outside it.
    pub fn subject(&self, account: AccountId) -> String {
        hex(&mac(&self.current.subjects, &account.0.to_be_bytes())[..6])
    }
}

/// What a subscriber JWT says (contract §7). Made by other back ends too, with the control secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Subscriber {
    /// Whose events.
    #[serde(rename = "userId")]
    pub user_id: String,
    /// On which channel.
    pub channel: String,
    /// Until when, seconds since 1970.
    pub exp: i64,
}

/// Signs a subscriber JWT, `{"alg":"HS256","typ":"JWT"}`, with the control secret.
pub fn sign_subscriber(secret: &[u8], subscriber: &Subscriber) -> String {
    encode(&Header::default(), subscriber, &EncodingKey::from_secret(secret))
        .expect("claims are plain data and the key is symmetric")
}

/// Verifies a subscriber JWT at `now`. The caller checks what its `userId` may be.
pub fn open_subscriber(secret: &[u8], token: &str, now: Timestamp) -> Result<Subscriber, Refused> {
    let header = decode_header(token).map_err(|_| Refused::Invalid)?;
    // Back ends in the field write `JWT`; one of our own kinds has no business here.
    if header.typ.as_deref().is_some_and(|typ| !typ.eq_ignore_ascii_case("jwt")) {
        return Err(Refused::Invalid);
    }
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_exp = false;
    validation.validate_aud = false;
    let data =
        decode::<Subscriber>(token, &DecodingKey::from_secret(secret), &validation).map_err(|_| Refused::Invalid)?;
    if Timestamp::from_unix(data.claims.exp) <= now { Err(Refused::Expired) } else { Ok(data.claims) }
}

/// HMAC-SHA-256.
pub fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// SHA-256.
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// How an opaque secret (device key, refresh token, client secret) is stored: SHA-256, in hex.
/// They are 256 random bits, so nothing slower is needed.
pub fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

/// Bytes in lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// `N` bytes from the operating system.
pub fn random<const N: usize>() -> [u8; N] {
    use rand::TryRng;
    let mut bytes = [0; N];
    rand::rngs::SysRng.try_fill_bytes(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// 256 random bits as URL-safe text, behind a prefix that says what it is.
pub fn opaque(prefix: &str) -> String {
    text_of(prefix, &random())
}

fn text_of(prefix: &str, bits: &[u8; 32]) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bits))
}

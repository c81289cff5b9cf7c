//! Enrolling carts: a one-time code that staff read out, and the device key it is exchanged for.
//!
//! A code is a selector, which finds its row, and a secret, which is stored as a hash: whoever guesses
//! burns the selector he hit, and nobody else's.

use std::fmt;
use std::time::Duration;

use subtle::ConstantTimeEq;

use super::service::{ABSENT, audited, install_key, lock_for, named, tell};
use super::{Cart, Lifecycle, store};
use crate::admin::audit;
use crate::app::App;
use crate::broadcast::streams::Owner;
use crate::clock::Timestamp;
use crate::db::Txn;
use crate::failure::{Failure, Result};
use crate::idempotency::{self, Answer, Key};
use crate::ids::{CartId, CartNum};
use crate::principal::{DEVICE_KEY, Staff};
use crate::{qr, token};

/// How long a code is good.
pub const VALID: Duration = Duration::from_secs(10 * 60);

/// Wrong secrets until a code is burned.
const TRIES: i64 = 5;

/// Characters of a group. Three groups: 25 bits that select and 50 that are secret.
const GROUP: usize = 5;

/// A one-time code, written `K7M2X-9QRT4-BV3ZN`.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolmentCode {
    /// Which code it claims to be.
    pub selector: String,
    /// What proves it.
    secret: String,
}

impl EnrolmentCode {
    fn random() -> Self {
        let digits: String = token::random::<{ 3 * GROUP }>().into_iter().map(qr::digit).collect();
        Self::from_digits(&digits)
    }

    fn from_digits(digits: &str) -> Self {
        let (selector, secret) = digits.split_at(GROUP);
        Self { selector: selector.into(), secret: secret.into() }
    }

    /// Reads a code as people type it: in either case, with hyphens and spaces anywhere.
    pub fn parse(text: &str) -> Option<Self> {
        let written = text.bytes().filter(|byte| !matches!(byte, b'-' | b' '));
        let digits: String = written.map(|byte| qr::digit_value(byte).map(qr::digit)).collect::<Option<_>>()?;
        (digits.len() == 3 * GROUP).then(|| Self::from_digits(&digits))
    }
}

impl fmt::Display for EnrolmentCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (middle, last) = self.secret.split_at(GROUP);
        write!(f, "{}-{middle}-{last}", self.selector)
    }
}

/// Gives out a code for the cart. An earlier one that was not used is void.
pub async fn issue(app: &App, staff: Staff, id: CartId) -> Result<(EnrolmentCode, Timestamp)> {
    let now = app.clock.now();
    app.db
        .write(async move |txn: &Txn<'_>| {
            let cart = lock_for(txn, &staff, &id).await?;
            if cart.lifecycle == Lifecycle::Retired {
                return Err(Failure::Conflict {
                    code: "cart-retired",
                    detail: "The cart is retired; make a new one".into(),
                });
            }
            store::drop_enrolments(&**txn, cart.num, now).await?;
            let expires_at = now + VALID;
            let code = loop {
                let code = EnrolmentCode::random();
                let secret = token::hash(&code.secret);
                if store::insert_enrolment(&**txn, &code.selector, &secret, cart.num, expires_at).await? {
                    break code;
                }
            };
            audited(txn, &staff, "cart.enrolment-issued", &cart, "", now).await?;
            Ok((code, expires_at))
        })
        .await
}

/// What a screen gets for its code.
pub struct Enrolled {
    /// Its cart.
    pub cart: Cart,
    /// Its key, told this once.
    pub device_key: String,
    /// Whether it was told before, to the same request.
    pub replayed: bool,
}

/// The one answer to all codes that do not fit, so that nothing is learnt.
const NO_SUCH_CODE: Failure =
    Failure::BadCredential("the enrolment code is wrong, used or too old; ask staff for a new one");

/// Exchanges a code for a device key. The cart's earlier key is void, its streams end, and it is in
/// service.
///
/// Under `key`, the same request is answered alike for as long as the cart has the device key that the first one got. No
/// answer is kept that holds it: it is derived from the code and `key`, which the screen alone knows both of.
pub async fn enrol(app: &App, code: EnrolmentCode, key: Option<Key>) -> Result<Enrolled> {
    let now = app.clock.now();
    let derived = key.as_ref().map(|key| app.keys.device_keys(DEVICE_KEY, &format!("{code} {}", key.text())));
    let enrolled = app
        .db
        .write(async move |txn: &Txn<'_>| {
            if let (Some(key), Some(derived)) = (&key, &derived)
                && idempotency::service::take(txn, key, now).await?.is_some()
            {
                return again(txn, derived).await;
            }
            let Some(cart) = redeem(txn, &code, now).await? else {
                // A refusal must stand: the wrong try has been counted.
                if let Some(key) = &key {
                    idempotency::service::keep(txn, key, None).await?;
                }
                return Ok(None);
            };
            let device_key = derived.and_then(|derived| derived.into_iter().next());
            let device_key = device_key.unwrap_or_else(|| token::opaque(DEVICE_KEY));
            let device_key = install_key(txn, &cart, device_key, now).await?;
            let cart = tell(txn, &cart, now).await?;
            // Nobody signed in did this: whoever held the code did, at the cart.
            audit::append(txn, &named(&cart), "cart.enrolled", &named(&cart), Some(cart.store), "", now).await?;
            if let Some(key) = &key {
                idempotency::service::keep(txn, key, Some(&Answer::created(&cart.id))).await?;
            }
            Ok::<_, Failure>(Some(Enrolled { cart, device_key, replayed: false }))
        })
        .await?
        .ok_or(NO_SUCH_CODE)?;
    if enrolled.replayed {
        return Ok(enrolled);
    }
    app.streams.close_but(&Owner::Cart(enrolled.cart.num), Some(&token::hash(&enrolled.device_key)));
    tracing::info!(cart = %enrolled.cart.id, "cart enrolled");
    Ok(enrolled)
}

/// What the first request got, unless the cart has been revoked or enrolled anew since.
async fn again(txn: &Txn<'_>, derived: &[String]) -> Result<Option<Enrolled>> {
    for device_key in derived {
        if let Some(cart) = store::by_key(&**txn, &token::hash(device_key)).await? {
            return Ok(Some(Enrolled { cart, device_key: device_key.clone(), replayed: true }));
        }
    }
    Ok(None)
}

/// The cart, locked, if the code opens it.
async fn redeem(txn: &Txn<'_>, code: &EnrolmentCode, now: Timestamp) -> Result<Option<Cart>> {
    let Some(hint) = store::enrolment(&**txn, &code.selector).await? else {
        return Ok(None);
    };
    let Some(cart) = store::lock(&**txn, CartNum(hint.cart_num)).await? else {
        return Ok(None);
    };
    // Again, under the lock: somebody else may have used it, or a try more.
    let Some(found) = store::enrolment(&**txn, &code.selector).await? else {
        return Ok(None);
    };
    if found.expires_at <= now.0 || found.tries >= TRIES || found.cart_num != hint.cart_num {
        return Ok(None);
    }
    let fits = token::hash(&code.secret).as_bytes().ct_eq(found.secret_hash.as_bytes());
    if !bool::from(fits) {
        store::count_try(&**txn, &code.selector).await?;
        return Ok(None);
    }
    Ok(Some(cart))
}

/// Voids the cart's key: it is lost or stolen, and waits for a new enrolment. A customer's open
/// session stays theirs, to be ended on the phone or by staff.
pub async fn revoke(app: &App, staff: Staff, id: CartId) -> Result<Cart> {
    let now = app.clock.now();
    let revoked = app
        .db
        .write(async move |txn: &Txn<'_>| {
            let cart = lock_for(txn, &staff, &id).await?;
            if cart.lifecycle == Lifecycle::Retired {
                return Err(ABSENT);
            }
            store::set_key(&**txn, cart.num, None).await?;
            store::bump_epoch(&**txn, cart.num, now).await?;
            store::drop_enrolments(&**txn, cart.num, now).await?;
            store::save(&**txn, &Cart { lifecycle: Lifecycle::Pending, updated_at: now, ..cart.clone() }).await?;
            let told = tell(txn, &cart, now).await?;
            audited(txn, &staff, "cart.revoked", &cart, "", now).await?;
            Ok::<_, Failure>(told)
        })
        .await?;
    app.streams.close(&Owner::Cart(revoked.num));
    Ok(revoked)
}

#[cfg(test)]
mod tests {
    use super::EnrolmentCode;

    #[test]
    fn a_code_reads_back_however_people_type_it() {
        let code = EnrolmentCode::random();
        let text = code.to_string();
        assert_eq!(text.len(), 17);
        let confused = text.replace('1', "l").replace('0', "O");
        for typed in [text.to_lowercase(), text.replace('-', ""), text.replace('-', " "), confused] {
            assert!(EnrolmentCode::parse(&typed).is_some_and(|read| read == code), "{typed}");
        }
        for odd in ["", "ABCDE", "ABCDE-ABCDE-ABCDU", "ABCDE-ABCDE-ABCDEF"] {
            assert!(EnrolmentCode::parse(odd).is_none(), "{odd}");
        }
    }
}

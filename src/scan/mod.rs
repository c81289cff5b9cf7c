//! Scanning a cart's code: THE rule of who may bind which cart, as a function of what it is told.

pub mod http;
pub mod reuse;
pub mod service;

use std::time::Duration;

use crate::cart::CartStatus;
use crate::clock::Timestamp;
use crate::failure::QrRefusal;
use crate::ids::{AccountId, SessionId};

/// How long a phone that lost the answer may ask again with the same code.
pub const RETRY: Duration = Duration::from_secs(60);

/// What is known about a scan, read under the cart's lock.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Whether the code was sealed by us for the pairing epoch it names.
    pub genuine: bool,
    /// Whether that epoch is still the cart's.
    pub current: bool,
    /// When the code expires.
    pub expires_at: Timestamp,
    /// The session this very code has made already: whose, and when.
    pub earlier: Option<(AccountId, Timestamp)>,
    /// How the cart stands.
    pub cart: CartStatus,
    /// The customer's open session, wherever it is.
    pub open: Option<SessionId>,
}

/// What an admitted scan does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Binds the cart: a new session.
    Bind,
    /// Asks again for what it has made already.
    Again,
}

/// Why a scan is refused. No refusal consumes the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The code opens nothing.
    Code(QrRefusal),
    /// The cart cannot be taken.
    Cart(CartStatus),
    /// The customer has a session already.
    Open(SessionId),
}

/// Judges a scan by `customer` at `now`, in the order the contract gives.
pub fn admit(customer: AccountId, facts: &Facts, now: Timestamp) -> Result<Admission, Refusal> {
    let code = |refusal| Err(Refusal::Code(refusal));
    if !facts.genuine {
        return code(QrRefusal::Forged);
    }
    if facts.earlier.is_some_and(|(whose, at)| whose == customer && now.since(at) <= RETRY) {
        return Ok(Admission::Again);
    }
    if facts.expires_at <= now {
        return code(QrRefusal::Expired);
    }
    if !facts.current {
        return code(QrRefusal::Used);
    }
    if facts.cart != CartStatus::Available {
        return Err(Refusal::Cart(facts.cart));
    }
    match facts.open {
        Some(open) => Err(Refusal::Open(open)),
        None => Ok(Admission::Bind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);
    const ME: AccountId = AccountId(1);

    fn good() -> Facts {
        Facts {
            genuine: true,
            current: true,
            expires_at: NOW + Duration::from_secs(1),
            earlier: None,
            cart: CartStatus::Available,
            open: None,
        }
    }

    #[test]
    fn a_fresh_genuine_code_of_a_free_cart_binds_a_free_customer() {
        assert_eq!(admit(ME, &good(), NOW), Ok(Admission::Bind));
    }

    #[test]
    fn refusals_come_in_the_contracts_order() {
        let all_wrong = Facts {
            genuine: false,
            current: false,
            expires_at: NOW,
            earlier: None,
            cart: CartStatus::InUse,
            open: Some(SessionId(9)),
        };
        let mut facts = all_wrong;
        let mut refused = |mend: fn(&mut Facts)| {
            let refusal = admit(ME, &facts, NOW);
            mend(&mut facts);
            refusal.unwrap_err()
        };
        assert_eq!(refused(|facts| facts.genuine = true), Refusal::Code(QrRefusal::Forged));
        assert_eq!(refused(|facts| facts.expires_at = NOW + Duration::from_secs(1)), Refusal::Code(QrRefusal::Expired));
        assert_eq!(refused(|facts| facts.current = true), Refusal::Code(QrRefusal::Used));
        assert_eq!(refused(|facts| facts.cart = CartStatus::Available), Refusal::Cart(CartStatus::InUse));
        assert_eq!(refused(|facts| facts.open = None), Refusal::Open(SessionId(9)));
        assert_eq!(admit(ME, &facts, NOW), Ok(Admission::Bind));
    }

    #[test]
    fn asking_again_works_for_a_minute_even_past_the_codes_expiry_and_for_nobody_else() {
        let used = Facts {
            current: false,
            expires_at: NOW,
            cart: CartStatus::InUse,
            earlier: Some((ME, NOW - RETRY)),
            ..good()
        };
        assert_eq!(admit(ME, &used, NOW), Ok(Admission::Again));
        assert_eq!(admit(ME, &used, NOW + Duration::from_millis(1)), Err(Refusal::Code(QrRefusal::Expired)));
        assert_eq!(admit(AccountId(2), &used, NOW), Err(Refusal::Code(QrRefusal::Expired)));
    }
}

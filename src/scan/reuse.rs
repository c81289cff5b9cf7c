//! Codes that several customers try: a code that was photographed, or is shown somewhere else.
//!
//! Each of them but one is refused anyway. The alarm is for staff: somebody may be relaying the code.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::ids::{AccountId, CartNum};

/// So many customers on one code are no coincidence in front of one cart.
const SUSPICIOUS: usize = 3;

/// Codes remembered: a minute's worth of a large store. Beyond it, the memory starts over.
const REMEMBERED: usize = 10_000;

/// A code, by its cart and pairing epoch.
type Used = (CartNum, u16);

/// Who tried which used code.
#[derive(Default)]
pub struct Reuse(Mutex<HashMap<Used, Vec<AccountId>>>);

impl Reuse {
    /// Notes that `customer` tried a code of this epoch, be it with success or not. Answers `true` once per code: when
    /// it becomes suspicious.
    pub fn tried(&self, cart: CartNum, epoch_low: u16, customer: AccountId) -> bool {
        let mut tried = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tried.len() >= REMEMBERED {
            tried.clear();
        }
        let customers = tried.entry((cart, epoch_low)).or_default();
        if customers.len() >= SUSPICIOUS || customers.contains(&customer) {
            return false;
        }
        customers.push(customer);
        customers.len() == SUSPICIOUS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_different_customers_on_one_code_raise_one_alarm() {
        let reuse = Reuse::default();
        let tried = |customer| reuse.tried(CartNum(7), 1, AccountId(customer));
        assert_eq!([1, 1, 2, 2, 3, 4].map(tried), [false, false, false, false, true, false]);
        assert!(!reuse.tried(CartNum(7), 2, AccountId(3)), "another code");
    }
}

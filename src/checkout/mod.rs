//! Checkout: what a receipt is, and when it adds up; and what may come of an attempt to pay.

pub mod http;
pub mod service;
pub mod store;

use serde::{Deserialize, Serialize};

use crate::failure::FieldError;
use crate::ids::SessionId;

/// Lines a receipt may have.
const MOST_ITEMS: usize = 500;

/// What was paid, in minor units of the currency (cents): integers, because money is counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// ISO 4217, three capital letters.
    pub currency: String,
    /// The sum of the items, in minor units.
    pub total: i64,
    /// What was bought.
    pub items: Vec<Item>,
}

/// One line of a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// What it says on the shelf.
    pub name: String,
    /// How many; 1 if not said.
    #[serde(default = "one")]
    pub quantity: i64,
    /// What this line costs in all, in minor units; a discount is negative.
    pub amount: i64,
}

fn one() -> i64 {
    1
}

impl Receipt {
    /// What does not add up.
    pub fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        let mut check = |wrong: bool, field: String, message: &str| {
            if wrong {
                problems.push(FieldError { field, message: message.to_owned() });
            }
        };
        let currency = self.currency.len() == 3 && self.currency.bytes().all(|b| b.is_ascii_uppercase());
        check(!currency, "currency".into(), "three capital letters, as in ISO 4217");
        check(self.total < 0, "total".into(), "not negative");
        check(self.items.len() > MOST_ITEMS, "items".into(), "500 lines at most");
        for (place, item) in self.items.iter().enumerate().take(MOST_ITEMS) {
            let named = (1..=200).contains(&item.name.chars().count()) && !item.name.contains('\0');
            check(!named, format!("items[{place}].name"), "1 to 200 characters");
            check(item.quantity < 1, format!("items[{place}].quantity"), "1 or more");
        }
        let sum = self.items.iter().try_fold(0_i64, |sum, item| sum.checked_add(item.amount));
        check(sum != Some(self.total), "total".into(), "the sum of the items' amounts, to the last minor unit");
        problems
    }
}

/// An attempt to pay.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Whose session.
    pub session: SessionId,
    /// What came of it, once the till has said so. An attempt that took too long is still open here: its money may be on
    /// the way.
    pub outcome: Option<Outcome>,
}

/// What came of an attempt to pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It completed the session.
    Completed,
    /// It did not work.
    Failed,
    /// It worked when the session was over already: this receipt's money is to be paid back.
    Refund(String),
}

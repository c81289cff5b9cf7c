//! The audit log: what staff did, and what concerns security. Rows are only ever added.
//!
//! Each row's hash covers the row and the hash before it, so a row that is changed, taken out or put
//! in later breaks the chain from there on, and [`verify`] finds the place. Rows name accounts by
//! id, never people.

pub mod http;
mod store;

use crate::clock::Timestamp;
use crate::ids::{AccountId, StoreId};
use crate::token;

pub use store::{append, forget_before, verify};

/// Who acts through `cartlink admin …`: somebody with the machine in their hands.
pub const COMMAND_LINE: &str = "command-line";

/// How staff are named in the log.
pub fn actor(account: AccountId) -> String {
    format!("account/{account}")
}

/// A row of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place: from 1, without a gap.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// Who: see [`actor`].
    pub actor: String,
    /// What they did, as in `staff.created`.
    pub action: String,
    /// To what, as in `cart/7`.
    pub target: String,
    /// Whose staff may read of it; only staff of all stores where `None`.
    pub store: Option<StoreId>,
    /// What there is to say about it.
    pub detail: String,
}

/// What stands for the row before the first one.
const BEGINNING: &str = "";

/// The hash of `entry` after a row with the hash `before`. JSON, because there no two rows read alike.
fn chained(before: &str, entry: &Entry) -> String {
    let Entry { seq, at, actor, action, target, store, detail } = entry;
    let row = serde_json::json!([before, seq, at.0, actor, action, target, store, detail]);
    token::hash(&row.to_string())
}

/// What a walk along the chain found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// So many rows, each as it was written.
    Whole(u64),
    /// From this row on, something was changed, taken out or put in.
    Broken(i64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_covers_every_field_and_the_row_before() {
        let entry = Entry {
            seq: 2,
            at: Timestamp(1),
            actor: actor(AccountId(3)),
            action: "cart.revoked".into(),
            target: "cart/7".into(),
            store: Some(StoreId(1)),
            detail: String::new(),
        };
        let others = [
            Entry { seq: 3, ..entry.clone() },
            Entry { at: Timestamp(2), ..entry.clone() },
            Entry { actor: actor(AccountId(4)), ..entry.clone() },
            Entry { action: "cart.changed".into(), ..entry.clone() },
            Entry { target: "cart/8".into(), ..entry.clone() },
            Entry { store: None, ..entry.clone() },
            Entry { detail: "x".into(), ..entry.clone() },
        ];
        let hash = chained("before", &entry);
        assert_eq!(hash, chained("before", &entry));
        assert_ne!(hash, chained("another", &entry));
        for other in others {
            assert_ne!(hash, chained("before", &other), "{other:?}");
        }
    }
}

//! Which store staff look at: their own, or whichever they choose where all are theirs.

use crate::failure::{Failure, Result};
use crate::ids::StoreId;
use crate::principal::Staff;

/// What nobody may tell from another's store.
const ABSENT: Failure = Failure::NotFound("Store");

/// The store that is looked at, all of them where `None`.
pub fn of(staff: &Staff, asked: Option<StoreId>) -> Result<Option<StoreId>> {
    match asked {
        Some(store) if !staff.covers(store) => Err(ABSENT),
        Some(store) => Ok(Some(store)),
        None => Ok(staff.store),
    }
}

/// The same, from the text of a query.
pub fn named(staff: &Staff, asked: Option<&str>) -> Result<Option<StoreId>> {
    let asked = asked.filter(|text| !text.is_empty()).map(|text| text.parse().map_err(|_| ABSENT)).transpose()?;
    of(staff, asked)
}

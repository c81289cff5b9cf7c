//! Rows of the floor: carts with the sessions they are in.

use std::collections::{BTreeSet, HashMap};

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, Value};

use super::{Facts, FloorCart, FloorSession, Occupancy};
use crate::admin::attention::{RELEASES, RELEASES_WITHIN, Releases};
use crate::cart::{Lifecycle, Link};
use crate::clock::Timestamp;
use crate::db;
use crate::event::display_name;
use crate::ids::{CartNum, SessionId, StoreId};
use crate::session::{Reason, Status};

/// A session that ended may still claim its cart for its goodbye: the cart is in use, by nobody.
const SELECT: &str = "SELECT c.num, c.id AS cart_id, c.store_id, c.label, c.lifecycle, c.battery, c.charging, c.seen_at, c.heartbeat_at, \
       k.session_id AS claim, s.id AS session_id, s.status, s.phase, s.created_at AS scanned_at, s.fetched_at, \
       s.updated_at AS changed_at, a.full_name \
     FROM carts c LEFT JOIN cart_claims k ON k.cart_num = c.num \
     LEFT JOIN sessions s ON s.id = k.session_id AND s.ended_at IS NULL LEFT JOIN accounts a ON a.id = s.customer_id";

#[derive(FromQueryResult)]
struct Row {
    num: i64,
    cart_id: String,
    store_id: i64,
    label: String,
    lifecycle: String,
    battery: Option<i64>,
    charging: Option<bool>,
    seen_at: Option<i64>,
    heartbeat_at: Option<i64>,
    claim: Option<i64>,
    session_id: Option<i64>,
    status: Option<String>,
    phase: Option<String>,
    scanned_at: Option<i64>,
    fetched_at: Option<i64>,
    changed_at: Option<i64>,
    full_name: Option<String>,
}

impl Row {
    fn facts(self, now: Timestamp) -> Result<Facts, DbErr> {
        let odd = || DbErr::Custom(format!("cart {} has an impossible row", self.num));
        let session = match (self.session_id, &self.status, self.scanned_at) {
            (Some(id), Some(status), Some(at)) => Some(FloorSession {
                session_id: SessionId(id),
                status: Status::parse(status).ok_or_else(odd)?,
                phase: self.phase.clone().ok_or_else(odd)?,
                initial: display_name(self.full_name.as_deref()),
                created_at: Timestamp(at),
                fetched_at: self.fetched_at.map(Timestamp),
            }),
            _ => None,
        };
        let seen_at = self.seen_at.map(Timestamp);
        let shown = FloorCart {
            cart_id: self.cart_id.parse().map_err(|_| odd())?,
            lifecycle: Lifecycle::parse(&self.lifecycle).ok_or_else(odd)?,
            store_id: StoreId(self.store_id),
            occupancy: if self.claim.is_some() { Occupancy::InUse } else { Occupancy::Free },
            link: Link::Offline,
            battery: self.battery,
            charging: self.charging.unwrap_or(false),
            label: self.label,
            session,
        };
        let mut facts = Facts {
            num: CartNum(self.num),
            seen_at,
            heartbeat_at: self.heartbeat_at.map(Timestamp),
            changed_at: self.changed_at.map(Timestamp),
            shown,
        };
        facts.shown.link = facts.link(now);
        Ok(facts)
    }
}

/// Which carts.
#[derive(Clone, Debug)]
pub enum Which<'w> {
    /// Those that are not retired, of one store or of all.
    Standing(Option<StoreId>),
    /// These.
    These(&'w BTreeSet<CartNum>),
    /// Those on which something changed then or later, by whichever node.
    ChangedSince(Timestamp),
}

/// Carts and their sessions, with the link as it is at `now`.
pub async fn carts(conn: &impl ConnectionTrait, which: Which<'_>, now: Timestamp) -> Result<Vec<Facts>, DbErr> {
    let (condition, values): (String, Vec<Value>) = match which {
        Which::Standing(None) => ("c.lifecycle <> 'retired'".into(), Vec::new()),
        Which::Standing(Some(store)) => ("c.lifecycle <> 'retired' AND c.store_id = $1".into(), vec![store.0.into()]),
        Which::These(nums) => {
            // Numbers of ours, so that they may stand in the statement.
            let nums: Vec<String> = nums.iter().map(CartNum::to_string).collect();
            (format!("c.num IN ({})", nums.join(", ")), Vec::new())
        }
        Which::ChangedSince(at) => {
            ("c.updated_at >= $1 OR c.seen_at >= $1 OR s.updated_at >= $1".into(), vec![at.0.into()])
        }
    };
    let rows: Vec<Row> = db::all(conn, &format!("{SELECT} WHERE {condition}"), values).await?;
    rows.into_iter().map(|row| row.facts(now)).collect()
}

/// Carts at which somebody said "not you?" again and again.
pub async fn releases(conn: &impl ConnectionTrait, now: Timestamp) -> Result<HashMap<CartNum, Releases>, DbErr> {
    #[derive(FromQueryResult)]
    struct Counted {
        cart_num: i64,
        releases: i64,
        since: i64,
    }
    let text = "SELECT cart_num, COUNT(*) AS releases, MIN(updated_at) AS since FROM sessions \
        WHERE reason = $1 AND created_at >= $2 GROUP BY cart_num HAVING COUNT(*) >= $3";
    let values = [Reason::ReleasedAtCart.as_str().into(), (now - RELEASES_WITHIN).0.into(), RELEASES.into()];
    let counted: Vec<Counted> = db::all(conn, text, values).await?;
    let releases =
        |row: Counted| (CartNum(row.cart_num), Releases { count: row.releases, since: Timestamp(row.since) });
    Ok(counted.into_iter().map(releases).collect())
}

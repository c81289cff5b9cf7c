//! Finding sessions' rows. Every page is a short walk along an index, however many sessions there are.

use sea_orm::{ConnectionTrait, DbBackend, DbErr, Value};

use super::{Filter, Place};
use crate::db;
use crate::ids::CartNum;
use crate::session::{self, Session};

/// With so few carts their own sessions are looked at; of more carts some session is always near.
const FEW: usize = 20;

/// Conditions and their values, in step.
#[derive(Default)]
struct Asked {
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Asked {
    /// Adds a condition whose `?` stands for `value`.
    fn that(&mut self, condition: &str, value: impl Into<Value>) {
        self.values.push(value.into());
        self.conditions.push(condition.replace('?', &format!("${}", self.values.len())));
    }
}

/// At most `limit` sessions, newest first, after `place`.
pub async fn page(
    conn: &impl ConnectionTrait,
    filter: &Filter,
    after: Option<Place>,
    limit: u32,
) -> Result<Vec<Session>, DbErr> {
    let mut asked = asked(filter);
    if let Some(text) = &filter.text {
        asked.conditions.push(on_carts(conn, text).await?);
    }
    if let Some(place) = after {
        asked.that("s.created_at <= ?", place.at.0);
        let at = asked.values.len();
        asked.that(&format!("(s.created_at < ${at} OR s.id < ?)"), place.id.0);
    }
    let conditions = if asked.conditions.is_empty() { "TRUE".to_owned() } else { asked.conditions.join(" AND ") };
    let condition = format!("WHERE {conditions} ORDER BY s.created_at DESC, s.id DESC LIMIT {limit}");
    session::store::matching(conn, &condition, asked.values).await
}

fn asked(filter: &Filter) -> Asked {
    let mut asked = Asked::default();
    if let Some(status) = filter.status {
        asked.that("s.status = ?", status.as_str());
        if !status.is_final() {
            // Few sessions are open, and each of them has a claim.
            asked.conditions.push("s.id IN (SELECT session_id FROM cart_claims)".into());
        }
    }
    if let Some(reason) = filter.reason {
        asked.that("s.reason = ?", reason.as_str());
    }
    if let Some(cart) = &filter.cart {
        asked.that("s.cart_num = (SELECT num FROM carts WHERE id = ?)", cart.as_str());
    }
    if let Some(store) = filter.store {
        asked.that("s.store_id = ?", store.0);
    }
    if let Some(customer) = filter.customer {
        asked.that("s.customer_id = ?", customer.0);
    }
    if let Some(from) = filter.from {
        asked.that("s.created_at >= ?", from.0);
    }
    if let Some(to) = filter.to {
        asked.that("s.created_at < ?", to.0);
    }
    asked
}

/// Which carts' sessions, where `text` is somewhere in the cart's name or label.
async fn on_carts(conn: &impl ConnectionTrait, text: &str) -> Result<String, DbErr> {
    // SQLite's LIKE takes no notice of case, PostgreSQL has another word for it.
    let like = if conn.get_database_backend() == DbBackend::Sqlite { "LIKE" } else { "ILIKE" };
    let text_of_carts = format!("SELECT num FROM carts WHERE id {like} $1 ESCAPE '!' OR label {like} $1 ESCAPE '!'");
    let rows = conn.query_all_raw(db::sql(conn, &text_of_carts, [containing(text).into()])).await?;
    let carts: Vec<CartNum> = rows.iter().map(|row| row.try_get("", "num").map(CartNum)).collect::<Result<_, _>>()?;
    // Numbers of ours, so that they may stand in the statement. The sum keeps the walk along time.
    let named = carts.iter().map(CartNum::to_string).collect::<Vec<_>>().join(", ");
    Ok(match carts.len() {
        0 => "FALSE".into(),
        1..=FEW => format!("s.cart_num IN ({named})"),
        _ => format!("s.cart_num + 0 IN ({named})"),
    })
}

/// A pattern for whatever contains `text`, taken literally.
fn containing(text: &str) -> String {
    let escaped = text.replace('!', "!!").replace('%', "!%").replace('_', "!_");
    format!("%{escaped}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_is_no_pattern() {
        assert_eq!(containing("50%_a!"), "%50!%!_a!!%");
    }
}

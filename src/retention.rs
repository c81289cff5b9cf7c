//! Forgetting: who a session was with after 30 days, and every table's rows once nobody needs them.
//!
//! In small transactions, so that nobody waits for it. The event log has its own span (`--keep-events`).

use std::sync::Arc;
use std::time::Duration;

use crate::admin::audit;
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::{self, Txn};
use crate::failure::Result;
use crate::idempotency;

/// How often it is looked what may be forgotten.
const EVERY: Duration = Duration::from_secs(600);

/// Rows per transaction.
const BATCH: i64 = 500;

const fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 3600)
}

/// How long the audit log is kept.
const AUDIT: Duration = days(365);

/// A kind of row, when it may go, and how: `$1` is the moment before which it may, `$2` how many at once.
struct Rule {
    what: &'static str,
    after: Duration,
    text: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        what: "receipts",
        after: days(30),
        text: "DELETE FROM receipts WHERE session_id IN (SELECT s.id FROM sessions s JOIN receipts r ON r.session_id = s.id \
            WHERE s.ended_at < $1 AND s.customer_id IS NOT NULL LIMIT $2)",
    },
    Rule {
        what: "checkouts",
        after: days(30),
        text: "DELETE FROM checkouts WHERE checkout_id IN (SELECT checkout_id FROM checkouts WHERE started_at < $1 LIMIT $2)",
    },
    // After what lies beside them: from here on nothing leads from a session to a person.
    Rule {
        what: "sessions' customers",
        after: days(30),
        text: "UPDATE sessions SET customer_id = NULL WHERE id IN \
            (SELECT id FROM sessions WHERE ended_at < $1 AND customer_id IS NOT NULL LIMIT $2)",
    },
    Rule {
        what: "idempotency keys",
        after: idempotency::KEPT,
        text: "DELETE FROM idempotency WHERE (principal, route, idempotency_key) IN \
            (SELECT principal, route, idempotency_key FROM idempotency WHERE created_at < $1 LIMIT $2)",
    },
    Rule {
        what: "webhook messages",
        after: days(30),
        text: "DELETE FROM webhook_deliveries WHERE id IN \
            (SELECT id FROM webhook_deliveries WHERE created_at < $1 AND next_at IS NULL LIMIT $2)",
    },
    Rule {
        what: "enrolment codes",
        after: days(1),
        text: "DELETE FROM enrolments WHERE selector IN (SELECT selector FROM enrolments WHERE expires_at < $1 LIMIT $2)",
    },
    // A refresh token that comes a second time is a theft; one this old is no good either way.
    Rule {
        what: "refresh tokens",
        after: days(90),
        text: "DELETE FROM refresh_tokens WHERE hash IN (SELECT r.hash FROM sign_ins s JOIN refresh_tokens r ON r.sign_in_id = s.id \
            WHERE s.expires_at < $1 LIMIT $2)",
    },
    Rule {
        what: "sign-ins",
        after: days(90),
        text: "DELETE FROM sign_ins WHERE id IN (SELECT s.id FROM sign_ins s WHERE s.expires_at < $1 \
            AND NOT EXISTS (SELECT 1 FROM refresh_tokens r WHERE r.sign_in_id = s.id) LIMIT $2)",
    },
    // A guest who cannot come back, and of whom no session tells any more.
    Rule {
        what: "guests",
        after: days(90),
        text: "DELETE FROM accounts WHERE id IN (SELECT a.id FROM accounts a WHERE a.email IS NULL AND a.created_at < $1 \
            AND NOT EXISTS (SELECT 1 FROM sign_ins s WHERE s.account_id = a.id) \
            AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.customer_id = a.id) LIMIT $2)",
    },
];

/// Forgets for as long as the server runs; looks at once when a test moves the clock.
pub async fn run(app: Arc<App>) {
    loop {
        let moved = app.clock.moved();
        if let Err(error) = forget(&app).await {
            tracing::warn!(error = error.code(), "not everything that should be was forgotten");
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = moved => {}
        }
    }
}

/// Forgets what is old enough now.
pub async fn forget(app: &App) -> Result<()> {
    let now = app.clock.now();
    for rule in RULES {
        let mut forgotten = 0;
        loop {
            let before = now - rule.after;
            let rows = app.db.write(async move |txn: &Txn<'_>| batch(txn, rule, before).await).await?;
            forgotten += rows;
            if rows < BATCH.unsigned_abs() {
                break;
            }
        }
        if forgotten > 0 {
            tracing::info!(what = rule.what, rows = forgotten, "forgotten");
        }
    }
    while app
        .db
        .write(async move |txn: &Txn<'_>| -> Result<bool> { Ok(audit::forget_before(txn, now - AUDIT).await?) })
        .await?
    {}
    Ok(())
}

async fn batch(txn: &Txn<'_>, rule: &Rule, before: Timestamp) -> Result<u64> {
    Ok(db::execute(&**txn, rule.text, [before.0.into(), BATCH.into()]).await?.rows_affected())
}

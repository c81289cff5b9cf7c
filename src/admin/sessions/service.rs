//! Ending a session as staff: the customer loses the cart at once, and the audit log says who did it and why.

use crate::admin::audit;
use crate::app::App;
use crate::db::Txn;
use crate::failure::Result;
use crate::idempotency::service::once;
use crate::idempotency::{Answer, Key};
use crate::ids::SessionId;
use crate::principal::Staff;
use crate::session::service::{ABSENT, transition};
use crate::session::{Reason, Session, Step, store};

/// Ends the session for `why`. Once more is no error, and no second row in the audit log.
pub async fn end(
    app: &App,
    staff: Staff,
    id: SessionId,
    why: String,
    key: Option<Key>,
    told: fn(Session) -> Answer,
) -> Result<Answer> {
    let now = app.clock.now();
    let written = once(app, key, async move |txn: &Txn<'_>| {
        let session = store::lock(&**txn, id).await?;
        let session = session.filter(|session| staff.covers(session.store)).ok_or(ABSENT)?;
        let before = session.version;
        let ended = transition(txn, session, &Step::End(Reason::ForceEnded), None, now).await?;
        if ended.version != before {
            let (actor, target) = (audit::actor(staff.account), format!("session/{id}"));
            audit::append(txn, &actor, "session.force_ended", &target, Some(ended.store), &why, now).await?;
        }
        Ok(told(ended))
    });
    written.await
}

//! `POST /customer-session/{id}/checkout` by the customer or the cart, `…/complete` and `…/fail` by the till.

use actix_web::web::{Data, Path};
use serde::Deserialize;

use super::Receipt;
use super::service::{self, Answered};
use crate::app::App;
use crate::auth::{Caller, Principal, ServiceAuth};
use crate::db::Txn;
use crate::error::{Failure, Result};
use crate::idempotency::Answer;
use crate::idempotency::http::Posted;
use crate::idempotency::service::once;
use crate::session::http::{SessionView, number, shown};

/// The receipt in a request's body; none in an empty one, or in the `{}` and `null` that clients in the
/// field send.
pub fn receipt_in(body: &[u8]) -> Result<Option<Receipt>> {
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let value: serde_json::Value =
        serde_json::from_slice(body).map_err(|error| Failure::Malformed(format!("The body is not JSON: {error}")))?;
    let carries = value
        .as_object()
        .is_some_and(|fields| ["currency", "total", "items"].iter().any(|key| fields.contains_key(*key)));
    if !carries {
        return Ok(None);
    }
    let receipt: Receipt = serde_json::from_value(value).map_err(|error| Failure::field("body", error.to_string()))?;
    checked(&receipt, "")?;
    Ok(Some(receipt))
}

/// Every line of it adds up, or each problem is told.
fn checked(receipt: &Receipt, within: &str) -> Result<()> {
    let mut problems = receipt.problems();
    for problem in &mut problems {
        problem.field.insert_str(0, within);
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::Invalid(problems)) }
}

/// As it is kept, and as two of them are compared.
fn written(receipt: &Receipt) -> String {
    serde_json::to_string(receipt).expect("a receipt is plain data")
}

/// The customer, or the cart for them, wants to pay.
#[utoipa::path(post, path = "/customer-session/{id}/checkout", tag = "checkout", params(("id" = i64, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = Option<Receipt>, responses((status = 200, body = SessionView)))]
pub async fn start(app: Data<App>, caller: Caller, id: Path<String>, posted: Posted) -> Result<Answer> {
    let receipt = receipt_in(posted.body())?.as_ref().map(written);
    let (id, key, principal, now) = (number(&id)?, posted.key(&caller.0), caller.0, app.clock.now());
    let started = once(&app, key, async move |txn: &Txn<'_>| {
        let session = service::start(txn, &principal, id, receipt, now).await?;
        Ok(Answer::ok(&shown(&**txn, &session, &principal).await?, session.customer))
    });
    started.await
}

/// What the till was paid.
#[derive(Deserialize, utoipa::ToSchema)]
pub struct Completed {
    /// As `checkout-started` told it.
    checkout_id: String,
    receipt: Receipt,
}

/// The till was paid. 409 `refund-required`: the session was over; the receipt is kept, pay the customer back.
#[utoipa::path(post, path = "/customer-session/{id}/checkout/complete", tag = "checkout", params(("id" = i64, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = Completed,
    responses((status = 200, body = SessionView), (status = 409, description = "refund-required, checkout-settled, no-such-checkout"), (status = 422)))]
pub async fn complete(app: Data<App>, till: ServiceAuth, id: Path<String>, posted: Posted) -> Result<Answer> {
    let Completed { checkout_id, receipt } = posted.json()?;
    checked(&receipt, "receipt.")?;
    let (id, now, principal) = (number(&id)?, app.clock.now(), Principal::Service(till.0.clone()));
    // Made here, because only here the request has its id.
    let refund = Answer::refusal(&service::refund_required());
    let completed = once(&app, posted.key(&principal), async move |txn: &Txn<'_>| {
        match service::complete(txn, &till.0, id, &checkout_id, written(&receipt), now).await? {
            Answered::Session(session) => Ok(Answer::ok(&shown(&**txn, &session, &principal).await?, session.customer)),
            Answered::Refund => Ok(refund),
        }
    });
    completed.await
}

/// What did not work.
#[derive(Deserialize, utoipa::ToSchema)]
pub struct Failed {
    /// As `checkout-started` told it.
    checkout_id: String,
}

/// The payment did not work: shopping goes on.
#[utoipa::path(post, path = "/customer-session/{id}/checkout/fail", tag = "checkout", params(("id" = i64, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = Failed,
    responses((status = 200, body = SessionView), (status = 409, description = "checkout-settled, no-such-checkout")))]
pub async fn fail(app: Data<App>, till: ServiceAuth, id: Path<String>, posted: Posted) -> Result<Answer> {
    let Failed { checkout_id } = posted.json()?;
    let (id, now, principal) = (number(&id)?, app.clock.now(), Principal::Service(till.0.clone()));
    let failed = once(&app, posted.key(&principal), async move |txn: &Txn<'_>| {
        let session = service::fail(txn, &till.0, id, &checkout_id, now).await?;
        Ok(Answer::ok(&SessionView::from(&session), session.customer))
    });
    failed.await
}

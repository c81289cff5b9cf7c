//! `POST /customer-session/scan-qr`: a phone redeems a cart's code.

use actix_web::web::Data;
use serde::{Deserialize, Serialize};

use super::service;
use crate::app::App;
use crate::auth::{CustomerAuth, Principal};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::idempotency::Answer;
use crate::idempotency::http::Posted;
use crate::ids::{AccountId, CartId, SessionId};
use crate::session::Session;

/// What a phone has scanned.
#[derive(Deserialize, utoipa::ToSchema)]
pub struct Scan {
    /// The pairing code, in any of its spellings: the bare code, the QR JWT, or the picture's URL.
    token: String,
}

/// The session a scan has started.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ScanView {
    #[schema(value_type = i64)]
    session_id: SessionId,
    #[schema(value_type = i64)]
    user_id: Option<AccountId>,
    #[schema(value_type = String)]
    cart_id: CartId,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    is_active: bool,
    status: &'static str,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    cart_label: String,
    check_code: String,
}

impl From<Session> for ScanView {
    fn from(session: Session) -> Self {
        Self {
            session_id: session.id,
            user_id: session.customer,
            cart_id: session.cart_id,
            created_at: session.created_at,
            is_active: session.state.is_open(),
            status: session.state.status().as_str(),
            updated_at: session.updated_at,
            cart_label: session.cart_label,
            check_code: session.check_code,
        }
    }
}

/// Starts a session on the cart whose code was scanned.
#[utoipa::path(post, path = "/customer-session/scan-qr", tag = "sessions", request_body = Scan, params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = ScanView), (status = "4XX", description = "See `code`: qr-malformed, qr-invalid, qr-expired, qr-already-used, cart-unavailable, session-open")))]
pub async fn scan_qr(app: Data<App>, customer: CustomerAuth, posted: Posted) -> Result<Answer> {
    app.limits.scan(customer.0.account)?;
    let scan: Scan = posted.json()?;
    let principal = Principal::Customer(customer.0.clone());
    let told = |session: Session| {
        let about = session.customer;
        Answer::ok(&ScanView::from(session), about)
    };
    service::redeem(&app, &customer.0, &scan.token, posted.key(&principal), told).await
}

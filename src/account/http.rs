//! `/auth/…`: sign-up, sign-in, refresh, logout, and what is stored about oneself.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Data;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::service::{self, SignedIn};
use super::sign_ins::Entry;
use super::{Account, Email, FullName, Password, SignUp};
use crate::app::App;
use crate::auth::{Address, Anyone, Caller, CustomerAuth, Principal};
use crate::body::{Fields, FormOrJson, Json, text};
use crate::clock::Timestamp;
use crate::error::{Failure, Result};
use crate::ids::{AccountId, SignInId, StoreId};
use crate::session::http::SessionView;

/// An account, as clients in the field read it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct UserView {
    #[schema(value_type = i64)]
    id: AccountId,
    /// `null`: a guest.
    email: Option<String>,
    full_name: Option<String>,
    is_active: bool,
}

impl From<&Account> for UserView {
    fn from(account: &Account) -> Self {
        let profile = account.profile.as_ref();
        Self {
            id: account.id,
            email: profile.map(|profile| profile.email.as_str().to_owned()),
            full_name: profile.map(|profile| profile.full_name.as_str().to_owned()),
            is_active: account.is_active,
        }
    }
}

/// Who signs up.
#[derive(Deserialize, utoipa::ToSchema)]
pub struct SignUpBody {
    /// An e-mail address: the name at sign-in.
    #[serde(default, deserialize_with = "text")]
    #[schema(required)]
    email: Option<String>,
    /// 8 to 128 characters, none of the common ones.
    #[serde(default, deserialize_with = "text")]
    #[schema(required)]
    password: Option<String>,
    /// 1 to 100 characters.
    #[serde(default, deserialize_with = "text")]
    #[schema(required)]
    full_name: Option<String>,
}

impl SignUpBody {
    /// Reads the three fields, or tells of each that is wrong.
    pub fn parse(&self) -> Result<SignUp> {
        let mut fields = Fields::default();
        let email = fields.required("email", self.email.as_deref(), Email::parse);
        let password =
            fields.required("password", self.password.as_deref(), |text| Password::parse(text, email.as_ref()));
        let full_name = fields.required("full_name", self.full_name.as_deref(), FullName::parse);
        let read = email.zip(password).zip(full_name);
        fields.finish(read.map(|((email, password), full_name)| SignUp { email, password, full_name }))
    }
}

/// `POST /auth/signup`. A guest's bearer turns that guest into the account; what else clients in the
/// field may send along, an old token say, is no reason to refuse anybody an account.
#[utoipa::path(post, path = "/auth/signup", tag = "accounts", request_body = SignUpBody,
    responses((status = 200, body = UserView), (status = 409, description = "email-taken"), (status = 422)))]
pub async fn sign_up(
    app: Data<App>,
    address: Address,
    caller: Result<Anyone>,
    body: Json<SignUpBody>,
) -> Result<Json<UserView>> {
    let sign_up = body.parse()?;
    app.limits.address(address.0)?;
    let guest = match caller {
        Ok(Anyone(Some(Principal::Customer(customer)))) => Some(customer.account),
        _ => None,
    };
    let account = service::sign_up(&app, sign_up, guest).await?;
    Ok(Json((&account).into()))
}

/// E-mail and password.
#[derive(Deserialize, utoipa::ToSchema)]
pub struct SignInBody {
    /// The e-mail address.
    #[serde(default, deserialize_with = "text")]
    #[schema(required)]
    username: Option<String>,
    #[serde(default, deserialize_with = "text")]
    #[schema(required)]
    password: Option<String>,
}

/// A sign-in, and who it is.
#[derive(Serialize, utoipa::ToSchema)]
pub struct SignedInView {
    access_token: String,
    /// Good for one `POST /auth/refresh-token`.
    refresh_token: String,
    /// `bearer`.
    token_type: &'static str,
    /// Seconds until the access token expires.
    expires_in: u64,
    user: UserView,
}

/// Tokens are for whoever asked, and for no cache on the way.
fn tokens(signed_in: SignedIn) -> HttpResponse {
    let SignedIn { account, access_token, refresh_token, expires_in } = signed_in;
    let view = SignedInView { access_token, refresh_token, token_type: "bearer", expires_in, user: (&account).into() };
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(view)
}

/// `POST /auth/login`: customers and staff alike.
#[utoipa::path(post, path = "/auth/login", tag = "accounts",
    request_body(content((SignInBody = "application/x-www-form-urlencoded"), (SignInBody = "application/json"))),
    responses((status = 200, body = SignedInView), (status = 401, description = "wrong-password"), (status = 422), (status = 429)))]
pub async fn sign_in(app: Data<App>, address: Address, body: FormOrJson<SignInBody>) -> Result<HttpResponse> {
    let mut fields = Fields::default();
    let username = fields.required("username", body.0.username.as_deref(), |text| Ok(text.to_owned()));
    let password = fields.required("password", body.0.password.as_deref(), |text| Ok(text.to_owned()));
    let (username, password) = fields.finish(username.zip(password))?;
    service::sign_in(&app, &username, password, address.0).await.map(tokens)
}

/// `POST /auth/guest`: a customer who tells us nothing.
#[utoipa::path(post, path = "/auth/guest", tag = "accounts", responses((status = 200, body = SignedInView), (status = 429)))]
pub async fn guest(app: Data<App>, address: Address) -> Result<HttpResponse> {
    app.limits.address(address.0)?;
    service::guest(&app).await.map(tokens)
}

/// The refresh token of the latest sign-in or refresh.
#[derive(Deserialize, utoipa::ToSchema)]
pub struct RefreshBody {
    #[serde(default, deserialize_with = "text")]
    #[schema(required)]
    refresh_token: Option<String>,
}

/// `POST /auth/refresh-token`: the next pair. A refresh token that comes a second time ends its sign-in.
#[utoipa::path(post, path = "/auth/refresh-token", tag = "accounts", request_body = RefreshBody,
    responses((status = 200, body = SignedInView), (status = 401), (status = 422)))]
pub async fn refresh(app: Data<App>, address: Address, body: Json<RefreshBody>) -> Result<HttpResponse> {
    let mut fields = Fields::default();
    let token = fields.required("refresh_token", body.refresh_token.as_deref(), |text| Ok(text.to_owned()));
    let refreshed = service::refresh(&app, &fields.finish(token)?).await;
    if let Err(Failure::BadCredential(_)) = &refreshed {
        app.limits.address(address.0)?;
    }
    refreshed.map(tokens)
}

/// The person behind a request, customer or staff.
fn person(caller: &Caller) -> Result<(AccountId, SignInId)> {
    match &caller.0 {
        Principal::Customer(customer) => Ok((customer.account, customer.sign_in)),
        Principal::Staff(staff) => Ok((staff.account, staff.sign_in)),
        _ => Err(Failure::Forbidden("Only somebody who has signed in may do this")),
    }
}

/// `POST /auth/logout`: this sign-in is over, and its streams with it.
#[utoipa::path(post, path = "/auth/logout", tag = "accounts", responses((status = 204), (status = 401)))]
pub async fn sign_out(app: Data<App>, caller: Caller) -> Result<HttpResponse> {
    let (_, sign_in) = person(&caller)?;
    service::sign_out(&app, sign_in).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Oneself.
#[derive(Serialize, utoipa::ToSchema)]
pub struct MeView {
    #[serde(flatten)]
    user: UserView,
    is_guest: bool,
    /// `viewer`, `operator`, `manager` or `admin`; `null`: a customer.
    role: Option<&'static str>,
    /// The store of a staff member; `null`: all.
    #[schema(value_type = Option<i64>)]
    store_id: Option<StoreId>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<&Account> for MeView {
    fn from(account: &Account) -> Self {
        Self {
            user: account.into(),
            is_guest: account.is_guest(),
            role: account.post.map(|post| post.role.as_str()),
            store_id: account.post.and_then(|post| post.store),
            created_at: account.created_at,
        }
    }
}

/// `GET /auth/me`.
#[utoipa::path(get, path = "/auth/me", tag = "accounts", responses((status = 200, body = MeView), (status = 401)))]
pub async fn me(app: Data<App>, caller: Caller) -> Result<Json<MeView>> {
    let account = service::me(&app, person(&caller)?.0).await?;
    Ok(Json((&account).into()))
}

/// Everything stored about a customer.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ExportView {
    account: MeView,
    #[schema(value_type = Vec<Object>)]
    sign_ins: Vec<Entry>,
    sessions: Vec<ExportedSession>,
}

/// A session with its receipt.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ExportedSession {
    #[serde(flatten)]
    session: SessionView,
    #[schema(value_type = Option<Object>)]
    receipt: Option<Box<RawValue>>,
    /// Receipts of payments that came too late and are to be paid back.
    #[schema(value_type = Vec<Object>)]
    refunds: Vec<Box<RawValue>>,
}

/// `GET /auth/me/export`.
#[utoipa::path(get, path = "/auth/me/export", tag = "accounts", responses((status = 200, body = ExportView), (status = 401)))]
pub async fn export(app: Data<App>, caller: Caller) -> Result<HttpResponse> {
    let service::Export { account, sign_ins, sessions } = service::export(&app, person(&caller)?.0).await?;
    let raw = |body: String| RawValue::from_string(body).ok();
    let sessions = sessions.into_iter().map(|shopped| ExportedSession {
        session: (&shopped.session).into(),
        receipt: shopped.receipt.and_then(raw),
        refunds: shopped.refunds.into_iter().filter_map(raw).collect(),
    });
    let view = ExportView { account: (&account).into(), sign_ins, sessions: sessions.collect() };
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(view))
}

/// `DELETE /auth/me`: closes the account. An open session ends, and nothing names the person any more.
#[utoipa::path(delete, path = "/auth/me", tag = "accounts", responses((status = 204), (status = 401), (status = 403)))]
pub async fn erase(app: Data<App>, customer: CustomerAuth) -> Result<HttpResponse> {
    service::erase(&app, &customer.0).await?;
    Ok(HttpResponse::NoContent().finish())
}

//! `/admin/staff`: the accounts of those who work here.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use serde::Deserialize;

use super::{Change, service};
use crate::account::http::{MeView, SignUpBody};
use crate::account::{FullName, Password, Post};
use crate::app::App;
use crate::auth::{Role, StaffAuth, rank};
use crate::body::{Fields, Json, present, text};
use crate::error::{Failure, Result};
use crate::ids::{AccountId, StoreId};

/// `GET /admin/staff`: those of one's own store, or of all.
#[utoipa::path(get, path = "/admin/staff", tag = "staff", responses((status = 200, body = Vec<MeView>)))]
pub async fn list(app: Data<App>, staff: StaffAuth<rank::Manager>) -> Result<Json<Vec<MeView>>> {
    let accounts = service::list(&app, &staff.0).await?;
    Ok(Json(accounts.iter().map(MeView::from).collect()))
}

/// A staff member to be.
#[derive(Deserialize, utoipa::ToSchema)]
pub struct HireBody {
    #[serde(flatten)]
    who: SignUpBody,
    /// `viewer`, `operator`, `manager` or `admin`.
    #[serde(default, deserialize_with = "text")]
    #[schema(required)]
    role: Option<String>,
    /// One's own store where it is missing; `null`: all stores.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<i64>)]
    store_id: Option<Option<StoreId>>,
}

fn role(text: &str) -> Result<Role, &'static str> {
    Role::parse(text).ok_or("is one of viewer, operator, manager, admin")
}

/// `POST /admin/staff`. Nobody grants a role or a store beyond their own.
#[utoipa::path(post, path = "/admin/staff", tag = "staff", request_body = HireBody,
    responses((status = 201, body = MeView), (status = 403), (status = 409, description = "email-taken"), (status = 422)))]
pub async fn create(app: Data<App>, staff: StaffAuth<rank::Manager>, body: Json<HireBody>) -> Result<HttpResponse> {
    let mut fields = Fields::default();
    let role = fields.required("role", body.role.as_deref(), role);
    let sign_up = fields.and(body.who.parse());
    let (role, sign_up) = fields.finish(role.zip(sign_up))?;
    let post = Post { role, store: body.store_id.unwrap_or(staff.0.store) };
    let account = service::create(&app, &staff.0, sign_up, post).await?;
    Ok(HttpResponse::Created().json(MeView::from(&account)))
}

/// What is to change of a staff member. What is missing stays.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeBody {
    full_name: Option<String>,
    password: Option<String>,
    role: Option<String>,
    /// `null`: all stores.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<i64>)]
    store_id: Option<Option<StoreId>>,
    is_active: Option<bool>,
}

fn number(text: &str) -> Result<AccountId> {
    text.parse().map_err(|_| Failure::NotFound("Staff account"))
}

/// `PATCH /admin/staff/{id}`. A demotion is felt at the next request; a new password, and being made
/// inactive, end all sign-ins.
#[utoipa::path(patch, path = "/admin/staff/{id}", tag = "staff", params(("id" = i64, Path)), request_body = ChangeBody,
    responses((status = 200, body = MeView), (status = 403), (status = 404), (status = 409, description = "last-admin"), (status = 422)))]
pub async fn change(
    app: Data<App>,
    staff: StaffAuth<rank::Manager>,
    id: Path<String>,
    body: Json<ChangeBody>,
) -> Result<Json<MeView>> {
    let mut fields = Fields::default();
    let full_name = fields.optional("full_name", body.full_name.as_deref(), FullName::parse);
    let password = fields.optional("password", body.password.as_deref(), |text| Password::parse(text, None));
    let role = fields.optional("role", body.role.as_deref(), role);
    let read = full_name.zip(password).zip(role);
    let ((full_name, password), role) = fields.finish(read)?;
    let change = Change { full_name, password, role, store: body.store_id, is_active: body.is_active };
    let account = service::change(&app, &staff.0, number(&id)?, change).await?;
    Ok(Json((&account).into()))
}

/// `DELETE /admin/staff/{id}`.
#[utoipa::path(delete, path = "/admin/staff/{id}", tag = "staff", params(("id" = i64, Path)),
    responses((status = 204), (status = 403), (status = 404), (status = 409, description = "last-admin")))]
pub async fn dismiss(app: Data<App>, staff: StaffAuth<rank::Manager>, id: Path<String>) -> Result<HttpResponse> {
    service::dismiss(&app, &staff.0, number(&id)?).await?;
    Ok(HttpResponse::NoContent().finish())
}

//! `/admin/stores`: stores and their settings.

use actix_web::web::{Data, Path};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Settings, Store, service};
use crate::account::services::http::name;
use crate::app::App;
use crate::auth::{Principal, StaffAuth, rank};
use crate::body::{Fields, Json, text};
use crate::clock::Timestamp;
use crate::error::{Failure, Result};
use crate::idempotency::Answer;
use crate::idempotency::http::Posted;
use crate::ids::StoreId;

/// A store, as staff see it.
#[derive(Serialize, utoipa::ToSchema)]
pub struct StoreView {
    #[schema(value_type = i64)]
    store_id: StoreId,
    name: String,
    /// What is missing is at its default; a `null` time-out is switched off.
    #[schema(value_type = Object)]
    settings: Settings,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Store> for StoreView {
    fn from(store: Store) -> Self {
        Self { store_id: store.id, name: store.name, settings: store.settings, created_at: store.created_at }
    }
}

/// `GET /admin/stores`: one's own, or all.
#[utoipa::path(get, path = "/admin/stores", tag = "staff", responses((status = 200, body = Vec<StoreView>)))]
pub async fn list(app: Data<App>, staff: StaffAuth<rank::Viewer>) -> Result<Json<Vec<StoreView>>> {
    let stores = service::list(&app, &staff.0).await?;
    Ok(Json(stores.into_iter().map(StoreView::from).collect()))
}

/// A store's name and settings.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreBody {
    /// 1 to 100 characters.
    #[serde(default, deserialize_with = "text")]
    name: Option<String>,
    /// All of them: what is missing goes back to its default, a time-out of `null` is switched off.
    #[schema(value_type = Option<Object>)]
    settings: Option<Value>,
}

/// Settings that can be read and make sense.
fn settings(value: Value, fields: &mut Fields) -> Option<Settings> {
    match serde_json::from_value::<Settings>(value) {
        Err(error) => fields.wrong("settings", error.to_string()),
        Ok(settings) => {
            let problems = settings.problems();
            for (field, what) in &problems {
                fields.wrong::<()>(&format!("settings.{field}"), *what);
            }
            problems.is_empty().then_some(settings)
        }
    }
}

/// `POST /admin/stores`.
#[utoipa::path(post, path = "/admin/stores", tag = "staff", params(("Idempotency-Key" = Option<String>, Header)), request_body = StoreBody,
    responses((status = 201, body = StoreView), (status = 403), (status = 422)))]
pub async fn create(app: Data<App>, staff: StaffAuth<rank::Admin>, posted: Posted) -> Result<Answer> {
    let body: StoreBody = posted.json()?;
    let mut fields = Fields::default();
    let name = fields.required("name", body.name.as_deref(), name);
    let settings = settings(body.settings.unwrap_or_else(|| Value::Object(Default::default())), &mut fields);
    let new = fields.finish(name.zip(settings))?;
    let key = posted.key(&Principal::Staff(staff.0.clone()));
    service::create(&app, &staff.0, new, key, |store| Answer::created(&StoreView::from(store))).await
}

/// `PATCH /admin/stores/{id}`.
#[utoipa::path(patch, path = "/admin/stores/{id}", tag = "staff", params(("id" = i64, Path)), request_body = StoreBody,
    responses((status = 200, body = StoreView), (status = 404), (status = 422)))]
pub async fn change(
    app: Data<App>,
    staff: StaffAuth<rank::Manager>,
    id: Path<String>,
    body: Json<StoreBody>,
) -> Result<Json<StoreView>> {
    let id = id.parse().map_err(|_| Failure::NotFound("Store"))?;
    let body = body.into_inner();
    let mut fields = Fields::default();
    let name = fields.optional("name", body.name.as_deref(), name);
    let settings = match body.settings {
        Some(value) => settings(value, &mut fields).map(Some),
        None => Some(None),
    };
    let (name, settings) = fields.finish(name.zip(settings))?;
    let store = service::change(&app, &staff.0, id, name, settings).await?;
    Ok(Json(store.into()))
}

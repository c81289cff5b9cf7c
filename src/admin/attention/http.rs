//! `GET /admin/attention`: what needs a look, for whoever does not follow the floor.

use std::collections::HashMap;

use actix_web::web::{Data, Query};
use serde::{Deserialize, Serialize};

use super::{Item, of, worst};
use crate::admin::floor::store::{self, Which};
use crate::admin::scope;
use crate::app::App;
use crate::auth::{StaffAuth, rank};
use crate::body::Json;
use crate::clock::Timestamp;
use crate::error::Result;

/// Of which store.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StoreQuery {
    /// One's own, or all, where it is missing.
    #[serde(alias = "store")]
    pub store_id: Option<String>,
}

/// What needs a look.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Attention {
    /// The most pressing first.
    items: Vec<Item>,
    #[schema(value_type = String, format = DateTime)]
    server_time: Timestamp,
}

/// `GET /admin/attention`.
#[utoipa::path(get, path = "/admin/attention", tag = "staff", params(StoreQuery), responses((status = 200, body = Attention)))]
pub async fn list(app: Data<App>, staff: StaffAuth<rank::Viewer>, query: Query<StoreQuery>) -> Result<Json<Attention>> {
    let scope = scope::named(&staff.0, query.store_id.as_deref())?;
    let now = app.clock.now();
    let carts = store::carts(app.db.read(), Which::Standing(scope), now).await?;
    let releases: HashMap<_, _> = store::releases(app.db.read(), now).await?;
    let items = carts.iter().flat_map(|facts| of(facts, releases.get(&facts.num), now));
    Ok(Json(Attention { items: worst(items.collect()), server_time: now }))
}

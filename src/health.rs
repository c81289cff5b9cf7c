//! `/livez`, `/readyz` and `/health/`: whether to restart this node, and whether to send it traffic.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Data;
use serde_json::json;

use crate::app::App;
use crate::db;

/// `GET /livez`: the process answers. It asks no database, for a restart would not mend one.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200)))]
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(json!({ "status": "alive" }))
}

/// `GET /readyz`: this node can serve: the database answers, its schema is complete, its clock is right, and it is not
/// stopping. A bus that is down is said, but no reason to send nobody here: the node polls the log meanwhile.
#[utoipa::path(get, path = "/readyz", tag = "health", responses((status = 200), (status = 503)))]
pub async fn ready(app: Data<App>) -> HttpResponse {
    let (database, clock, draining) = (database(&app).await, app.heal.clock_is_right(), app.streams.draining());
    let ready = database && clock && !draining;
    let mut answer = if ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    answer.insert_header((header::CACHE_CONTROL, "no-store")).json(json!({
        "status": if draining { "draining" } else if ready { "ready" } else { "not ready" },
        "database": if database { "up" } else { "down" },
        "bus": if app.bus.is_whole() { "up" } else { "down" },
        "clock": if clock { "right" } else { "off" },
    }))
}

/// `GET /health/`: the same in the words clients in the field read.
#[utoipa::path(get, path = "/health/", tag = "health", responses((status = 200), (status = 503)))]
pub async fn health(app: Data<App>) -> HttpResponse {
    let up = database(&app).await;
    let (mut answer, status, database) = if up {
        (HttpResponse::Ok(), "healthy", "up")
    } else {
        (HttpResponse::ServiceUnavailable(), "unhealthy", "down")
    };
    answer
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(json!({ "status": status, "services": { "database": { "status": database } } }))
}

/// Whether the database answers, and the schema is there.
async fn database(app: &App) -> bool {
    let asked = db::row(app.db.read(), "SELECT 1 AS one FROM meta LIMIT 1", []);
    match tokio::time::timeout(std::time::Duration::from_secs(2), asked).await {
        Ok(answer) => answer.is_ok(),
        Err(_) => {
            app.heal.doubt();
            false
        }
    }
}

//! `GET /admin/stats`: the store's figures over a span of time.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{Data, Query};
use serde::{Deserialize, Serialize};

use super::{LONGEST, Span, Tally, percentile, share, store};
use crate::admin::scope;
use crate::app::App;
use crate::auth::{Staff, StaffAuth, rank};
use crate::body::Fields;
use crate::clock::Timestamp;
use crate::error::Result;

/// Without a beginning, figures are of this much time before the end.
const USUAL: Duration = Duration::from_secs(24 * 3600);

/// Sessions rarely last longer: so far back is looked for some that reach into the span.
const REACH: Duration = Duration::from_secs(24 * 3600);

/// Over which span, and of which store.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StatsQuery {
    /// RFC 3339; a day before the end where it is missing.
    from: Option<String>,
    /// RFC 3339; now where it is missing.
    to: Option<String>,
    /// One's own, or all, where it is missing.
    #[serde(alias = "store")]
    store_id: Option<String>,
}

impl StatsQuery {
    fn read(self, staff: &Staff, now: Timestamp) -> Result<Span> {
        let store = scope::named(staff, self.store_id.as_deref())?;
        let given = |field: Option<String>| field.filter(|text| !text.is_empty());
        let mut fields = Fields::default();
        let to = fields.optional("to", given(self.to).as_deref(), str::parse).map(|to| to.unwrap_or(now).min(now));
        let from = fields.optional("from", given(self.from).as_deref(), str::parse);
        let span = from.zip(to).map(|(from, to)| Span { from: from.unwrap_or(to - USUAL), to, store });
        let fits = span.is_none_or(|span| span.from < span.to && span.to.since(span.from) <= LONGEST);
        if !fits {
            fields.wrong::<()>("from", "before `to` and before now, and at most 92 days before `to`");
        }
        fields.finish(span)
    }
}

/// The figures.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Stats {
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
    /// Scanned within the span.
    sessions: i64,
    /// Of these, not over yet.
    open: i64,
    /// Every hour of the span.
    sessions_per_hour: Vec<Hour>,
    /// Milliseconds from the scan until the cart's screen had the session.
    pickup_ms: Percentiles,
    /// How many ended for each reason; `completed` for those that were paid.
    outcomes: BTreeMap<String, i64>,
    /// Of the sessions that a cart picked up and that are over, the share that was not paid.
    abandonment: Option<f64>,
    /// Seconds from the scan to the end, of sessions that a cart picked up and that are over.
    durations_s: Percentiles,
    /// The share of all carts' time in which somebody had them.
    utilisation: Option<f64>,
}

/// An hour.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Hour {
    /// Its beginning.
    #[schema(value_type = String, format = DateTime)]
    hour: Timestamp,
    count: i64,
}

/// What half, 95 and 99 of 100 stay below.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Percentiles {
    p50: Option<i64>,
    p95: Option<i64>,
    p99: Option<i64>,
}

impl From<&Tally> for Percentiles {
    fn from(tally: &Tally) -> Self {
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| percentile(tally, share));
        Self { p50, p95, p99 }
    }
}

/// `GET /admin/stats`.
#[utoipa::path(get, path = "/admin/stats", tag = "staff", params(StatsQuery), responses((status = 200, body = Stats), (status = 422)))]
pub async fn read(app: Data<App>, staff: StaffAuth<rank::Viewer>, query: Query<StatsQuery>) -> Result<HttpResponse> {
    let span = query.into_inner().read(&staff.0, app.clock.now())?;
    let stats = figures(&app, &span).await?;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(stats))
}

async fn figures(app: &App, span: &Span) -> Result<Stats> {
    // One at a time: a page full of figures is no reason to slow down a scan.
    let _turn = app.figures.acquire().await;
    let conn = app.db.read();
    let per_hour: HashMap<i64, i64> = store::per_hour(conn, span).await?.into_iter().collect();
    let outcomes = store::outcomes(conn, span).await?;
    let pick_ups = store::pick_ups(conn, span).await?;
    let durations = store::durations(conn, span).await?;
    let in_use = store::in_use(conn, span, REACH).await?;
    let carts = store::carts(conn, span.store, span.to).await?;
    let sum = |which: &dyn Fn(&&store::Outcome) -> bool| {
        outcomes.iter().filter(which).map(|outcome| outcome.times).sum::<i64>()
    };
    let shopped = sum(&|outcome| outcome.is_over() && outcome.fetched);
    let unpaid = sum(&|outcome| outcome.is_over() && outcome.fetched && outcome.status != "completed");
    let mut by_word = BTreeMap::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.is_over()) {
        *by_word.entry(outcome.word().to_owned()).or_default() += outcome.times;
    }
    let hour = |hour: Timestamp| Hour { count: per_hour.get(&hour.0).copied().unwrap_or(0), hour };
    let time = carts.saturating_mul(span.to.0 - span.from.0);
    Ok(Stats {
        from: span.from,
        to: span.to,
        sessions: sum(&|_| true),
        open: sum(&|outcome| !outcome.is_over()),
        sessions_per_hour: span.hours().map(hour).collect(),
        pickup_ms: (&pick_ups).into(),
        outcomes: by_word,
        abandonment: share(unpaid, shopped),
        durations_s: (&durations).into(),
        utilisation: share(in_use, time),
    })
}

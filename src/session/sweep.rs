//! The sweeper: takes the steps that are time's to take.
//!
//! Each open session's row knows when it is next due, carts that are heard of lie in an index by their last sign of life,
//! and a goodbye has its end beside its claim: so a sweep is a few looks at indexes, however many sessions there are. Two
//! sweepers do no harm: the row is locked and judged anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde_json::json;

use super::{due, service, store};
use crate::app::App;
use crate::cart;
use crate::clock::Timestamp;
use crate::db::Txn;
use crate::event::{self, Audience, Channel, Draft, Joined, Kind};
use crate::failure::{Failure, Result};
use crate::ids::{CartNum, SessionId, StoreId};
use crate::store as shops;

/// How often the sweeper looks.
const EVERY: Duration = Duration::from_secs(1);

/// Rows per look: the rest is due at the next one, which follows at once.
const BATCH: u32 = 200;

/// Steps written at once: SQLite commits them together, PostgreSQL side by side.
const ABREAST: usize = 16;

/// Sweeps for as long as the server runs; at once when a test moves the clock.
pub async fn run(app: Arc<App>) {
    let up_since = app.clock.now();
    loop {
        let moved = app.clock.moved();
        if let Err(error) = listen(&app, up_since).await {
            tracing::warn!(error = error.code(), "silent carts were not looked for");
        }
        match sweep(&app).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::warn!(error = error.code(), "a sweep did not finish"),
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = moved => app.streams.wake_all(),
        }
    }
}

/// Takes every step that is due now. Returns whether there may be more.
pub async fn sweep(app: &App) -> Result<bool> {
    if !app.heal.clock_is_right() {
        return Ok(false);
    }
    let now = app.clock.now();
    let sessions = store::due(app.db.read(), now, BATCH).await?;
    let more = each(app, sessions, async move |txn, id| step(txn, id, now).await).await;
    let goodbyes = store::goodbyes_over(app.db.read(), now, BATCH).await?;
    let more = each(app, goodbyes, async move |txn, cart| free(txn, cart, now).await).await || more;
    Ok(more)
}

/// Declares carts offline that have been silent for too long, as a server hears that listens since `up_since`: while it
/// stood still nobody could be heard.
pub async fn listen(app: &App, up_since: Timestamp) -> Result<()> {
    let now = app.clock.now();
    if !app.heal.clock_is_right() {
        return Ok(());
    }
    for (span, stores) in silences(app).await? {
        if now.since(up_since) < span {
            continue;
        }
        let before = now - span;
        let carts = cart::store::silent(app.db.read(), stores.as_deref(), before, BATCH).await?;
        each(app, carts, async move |txn, cart| declare_offline(txn, cart, before, now).await).await;
    }
    Ok(())
}

/// Runs `work` on each, in a transaction of its own. Returns whether a whole batch went well, so that it is worth looking
/// for more at once. One that fails is tried again at the next look, and keeps nobody else waiting.
async fn each<T, W>(app: &App, all: Vec<T>, work: W) -> bool
where
    T: Copy + Send + std::fmt::Debug + 'static,
    W: AsyncFn(&Txn<'_>, T) -> Result<()> + Copy + Send + 'static,
{
    let writes = stream::iter(&all).map(|&one| async move {
        let written = app.db.write(async move |txn: &Txn<'_>| work(txn, one).await).await;
        written.inspect_err(|error| tracing::warn!(?one, error = error.code(), "a step was due and not taken")).is_ok()
    });
    let written = writes.buffer_unordered(ABREAST).filter(|written| std::future::ready(*written)).count().await;
    written == BATCH as usize
}

async fn step(txn: &Txn<'_>, id: SessionId, now: Timestamp) -> Result<()> {
    let Some(session) = store::lock(&**txn, id).await?.filter(|session| session.state.is_open()) else {
        return Ok(());
    };
    // Somebody may have come back, or another sweeper been faster, since the look.
    let step = match due(&session) {
        Some((at, step)) if at <= now => step,
        later => return Ok(store::put_off(&**txn, id, later.map(|(at, _)| at)).await?),
    };
    match service::transition(txn, session, &step, None, now).await {
        Ok(_) | Err(Failure::Session(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The cart's goodbye is over: it is free again, and its screen is told.
async fn free(txn: &Txn<'_>, num: CartNum, now: Timestamp) -> Result<()> {
    let Some(before) = cart::store::lock(&**txn, num).await? else { return Ok(()) };
    if store::goodbye_is_over(&**txn, num, now).await? {
        store::release_claim(&**txn, num, now).await?;
        cart::service::tell(txn, &before, now).await?;
    }
    Ok(())
}

/// How long carts may be silent, and in which stores; `None` stands for all.
async fn silences(app: &App) -> Result<Vec<(Duration, Option<Vec<StoreId>>)>> {
    let stores = shops::store::all(app.db.read(), None).await?;
    let all = stores.len();
    let mut by_span: BTreeMap<Duration, Vec<StoreId>> = BTreeMap::new();
    for store in stores {
        if let Some(span) = store.settings.limits().silence() {
            by_span.entry(span).or_default().push(store.id);
        }
    }
    Ok(by_span.into_iter().map(|(span, stores)| (span, Some(stores).filter(|stores| stores.len() < all))).collect())
}

/// Notes a cart's silence and tells of it. Its session goes on, and will be lost if the silence does.
async fn declare_offline(txn: &Txn<'_>, num: CartNum, seen_before: Timestamp, now: Timestamp) -> Result<()> {
    // The session first, as everywhere.
    let claimed = store::open_on_cart(&**txn, num).await?.map(|session| session.id);
    let session = match claimed {
        Some(id) => store::lock(&**txn, id).await?.filter(|session| session.state.is_open() && session.claims(num)),
        None => None,
    };
    if !cart::store::declare_offline(&**txn, num, seen_before, now).await? {
        return Ok(());
    }
    let Some(cart) = cart::store::by_num(&**txn, num).await? else { return Ok(()) };
    if let Some(session) = session.as_ref().filter(|session| session.cart == num) {
        let due = due(&super::Session { silent_since: cart.seen_at, ..session.clone() });
        store::put_off(&**txn, session.id, due.map(|(at, _)| at)).await?;
    }
    let data = json!({
        "cart_id": cart.id,
        "status": cart.status().as_str(),
        "session_id": session.as_ref().map(|session| session.id),
        "seen_at": cart.seen_at,
        "updated_at": now,
    });
    let joined = Joined { customer: session.as_ref().and_then(|session| session.customer), ..Joined::default() };
    let draft = Draft {
        channel: Channel::Cart(num),
        session: session.map(|session| session.id),
        audience: Audience::All,
        kind: Kind::CartOffline,
        data: data.to_string().into(),
        joined,
    };
    event::store::append(txn, draft, now).await?;
    Ok(())
}

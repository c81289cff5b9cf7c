//! Delivering messages: take what is due, sign it, send it, write down what came of it.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};

use super::{Delivery, backoff, may_reach, signature, store, target};
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::Txn;
use crate::failure::Result;

/// How often we look for messages that are due.
const EVERY: Duration = Duration::from_secs(1);

/// Messages per look.
const BATCH: u32 = 200;

/// Messages to one webhook at once. Where one of them fails, the others wait for the next look.
const ABREAST: usize = 8;

/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// After this a node that took a message and was not heard of again is taken for dead.
const LEASE: Duration = Duration::from_secs(60);

/// Delivers for as long as the server runs; looks at once when a test moves the clock.
pub async fn run(app: Arc<App>) {
    let clients = Clients { private: app.config.webhook_private, https: OnceLock::new(), loopback: OnceLock::new() };
    loop {
        let moved = app.clock.moved();
        match round(&app, &clients).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::warn!(error = error.code(), "webhooks cannot be read"),
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = moved => {}
        }
    }
}

/// Delivers what is due now. Returns whether there may be more.
async fn round(app: &App, clients: &Clients) -> Result<bool> {
    let due = store::due(app.db.read(), app.clock.now(), BATCH).await?;
    let mut by_webhook: BTreeMap<String, Vec<Delivery>> = BTreeMap::new();
    for delivery in due {
        by_webhook.entry(delivery.webhook.clone()).or_default().push(delivery);
    }
    let all = by_webhook.into_values().map(|deliveries| async move {
        for some in deliveries.chunks(ABREAST) {
            let delivered = join_all(some.iter().map(|delivery| deliver(app, clients, delivery))).await;
            if delivered.contains(&false) {
                return false;
            }
        }
        true
    });
    // What was sent may have made way for what comes after it.
    let done = join_all(all).await;
    Ok(done.contains(&true))
}

/// Delivers one message. Returns whether it got through.
async fn deliver(app: &App, clients: &Clients, delivery: &Delivery) -> bool {
    let until = app.clock.now() + LEASE;
    let (taken, to_take) = (app.clock.now(), delivery.clone());
    let mine = app
        .db
        .write(async move |txn: &Txn<'_>| -> Result<bool> { Ok(store::take(&**txn, &to_take, until).await?) })
        .await;
    if !matches!(mine, Ok(true)) {
        return false;
    }
    let sent = send(app, clients, delivery, taken).await;
    let (id, attempts, now) = (delivery.id, delivery.attempts + 1, app.clock.now());
    let got_through = sent.is_ok();
    if let Err(failure) = &sent {
        tracing::warn!(
            webhook = delivery.webhook,
            message = delivery.message_id,
            attempts,
            failure,
            "a message did not get through"
        );
    }
    let noted = app.db.write(async move |txn: &Txn<'_>| -> Result<()> {
        match sent {
            Ok(()) => store::delivered(&**txn, id, now).await?,
            Err(failure) => store::failed(&**txn, id, &failure, backoff(attempts).map(|span| now + span), now).await?,
        }
        Ok(())
    });
    // Where it cannot be written down it is sent once more, under the same id.
    let noted = noted
        .await
        .inspect_err(|error| tracing::warn!(message = delivery.message_id, cause = %error, "cannot note a delivery"));
    got_through && noted.is_ok()
}

/// Sends it. `Err` says what went wrong, for the admin.
async fn send(app: &App, clients: &Clients, delivery: &Delivery, now: Timestamp) -> Result<(), String> {
    // Judged once more: what is allowed may have changed since.
    let url = target(&delivery.url, app.config.webhook_private).map_err(str::to_owned)?;
    let signature = signature(&app.keys.webhook_secrets(&delivery.webhook), &delivery.message_id, now, &delivery.body);
    let request = clients.of(&url)?.post(url).body(delivery.body.clone());
    let request = request
        .header("content-type", "application/json")
        .header("webhook-id", &delivery.message_id)
        .header("webhook-timestamp", now.unix())
        .header("webhook-signature", signature);
    let answer = request.send().await.map_err(|error| told(&error))?;
    let status = answer.status();
    if status.is_success() { Ok(()) } else { Err(format!("answered {}", status.as_u16())) }
}

/// The innermost cause says most, and holds no address of ours.
fn told(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// One client for each rule of what may be reached, made when it is first needed.
struct Clients {
    private: bool,
    https: OnceLock<Result<Client, String>>,
    loopback: OnceLock<Result<Client, String>>,
}

impl Clients {
    fn of(&self, url: &Url) -> Result<&Client, String> {
        let https = url.scheme() == "https";
        let kept = if https { &self.https } else { &self.loopback };
        let made =
            kept.get_or_init(|| client(Reachable { https, private: self.private }).map_err(|error| told(&error)));
        made.as_ref().map_err(Clone::clone)
    }
}

fn client(reachable: Reachable) -> reqwest::Result<Client> {
    Client::builder()
        .dns_resolver(Arc::new(reachable))
        .redirect(Policy::none())
        .no_proxy()
        .timeout(PATIENCE)
        .user_agent(concat!("cartlink/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Resolves names to addresses that may be reached. The connection goes to these very addresses, so that a name cannot
/// be one thing when it is judged and another when it is used.
struct Reachable {
    https: bool,
    private: bool,
}

impl Resolve for Reachable {
    fn resolve(&self, name: Name) -> Resolving {
        let (https, private) = (self.https, self.private);
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if found.iter().any(|address| !may_reach(address.ip(), https, private)) {
                return Err("the name leads into a private network".into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

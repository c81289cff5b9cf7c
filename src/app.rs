//! What every part is given: plain data, made once.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use crate::account::service::Standings;
use crate::broadcast::Broadcaster;
use crate::broadcast::bus::Bus;
use crate::broadcast::bus::heal::Heal;
use crate::broadcast::streams::Streams;
use crate::clock::Clock;
use crate::config::{Config, PublicUrl};
use crate::control::emitting::Emitting;
use crate::db::Db;
use crate::limits::Limits;
use crate::password::Passwords;
use crate::scan::reuse::Reuse;
use crate::session::awaiting::Awaiting;
use crate::token::KeyRing;

/// The running application.
pub struct App {
    /// How it was told to run.
    pub config: Config,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The rows.
    pub db: Db,
    /// The keys.
    pub keys: Arc<KeyRing>,
    /// Who follows which channel.
    pub broadcaster: Arc<Broadcaster>,
    /// The way to the other nodes.
    pub bus: Arc<dyn Bus>,
    /// How this node stands to the log.
    pub heal: Heal,
    /// Which streams are open, and whose they are.
    pub streams: Streams,
    /// Emitted events that wait to be written.
    pub emitting: Arc<Emitting>,
    /// The live floor, while somebody watches it.
    pub floor: crate::admin::floor::service::Watched,
    /// Whose turn it is to sum up a million sessions.
    pub figures: tokio::sync::Semaphore,
    /// Who may do how much.
    pub limits: Limits,
    /// Hashing passwords.
    pub passwords: Passwords,
    /// Sign-ins that stood a moment ago.
    pub standings: Standings,
    /// Sessions whose screen shows its pick-up by what it does next.
    pub awaiting: Awaiting,
    /// Heartbeats that wait to be written down.
    pub beats: crate::cart::presence::Beats,
    /// Who tried which used code.
    pub reuse: Reuse,
    /// What the demo page is told, in demo mode.
    pub demo: Option<crate::demo::Demo>,
    /// The two addresses, once bound.
    pub bound: OnceLock<Bound>,
}

/// Where the server listens.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// For everybody.
    pub public: SocketAddr,
    /// For services.
    pub control: SocketAddr,
}

impl App {
    /// The address customers use: as configured, else where the server listens and as it speaks there.
    pub fn public_url(&self) -> PublicUrl {
        self.config.public_url.clone().unwrap_or_else(|| {
            let bound = self.bound.get().map_or_else(|| self.config.bind.clone(), |bound| bound.public.to_string());
            let scheme = if self.config.tls().is_some() { "https" } else { "http" };
            format!("{scheme}://{bound}").parse().expect("a bound address is a host and a port")
        })
    }

    /// What signs subscribers' tokens: the control secret, or one derived for it.
    pub fn subscriber_secret(&self) -> Cow<'_, [u8]> {
        match &self.config.secret {
            Some(secret) => Cow::Borrowed(secret.0.as_bytes()),
            None => Cow::Owned(self.keys.subscriber_secret().to_vec()),
        }
    }

    /// The device cookie's name: bound to host and https where there is https.
    pub fn cookie_name(&self) -> &'static str {
        let https = match &self.config.public_url {
            Some(url) => url.is_https(),
            None => self.config.tls().is_some(),
        };
        if https { "__Host-cartlink" } else { "cartlink" }
    }
}

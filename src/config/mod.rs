//! Every knob there is: one doc comment each, which is also `--help` and the README's table.
//!
//! Precedence: flag, then `CARTLINK_…` environment variable, then the TOML file, then the default.

mod check;
mod file;
mod values;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Command, FromArgMatches};

pub use self::check::weak;
pub use self::file::with_file;
pub use self::values::{ControlAuth, Fault, PublicUrl, Quota, Secret, Span};
use crate::app_links::{AndroidApp, IosApp};
use crate::tls;

/// What `cartlink serve` can be told.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// A TOML file with any of these settings, named as the flags with `_` for `-`.
    #[arg(long, env = "CARTLINK_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Where customers, screens and staff reach the server. Port 0 takes a free one.
    #[arg(long, env = "CARTLINK_BIND", default_value = "127.0.0.1:8000", value_name = "ADDR:PORT")]
    pub bind: String,

    /// Where the store's other back ends reach it (token, emit, metrics). Keep it off the internet.
    #[arg(long, env = "CARTLINK_BINDCTL", default_value = "127.0.0.1:8001", value_name = "ADDR:PORT")]
    pub bindctl: String,

    /// Signs subscribers' JWTs for `/events/` and nothing else: give it to back ends that mint their own.
    #[arg(long, env = "CARTLINK_SECRET", hide_env_values = true, value_name = "TEXT")]
    pub secret: Option<Secret>,

    /// Who may use the control listener: `network` (whoever reaches it), `credential` (a service), or `auto`:
    /// network while it is a loopback address.
    #[arg(long, env = "CARTLINK_CONTROL_AUTH", default_value = "auto", value_name = "MODE")]
    pub control_auth: ControlAuth,

    /// Names, besides its own address, by which back ends may call the control listener (`Host`).
    #[arg(long, env = "CARTLINK_CONTROL_HOSTS", value_delimiter = ',', value_name = "HOST,…")]
    pub control_hosts: Vec<String>,

    /// The folder for the SQLite file and the master secret.
    #[arg(long, env = "CARTLINK_DATA", default_value = "data", value_name = "DIR")]
    pub data: PathBuf,

    /// The database: `sqlite:path` or `postgres://…`. Default: `cartlink.db` in the data folder.
    #[arg(long, env = "CARTLINK_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<Secret>,

    /// Database connections at most.
    #[arg(long, env = "CARTLINK_DATABASE_CONNECTIONS", default_value_t = 16, value_name = "N")]
    pub database_connections: u32,

    /// How long one database statement may take.
    #[arg(long, env = "CARTLINK_STATEMENT_TIMEOUT", default_value = "5s", value_name = "SPAN")]
    pub statement_timeout: Span,

    /// How long a start waits for a database that does not answer yet.
    #[arg(long, env = "CARTLINK_DATABASE_WAIT", default_value = "60s", value_name = "SPAN")]
    pub database_wait: Span,

    /// The wake-up bus between nodes: `local`, or NATS servers as `nats://user:password@host:4222,…` (a token alone as
    /// `nats://token@host`, `tls://…` for TLS). One of them is enough to start with; none at all is survived by polling the log.
    #[arg(long, env = "CARTLINK_BUS", default_value = "local", hide_env_values = true, value_name = "URL")]
    pub bus: Secret,

    /// The authority that signed the NATS servers' certificates. Default: those the system trusts.
    #[arg(long, env = "CARTLINK_BUS_CA", value_name = "FILE")]
    pub bus_ca: Option<PathBuf>,

    /// This node's certificate for NATS, where that asks for one.
    #[arg(long, env = "CARTLINK_BUS_CERT", value_name = "FILE", requires = "bus_key")]
    pub bus_cert: Option<PathBuf>,

    /// And its key.
    #[arg(long, env = "CARTLINK_BUS_KEY", value_name = "FILE", requires = "bus_cert")]
    pub bus_key: Option<PathBuf>,

    /// The master secret all keys are derived from, 32 bytes or more. Default: made at the first start and kept in
    /// the data folder.
    #[arg(long, env = "CARTLINK_MASTER_SECRET", hide_env_values = true, value_name = "TEXT")]
    pub master_secret: Option<Secret>,

    /// The same, from a file.
    #[arg(long, env = "CARTLINK_MASTER_SECRET_FILE", value_name = "FILE", conflicts_with = "master_secret")]
    pub master_secret_file: Option<PathBuf>,

    /// Other master secrets that still, or already, verify: the previous and the next one during a rotation.
    #[arg(
        long,
        env = "CARTLINK_MASTER_SECRET_OTHERS",
        hide_env_values = true,
        value_delimiter = ',',
        value_name = "TEXT"
    )]
    pub master_secret_others: Vec<Secret>,

    /// The address customers' phones use, as `https://host`: it stands in the QR code. Default: the bind address.
    #[arg(long, env = "CARTLINK_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<PublicUrl>,

    /// The certificate (PEM, with those that lead to its authority): the public listener then speaks https. Read
    /// again whenever it changes, without a restart.
    #[arg(long, env = "CARTLINK_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// And its key (PEM, without a passphrase).
    #[arg(long, env = "CARTLINK_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// The store's own apps for iOS that open the pictures' links.
    #[arg(long, env = "CARTLINK_IOS_APPS", value_delimiter = ',', value_name = "TEAM.BUNDLE,…")]
    pub ios_apps: Vec<IosApp>,

    /// The same for Android.
    #[arg(long, env = "CARTLINK_ANDROID_APPS", value_delimiter = ',', value_name = "PACKAGE=SHA256,…")]
    pub android_apps: Vec<AndroidApp>,

    /// Proxies whose `X-Forwarded-For` is believed.
    #[arg(long, env = "CARTLINK_TRUSTED_PROXIES", value_delimiter = ',', value_name = "IP,…")]
    pub trusted_proxies: Vec<IpAddr>,

    /// Other origins whose pages may call the API (CORS), as `https://host`.
    #[arg(long, env = "CARTLINK_CORS_ORIGINS", value_delimiter = ',', value_name = "ORIGIN,…")]
    pub cors_origins: Vec<String>,

    /// How long a QR code is good.
    #[arg(long, env = "CARTLINK_QR_TTL", default_value = "60s", value_name = "SPAN")]
    pub qr_ttl: Span,

    /// When a screen should draw the next one.
    #[arg(long, env = "CARTLINK_QR_REFRESH", default_value = "40s", value_name = "SPAN")]
    pub qr_refresh: Span,

    /// How long an access token is good. Phones in the field never refresh theirs.
    #[arg(long, env = "CARTLINK_ACCESS_TTL", default_value = "6h", value_name = "SPAN")]
    pub access_ttl: Span,

    /// How long a sign-in can be refreshed.
    #[arg(long, env = "CARTLINK_REFRESH_TTL", default_value = "30d", value_name = "SPAN")]
    pub refresh_ttl: Span,

    /// Time between heartbeats on an event stream.
    #[arg(long, env = "CARTLINK_HEARTBEAT", default_value = "15s", value_name = "SPAN")]
    pub heartbeat: Span,

    /// How long a stream may live before it is asked to reconnect.
    #[arg(long, env = "CARTLINK_STREAM_MAX_AGE", default_value = "12h", value_name = "SPAN")]
    pub stream_max_age: Span,

    /// How long stopping may take: open streams are said goodbye to over this window.
    #[arg(long, env = "CARTLINK_DRAIN", default_value = "5s", value_name = "SPAN")]
    pub drain: Span,

    /// Codes a cart may fetch: burst, and seconds for one more.
    #[arg(long, env = "CARTLINK_LIMIT_MINTS", default_value = "5/10s", value_name = "N/SPAN")]
    pub limit_mints: Quota,

    /// Scans a customer may try: burst, and time for one more.
    #[arg(long, env = "CARTLINK_LIMIT_SCANS", default_value = "10/6s", value_name = "N/SPAN")]
    pub limit_scans: Quota,

    /// Guests, sign-ups and failures per address: burst, and time for one more. Loopback is exempt.
    #[arg(long, env = "CARTLINK_LIMIT_ADDRESS", default_value = "30/2s", value_name = "N/SPAN")]
    pub limit_address: Quota,

    /// Streams one customer may have open.
    #[arg(long, env = "CARTLINK_STREAMS_PER_CUSTOMER", default_value_t = 3, value_name = "N")]
    pub streams_per_customer: usize,

    /// Streams one cart may have open itself.
    #[arg(long, env = "CARTLINK_STREAMS_PER_CART", default_value_t = 8, value_name = "N")]
    pub streams_per_cart: usize,

    /// Streams one subscriber (`userId`) of emitted events may have open. Wide, for a back end vouches for them.
    #[arg(long, env = "CARTLINK_STREAMS_PER_SUBSCRIBER", default_value_t = 10_000, value_name = "N")]
    pub streams_per_subscriber: usize,

    /// Streams from one address (IPv6: one /64). Loopback is exempt.
    #[arg(long, env = "CARTLINK_STREAMS_PER_ADDRESS", default_value_t = 2_000, value_name = "N")]
    pub streams_per_address: usize,

    /// New streams on this node: burst, and time for one more.
    #[arg(long, env = "CARTLINK_LIMIT_STREAMS", default_value = "20000/1ms", value_name = "N/SPAN")]
    pub limit_streams: Quota,

    /// Streams on this node.
    #[arg(long, env = "CARTLINK_STREAMS", default_value_t = 100_000, value_name = "N")]
    pub streams: usize,

    /// Threads that serve. Default: one per core.
    #[arg(long, env = "CARTLINK_WORKERS", value_name = "N")]
    pub workers: Option<usize>,

    /// How long the event log is kept.
    #[arg(long, env = "CARTLINK_KEEP_EVENTS", default_value = "30d", value_name = "SPAN")]
    pub keep_events: Span,

    /// Lets webhooks go to private networks, too.
    #[arg(long, env = "CARTLINK_WEBHOOK_PRIVATE")]
    pub webhook_private: bool,

    /// What to log, as in `info` or `cartlink=debug,actix_server=warn`.
    #[arg(long, env = "CARTLINK_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,

    /// Log lines as JSON.
    #[arg(long, env = "CARTLINK_LOG_JSON")]
    pub log_json: bool,

    /// Writes the two addresses, once bound, to this file: for tests that bind to port 0.
    #[arg(long, env = "CARTLINK_PORTS_FILE", value_name = "FILE", hide = true)]
    pub ports_file: Option<PathBuf>,

    /// Messages from the bus that may wait to be read, per partition: more are dropped, and the log is looked at. For tests
    /// that want to see that.
    #[arg(long, env = "CARTLINK_BUS_PENDING", default_value_t = 65_536, value_name = "N", hide = true)]
    pub bus_pending: usize,

    /// Dies at a named point, for tests of what survives.
    #[arg(long, env = "CARTLINK_FAULT", value_name = "POINT", hide = true)]
    pub fault: Option<Fault>,
}

impl Config {
    /// As with an empty command line.
    pub fn standard() -> Self {
        let command = Self::augment_args(Command::new("cartlink"));
        let matches = command.get_matches_from(["cartlink"]);
        Self::from_arg_matches(&matches).expect("every setting has a default or is optional")
    }

    /// The certificate of the public listener, where that speaks https.
    pub fn tls(&self) -> Option<tls::Files> {
        let (cert, key) = self.tls_cert.as_ref().zip(self.tls_key.as_ref())?;
        Some(tls::Files { cert: cert.clone(), key: key.clone() })
    }

    /// The database's URL.
    pub fn database(&self) -> String {
        match &self.database_url {
            Some(url) => url.0.clone(),
            None => format!("sqlite:{}", self.data.join("cartlink.db").display()),
        }
    }

    /// Whether the control listener asks for a credential.
    pub fn control_needs_credential(&self) -> bool {
        match self.control_auth {
            ControlAuth::Auto => !check::is_loopback(&self.bindctl),
            ControlAuth::Network => false,
            ControlAuth::Credential => true,
        }
    }
}

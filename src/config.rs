//! Every knob there is: one doc comment each, which is also `--help` and the README's table.
//!
//! Precedence: flag, then `CARTLINK_…` environment variable, then the TOML file, then the default.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Command, FromArgMatches};

use crate::app_links::{AndroidApp, IosApp};
use crate::broadcast::bus::nats;
use crate::db::SILENCE;
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

/// Where a test may have the server die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// After a COMMIT that wrote events, before anybody is told.
    CommitBeforePush,
}

/// Who may use the control listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ControlAuth {
    /// Network on a loopback address, else credential.
    Auto,
    /// Reaching it is enough.
    Network,
    /// A service's access JWT, or its id and secret as Basic.
    Credential,
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl FromStr for Secret {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
}

/// A span of time: `500ms`, `30s`, `15m`, `4h`, `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let number: u64 = number.parse().map_err(|_| "write a span as 30s, 15m, 4h or 30d".to_owned())?;
        let millis = match unit.trim() {
            "ms" => 1,
            "s" | "" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            other => return Err(format!("unknown unit {other:?}: use ms, s, m, h or d")),
        };
        number.checked_mul(millis).map(|ms| Self(Duration::from_millis(ms))).ok_or_else(|| "too long".into())
    }
}

/// So many at once, and one more after each span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// At once.
    pub burst: u32,
    /// For one more.
    pub every: Duration,
}

impl FromStr for Quota {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (burst, every) =
            text.split_once('/').ok_or("write a quota as 5/10s: so many at once, and one more after each span")?;
        let burst = burst.parse().ok().filter(|n| *n > 0).ok_or("a quota's number is 1 or more")?;
        let every: Span = every.parse()?;
        if every.0.is_zero() {
            return Err("a quota's span is 1ms or more".into());
        }
        Ok(Self { burst, every: every.0 })
    }
}

/// The address customers use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    origin: String,
}

impl PublicUrl {
    /// `https://host[:port]`, without a trailing slash.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether cookies can be `Secure`.
    pub fn is_https(&self) -> bool {
        self.origin.starts_with("https://")
    }

    /// The host alone: a name or an address, as a certificate names it.
    pub fn name(&self) -> &str {
        let host = self.host();
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        name.trim_matches(['[', ']'])
    }

    /// Whether browsers may be told to come by https alone from now on (RFC 6797). That holds for every port of a name,
    /// so only where it has the usual one; addresses and this machine's own name are for a try.
    pub fn is_for_good(&self) -> bool {
        let host = self.host();
        self.is_https() && !host.contains([':', '[']) && host != "localhost" && host.parse::<IpAddr>().is_err()
    }

    /// The host, with its port where it has one.
    pub fn host(&self) -> &str {
        self.origin.split_once("://").map_or("", |(_, host)| host)
    }
}

impl FromStr for PublicUrl {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let origin = text.trim_end_matches('/').to_ascii_lowercase();
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        let plain =
            |host: &str| !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b));
        match host {
            Some(host) if plain(host) => Ok(Self { origin }),
            _ => Err("write it as https://host or https://host:port, without a path".into()),
        }
    }
}

/// Secrets everybody knows from examples.
const WELL_KNOWN: &[&str] = &[
    "MySuperPassword42",
    "secret",
    "changeme",
    "password",
    "your-256-bit-secret",
    "supersecret",
    "your-secret-key",
    "SECRET_KEY",
    "a-string-secret-at-least-256-bits-long",
];

impl Config {
    /// As with an empty command line.
    pub fn standard() -> Self {
        let command = Self::augment_args(Command::new("cartlink"));
        let matches = command.get_matches_from(["cartlink"]);
        Self::from_arg_matches(&matches).expect("every setting has a default or is optional")
    }

    /// What is wrong with it beyond single values, in words that say what to do.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |wrong: bool, text: &str| {
            if wrong {
                problems.push(text.to_owned());
            }
        };
        let cluster = self.bus.0 != "local";
        check(
            self.qr_refresh.0 >= self.qr_ttl.0,
            "--qr-refresh must be shorter than --qr-ttl, or screens show dead codes",
        );
        check(self.qr_ttl.0 < Duration::from_secs(5), "--qr-ttl is too short to scan anything: 5s or more");
        check(self.heartbeat.0 < Duration::from_secs(1), "--heartbeat must be 1s or more");
        check(self.database_connections == 0, "--database-connections must be 1 or more");
        check(self.bind == self.bindctl && !self.bind.ends_with(":0"), "--bind and --bindctl must be two addresses");
        let bus = nats::servers(&self.bus.0).err().filter(|_| cluster);
        check(bus.is_some(), &format!("--bus {}", bus.unwrap_or_default()));
        check(
            self.statement_timeout.0 >= SILENCE,
            "--statement-timeout must be less than 12s: what is silent for longer counts as cut off",
        );
        check(
            cluster && self.master_secret.is_none() && self.master_secret_file.is_none(),
            "with --bus every node needs the same --master-secret (or --master-secret-file)",
        );
        check(
            cluster && !self.database().starts_with("postgres"),
            "with --bus the database must be PostgreSQL: --database-url postgres://…",
        );
        let database = self.database();
        check(
            !["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| database.starts_with(scheme)),
            "--database-url starts with sqlite: or postgres://",
        );
        if let Some(secret) = &self.master_secret {
            check(weak(&secret.0), "--master-secret must be 32 bytes or more and not a well-known one");
        }
        check(
            self.master_secret_others.iter().any(|secret| weak(&secret.0)),
            "--master-secret-others must each be 32 bytes or more and not a well-known one",
        );
        if let Some(secret) = &self.secret {
            check(secret.0.len() < 16, "--secret must be 16 bytes or more (32 to be safe)");
            check(
                WELL_KNOWN.contains(&secret.0.as_str()) && !(is_loopback(&self.bind) && is_loopback(&self.bindctl)),
                "--secret is a well-known sample: it is taken only while --bind and --bindctl are both on loopback",
            );
        }
        match (&self.tls_cert, &self.tls_key, self.tls()) {
            (None, None, _) => {}
            (_, _, Some(files)) => {
                check(
                    self.public_url.as_ref().is_some_and(|url| !url.is_https()),
                    "--public-url must begin with https:// where --tls-cert is given: the public listener then speaks nothing else",
                );
                problems.extend(files.check().err());
            }
            _ => check(true, "--tls-cert and --tls-key go together: give both, or neither"),
        }
        problems
    }

    /// What is worth a warning at start.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.secret.as_ref().is_some_and(|secret| secret.0.len() < 32) {
            warnings.push("--secret is shorter than 32 bytes: fine for a try, too short for a store".into());
        }
        if self.public_url.as_ref().is_some_and(|url| !url.is_https()) {
            warnings.push("--public-url is not https: phones open their camera only on https".into());
        }
        if let Some((url, files)) = self.public_url.as_ref().zip(self.tls()) {
            warnings.extend(files.check_name(url.name()).err());
        }
        if self.public_url.is_none() && is_every_address(&self.bind) {
            warnings
                .push("--bind is no address a phone can open: give --public-url, which stands in the QR codes".into());
        }
        warnings
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
            ControlAuth::Auto => !is_loopback(&self.bindctl),
            ControlAuth::Network => false,
            ControlAuth::Credential => true,
        }
    }
}

/// Whether a master secret is too weak to derive keys from.
pub fn weak(secret: &str) -> bool {
    secret.len() < 32 || WELL_KNOWN.contains(&secret)
}

/// Whether `host:port` is reachable from this machine only.
pub fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether `host:port` stands for all of this machine's addresses.
fn is_every_address(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
}

/// The same command with the file's settings as defaults, so that flags and environment win over it.
pub fn with_file(mut command: Command, file: &Path) -> Result<Command, String> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{shown}: {error}"))?;
    let table: toml::Table = text.parse().map_err(|error| format!("{shown}: {error}"))?;
    for (key, value) in table {
        if !command.get_arguments().any(|arg| arg.get_id() == key.as_str()) {
            return Err(format!("{shown}: there is no setting {key:?}; --help lists them"));
        }
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Array(items) => items.iter().filter_map(|item| item.as_str()).collect::<Vec<_>>().join(","),
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(on) => on.to_string(),
            _ => return Err(format!("{shown}: {key} must be a text, a number, true, false or a list of texts")),
        };
        command = command.mut_arg(key, |arg| arg.default_value(text));
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_told_to_come_by_https_alone_where_that_hurts_nothing_else() {
        let for_good = |url: &str| url.parse::<PublicUrl>().unwrap().is_for_good();
        assert!(for_good("https://carts.example"));
        for url in ["http://carts.example", "https://carts.example:8443", "https://192.168.1.5", "https://[fd00::1]"] {
            assert!(!for_good(url), "{url}");
        }
        assert!(!for_good("https://localhost"));
    }

    #[test]
    fn a_host_s_name_has_no_port_and_no_brackets() {
        let hosts = [
            ("a.b:8443", "a.b"),
            ("a.b", "a.b"),
            ("10.0.0.1:1", "10.0.0.1"),
            ("[fd00::1]:8000", "fd00::1"),
            ("[::1]", "::1"),
        ];
        for (host, name) in hosts {
            assert_eq!(format!("https://{host}").parse::<PublicUrl>().unwrap().name(), name);
        }
    }
}

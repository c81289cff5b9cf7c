//! What is wrong with a configuration beyond its single values, and what is worth a warning.

use std::net::IpAddr;
use std::time::Duration;

use super::Config;
use crate::broadcast::bus::nats;
use crate::db::SILENCE;

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
}

/// Whether a master secret is too weak to derive keys from.
pub fn weak(secret: &str) -> bool {
    secret.len() < 32 || WELL_KNOWN.contains(&secret)
}

/// Whether `host:port` is reachable from this machine only.
pub(super) fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether `host:port` stands for all of this machine's addresses.
fn is_every_address(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
}

//! https on the public listener: reads the certificate, and takes the next one while the server runs.
//! The only user of `rustls`.
//!
//! rustls stands in the tree with two providers (reqwest brings aws-lc-rs, sqlx ring), so the process
//! has no default one: this file names its own wherever rustls would ask for it, and chooses for those who cannot.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

pub use rustls::ServerConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;

/// Time between two looks at the files. What replaces certificates does so days before they end.
const LOOK: Duration = Duration::from_secs(1);

/// Where certificate and key lie.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate, and after it those that lead to an authority clients trust.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// What the files held at one look.
struct Pair {
    cert: Vec<u8>,
    key: Vec<u8>,
}

/// Tells one pair from another without keeping a key.
type Print = [u8; 32];

impl Files {
    fn read(&self) -> Result<Pair, String> {
        let read =
            |flag: &str, file: &Path| fs::read(file).map_err(|error| format!("{flag} {}: {error}", file.display()));
        Ok(Pair { cert: read("--tls-cert", &self.cert)?, key: read("--tls-key", &self.key)? })
    }

    /// What is wrong with them, in words that say what to do.
    pub fn check(&self) -> Result<(), String> {
        self.certified(&self.read()?).map(drop)
    }

    /// Whether it is a certificate for this host.
    pub fn check_name(&self, name: &str) -> Result<(), String> {
        let pair = self.read()?;
        let known = self.certified(&pair)?;
        let cert = known.end_entity_cert().and_then(ParsedCertificate::try_from);
        let fits = cert.ok().zip(ServerName::try_from(name).ok()).map(|(cert, name)| verify_server_name(&cert, &name));
        match fits {
            Some(Ok(())) => Ok(()),
            _ => Err(format!(
                "--tls-cert {} is not for {name}, the host of --public-url: phones will refuse it",
                self.cert.display()
            )),
        }
    }

    fn certified(&self, pair: &Pair) -> Result<CertifiedKey, String> {
        let Self { cert, key } = self;
        let (cert, key) = (cert.display(), key.display());
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pair.cert)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("--tls-cert {cert}: is not PEM: {error}"))?;
        if chain.is_empty() {
            return Err(format!(
                "--tls-cert {cert}: holds no certificate; it must be PEM, with the line -----BEGIN CERTIFICATE-----"
            ));
        }
        let private = PrivateKeyDer::from_pem_slice(&pair.key).map_err(|error| match error {
            _ if pair.key.windows(9).any(|text| text == b"ENCRYPTED") => {
                format!("--tls-key {key}: is encrypted; write it without a passphrase: openssl pkey -in {key} -out …")
            }
            pem::Error::NoItemsFound => {
                format!(
                    "--tls-key {key}: holds no private key; it must be PEM, with the line -----BEGIN PRIVATE KEY-----"
                )
            }
            error => format!("--tls-key {key}: is not PEM: {error}"),
        })?;
        CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider()).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => format!(
                "--tls-key {key} does not belong to --tls-cert {cert}: give the key that the file's first certificate was made for"
            ),
            Error::InvalidCertificate(error) => format!("--tls-cert {cert}: its first certificate cannot be read: {error:?}"),
            error => format!("--tls-key {key}: {error}"),
        })
    }
}

impl Pair {
    fn print(&self) -> Print {
        let each = [&self.cert, &self.key].map(Sha256::digest);
        Sha256::digest(each.concat()).into()
    }
}

/// The certificate new connections are shown.
#[derive(Debug)]
pub struct Certificate {
    files: Files,
    /// Never held across an await, and whole after any single step.
    shown: RwLock<(Print, Arc<CertifiedKey>)>,
}

impl Certificate {
    /// As the files have it now.
    pub fn load(files: Files) -> Result<Arc<Self>, String> {
        let pair = files.read()?;
        let shown = RwLock::new((pair.print(), Arc::new(files.certified(&pair)?)));
        Ok(Arc::new(Self { files, shown }))
    }

    fn print(&self) -> Print {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Takes the pair the files hold now, where it is another. Connections that are open keep theirs.
    fn look(&self) -> Result<bool, String> {
        let pair = self.files.read()?;
        let print = pair.print();
        if print == self.print() {
            return Ok(false);
        }
        let next = (print, Arc::new(self.files.certified(&pair)?));
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(true)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.shown.read().unwrap_or_else(PoisonError::into_inner).1))
    }
}

/// Looks at the files for as long as the server runs.
///
/// Two files cannot be replaced in one step: what does not fit at one look is complained about only
/// if it has not changed at the next.
pub async fn watch(certificate: Arc<Certificate>) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut wrong: Option<(String, u64)> = None;
    loop {
        looks.tick().await;
        let looking = Arc::clone(&certificate);
        // A folder may lie on a network.
        let Ok(found) = tokio::task::spawn_blocking(move || looking.look()).await else { return };
        let problem = match found {
            Ok(taken) => {
                if taken {
                    tracing::info!(file = %certificate.files.cert.display(), "new connections get the new certificate");
                } else if wrong.as_ref().is_some_and(|(_, times)| *times > 1) {
                    tracing::info!("the certificate's files are as they were again");
                }
                wrong = None;
                continue;
            }
            Err(problem) => problem,
        };
        let times = wrong.as_ref().filter(|(known, _)| *known == problem).map_or(1, |(_, times)| times + 1);
        if times == 2 {
            tracing::error!(%problem, "the new certificate cannot be used: new connections go on with the one before");
        }
        wrong = Some((problem, times));
    }
}

/// How the public listener speaks TLS: 1.2 or 1.3, HTTP/1.1 alone, and nothing sent before the handshake is over is taken.
pub fn serving(certificate: &Arc<Certificate>) -> Result<ServerConfig, String> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| format!("cannot speak TLS: {error}"))?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::<Certificate>::clone(certificate));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Whether a client that trusts the certificate in this file and no other takes it, at that time, for each of the names.
pub fn serves(cert: &Path, names: &[String], at: Timestamp) -> bool {
    let at = UnixTime::since_unix_epoch(at.since(Timestamp(0)));
    let Ok(cert) = CertificateDer::from_pem_file(cert) else { return false };
    let mut trusted = RootCertStore::empty();
    let trusting = trusted
        .add(cert.clone())
        .ok()
        .and_then(|()| WebPkiServerVerifier::builder_with_provider(Arc::new(trusted), provider()).build().ok());
    let takes = |name: &String| {
        let name = ServerName::try_from(name.as_str()).ok();
        let checked = trusting.as_ref().zip(name).map(|(by, name)| by.verify_server_cert(&cert, &[], &name, &[], at));
        matches!(checked, Some(Ok(_)))
    };
    names.iter().all(takes)
}

/// Chooses for the libraries that reach the database and the bus: asked for one without a choice, rustls panics.
pub fn choose_provider() {
    // Chosen already, by an earlier start in this process: the same.
    let _chosen_before = aws_lc_rs::default_provider().install_default();
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

//! `cartlink demo --lan`: which of this machine's addresses a phone uses, and a certificate for it.
//! The only user of `rcgen`.
//!
//! Phones open their camera on https alone, and no authority signs a certificate for an address like
//! 192.168.1.5: so the demo signs one itself, and the phone asks once whether that is meant.

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use if_addrs::get_if_addrs;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};

use crate::clock::Timestamp;
use crate::config::Config;
use crate::tls;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a certificate is good. The longer, the less often a phone asks again.
const GOOD_FOR: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// One that ends sooner is made anew at the start.
const ENDS_SOON: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What this machine calls itself; of use where a phone comes by a cable (`adb reverse`).
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// An address of this machine and the name of its interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    name: String,
    ip: IpAddr,
}

impl std::fmt::Display for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.ip, self.name)
    }
}

/// Where phones find the demo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lan {
    address: IpAddr,
    others: Vec<Own>,
}

impl Lan {
    /// The address that was asked for, else the one packets leave this machine from. `Err` says what to do.
    pub fn find(asked: Option<IpAddr>) -> Result<Self, String> {
        let own = own().map_err(|error| format!("cannot list this machine's addresses: {error}"))?;
        choose(asked, own, routed())
    }

    /// Has the public listener speak https at this address. The control listener stays where it is.
    pub fn open(&self, config: &mut Config, now: Timestamp) -> Result<(), String> {
        let port = config.bind.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let port = port.ok_or_else(|| format!("--bind {}: write it as 127.0.0.1:8000", config.bind))?;
        config.bind = SocketAddr::new(self.address, port).to_string();
        if config.tls_cert.is_none() && config.tls_key.is_none() {
            let named = config.public_url.as_ref().map(|url| url.name().to_owned());
            let own = OWN_NAMES.map(str::to_owned);
            let mut names: Vec<String> = [self.address.to_string()].into_iter().chain(own).chain(named).collect();
            names.dedup();
            let files = certificate(&config.data, &names, now)?;
            (config.tls_cert, config.tls_key) = (Some(files.cert), Some(files.key));
        }
        Ok(())
    }

    /// This machine's other addresses, for who is asked to open one that does not answer.
    pub fn others(&self) -> &[Own] {
        &self.others
    }
}

/// Whether a client is on this machine itself.
pub fn is_here(client: IpAddr) -> bool {
    let client = client.to_canonical();
    client.is_loopback() || own().is_ok_and(|own| own.iter().any(|own| own.ip == client))
}

/// The addresses a neighbour could reach, IPv4 first because they are easier to read out.
fn own() -> io::Result<Vec<Own>> {
    let mut own: Vec<Own> = get_if_addrs()?
        .into_iter()
        .filter(|interface| !interface.is_loopback() && !interface.is_link_local())
        .map(|interface| Own { ip: interface.ip(), name: interface.name })
        .collect();
    own.sort_by_key(|own| own.ip.is_ipv6());
    Ok(own)
}

/// The address packets to the world would leave from. The target is one of RFC 5737's, and nothing is sent.
fn routed() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn choose(asked: Option<IpAddr>, own: Vec<Own>, routed: Option<IpAddr>) -> Result<Lan, String> {
    let has = |ip: IpAddr| own.iter().any(|own| own.ip == ip);
    let address = match asked {
        Some(ip) if ip.is_loopback() || has(ip) => ip,
        Some(ip) => {
            let list: Vec<String> = own.iter().map(Own::to_string).collect();
            let list = if list.is_empty() { "none beside loopback".into() } else { list.join(", ") };
            return Err(format!("--lan-address {ip} is no address of this machine; it has {list}"));
        }
        None => routed.filter(|ip| has(*ip)).or_else(|| own.first().map(|own| own.ip)).ok_or(
            "this machine has no address beside loopback: connect it to the network the phone is in, \
             or leave --lan out and use the demo on this machine",
        )?,
    };
    Ok(Lan { address, others: own.into_iter().filter(|own| own.ip != address).collect() })
}

/// The certificate kept in the folder, or a new one where that does not fit the names or ends soon.
fn certificate(folder: &Path, names: &[String], now: Timestamp) -> Result<tls::Files, String> {
    let files = tls::Files { cert: folder.join("lan-cert.pem"), key: folder.join("lan-key.pem") };
    if tls::serves(&files.cert, names, now + ENDS_SOON) && files.check().is_ok() {
        return Ok(files);
    }
    let (cert, key) = signed(names, now).map_err(|error| format!("cannot make a certificate: {error}"))?;
    let write = |file: &Path, text: &str, mode: u32| {
        // A file's mode is set when it is made, so an older one goes first.
        let gone = fs::remove_file(file).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        });
        gone.and_then(|()| fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(file))
            .and_then(|mut made| made.write_all(text.as_bytes()))
            .map_err(|error| format!("{}: {error}", file.display()))
    };
    write(&files.key, &key, 0o600)?;
    write(&files.cert, &cert, 0o644)?;
    Ok(files)
}

/// Certificate and key as PEM.
fn signed(names: &[String], now: Timestamp) -> Result<(String, String), rcgen::Error> {
    let moment = |at: Timestamp| SystemTime::UNIX_EPOCH + at.since(Timestamp(0));
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "cartlink demo");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // A phone's clock may be behind.
    params.not_before = moment(now - DAY).into();
    params.not_after = moment(now + GOOD_FOR).into();
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_900_000_000_000);

    fn machine() -> Vec<Own> {
        let own = |name: &str, ip: &str| Own { name: name.into(), ip: ip.parse().unwrap() };
        vec![own("docker0", "172.17.0.1"), own("wlan0", "192.168.1.5")]
    }

    fn chosen(asked: Option<&str>, own: Vec<Own>, routed: Option<&str>) -> Result<String, String> {
        let ip = |text: &str| text.parse().unwrap();
        choose(asked.map(ip), own, routed.map(ip)).map(|lan| lan.address.to_string())
    }

    #[test]
    fn of_several_addresses_it_is_the_one_packets_leave_from_unless_another_is_asked_for() {
        assert_eq!(chosen(None, machine(), Some("192.168.1.5")).unwrap(), "192.168.1.5");
        assert_eq!(chosen(None, machine(), None).unwrap(), "172.17.0.1");
        assert_eq!(chosen(Some("172.17.0.1"), machine(), Some("192.168.1.5")).unwrap(), "172.17.0.1");
        assert_eq!(chosen(Some("127.0.0.2"), vec![], None).unwrap(), "127.0.0.2");
        let refused = chosen(Some("10.0.0.1"), machine(), None).unwrap_err();
        assert!(refused.contains("192.168.1.5 (wlan0)"), "{refused}");
        assert!(chosen(None, vec![], Some("127.0.0.1")).unwrap_err().contains("beside loopback"));
    }

    #[test]
    fn a_certificate_is_kept_while_it_fits_the_address_and_does_not_end_soon() {
        let folder = tempfile::tempdir().unwrap();
        let made = |ip: &str, now| {
            let files = certificate(folder.path(), &[ip.into(), "localhost".into()], now).unwrap();
            fs::read(files.cert).unwrap()
        };
        let first = made("192.168.1.5", NOW);
        assert_eq!(made("192.168.1.5", NOW + DAY), first, "kept");
        let moved = made("192.168.1.6", NOW + DAY);
        assert_ne!(moved, first, "of another address");
        assert_eq!(made("192.168.1.6", NOW + GOOD_FOR - ENDS_SOON), moved, "kept");
        assert_ne!(made("192.168.1.6", NOW + GOOD_FOR), moved, "ends soon");
        fs::write(folder.path().join("lan-key.pem"), "not a key").unwrap();
        made("192.168.1.6", NOW + GOOD_FOR);
        assert!(fs::read_to_string(folder.path().join("lan-key.pem")).unwrap().contains("BEGIN PRIVATE KEY"));
    }
}

//! https on the public listener, to clients nobody here wrote: it answers, streams are as live as without, and the
//! certificate is replaced while the server runs.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use crate::helpers::{Lines, Program, curl, signal};

/// A folder with a certificate for `localhost` and its key.
struct Folder {
    folder: TempDir,
}

impl Folder {
    fn new() -> Self {
        let folder = Self { folder: tempfile::tempdir().unwrap() };
        folder.replace();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts another pair in the place of the one before; returns a copy of the certificate, for clients to trust.
    fn replace(&self) -> Trusted {
        let (cert, key) = pair();
        fs::write(self.path("cert.pem"), &cert).unwrap();
        fs::write(self.path("key.pem"), &key).unwrap();
        let copy = tempfile::NamedTempFile::new().unwrap();
        fs::write(copy.path(), &cert).unwrap();
        Trusted(copy)
    }

    fn flags(&self) -> [String; 2] {
        ["cert", "key"].map(|name| format!("--tls-{name}={}", self.path(&format!("{name}.pem")).display()))
    }

    fn serve(&self, more: &[&str]) -> Program {
        let flags = self.flags();
        Program::start("serve", &self.path("data"), &[&[flags[0].as_str(), &flags[1]], more].concat())
    }
}

/// A certificate for `localhost` and its key, as PEM.
fn pair() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

struct Trusted(tempfile::NamedTempFile);

impl Trusted {
    fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    /// Whether a client that trusts this certificate alone gets an answer on a new connection.
    fn opens(&self, program: &Program) -> bool {
        let output = curl(&["--cacert", self.path(), &url(program, "/livez")]);
        // 60: the certificate is not trusted. Anything else is another fault, and no answer to the question.
        assert!(output.status.success() || output.status.code() == Some(60), "{output:?}");
        output.status.success()
    }
}

fn url(program: &Program, path: &str) -> String {
    format!("https://localhost:{}{path}", program.public.rsplit_once(':').unwrap().1)
}

/// A subscriber's stream of `curl -N`, open.
struct Following {
    curl: Child,
    lines: Lines,
}

impl Following {
    fn start(program: &Program, trusted: &Trusted) -> Self {
        Self::start_for(program, trusted, 600)
    }

    /// With a token that is good for so many seconds.
    fn start_for(program: &Program, trusted: &Trusted, seconds: u32) -> Self {
        let form = ["-d", "userId=u", "-d", "channel=c", "-d", &format!("exp={seconds}")];
        let token = curl(&[&form[..], &[&format!("http://{}/token/", program.control)]].concat());
        let token = String::from_utf8(token.stdout).unwrap().trim().lines().last().unwrap().to_owned();
        let mut curl = Command::new("curl")
            .args(["-sSN", "--cacert", trusted.path(), "-H", &format!("Authorization: Bearer {token}")])
            .arg(url(program, "/events/"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Lines::of(curl.stdout.take().unwrap());
        // The first bytes leave at once.
        lines.until("retry:");
        Self { curl, lines }
    }

    /// Has something told, and waits until it is here.
    fn hears(&self, program: &Program, what: &str) {
        let form = ["-d", "userId=u", "-d", "channel=c", "--data-urlencode", &format!("payload=data: {what}\n\n")];
        let answer = curl(&[&form[..], &[&format!("http://{}/emit/", program.control)]].concat());
        assert!(String::from_utf8(answer.stdout).unwrap().contains("200 OK"));
        self.lines.until(&format!("data: {what}"));
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _gone = self.curl.kill();
        let _reaped = self.curl.wait();
    }
}

#[tokio::test]
async fn https_answers_who_trusts_the_certificate_and_the_control_listener_stays_as_it_is() {
    let folder = Folder::new();
    let trusted = folder.replace();
    let program = folder.serve(&[]);
    // A client that would rather speak HTTP/2 is answered in HTTP/1.1.
    let output = curl(&["--http2", "--cacert", trusted.path(), &url(&program, "/livez")]);
    let answer = String::from_utf8(output.stdout).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let offer = ["s_client", "-connect", &program.public, "-alpn", "h2,http/1.1"];
    let offered = Command::new("openssl").args(offer).stdin(Stdio::null()).output().unwrap();
    let offered = String::from_utf8_lossy(&offered.stdout).into_owned();
    assert!(offered.contains("ALPN protocol: http/1.1"), "{offered}");
    assert!(!answer.to_lowercase().contains("strict-transport-security"), "not for a name with a port: {answer}");

    let root = reqwest::Certificate::from_pem(&fs::read(trusted.path()).unwrap()).unwrap();
    let http = reqwest::Client::builder().tls_certs_only([root]).build().unwrap();
    assert_eq!(http.get(url(&program, "/livez")).send().await.unwrap().status(), 200);

    assert_eq!(curl(&[&url(&program, "/livez")]).status.code(), Some(60), "to others it is unknown");
    let plain = curl(&[&format!("http://{}/livez", program.control)]);
    assert!(String::from_utf8(plain.stdout).unwrap().starts_with("HTTP/1.1 200"));
}

#[test]
fn who_trusts_the_authority_is_shown_the_way_to_it() {
    let folder = Folder::new();
    let authority = |name: &str| {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params, KeyPair::generate().unwrap())
    };
    let (params, key) = authority("root");
    let root = CertifiedIssuer::self_signed(params, key).unwrap();
    let (params, key) = authority("between");
    let between = CertifiedIssuer::signed_by(params, key, &root).unwrap();
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &between).unwrap();
    // All in one file, as some tools keep it.
    let all = format!("{}{}{}", cert.pem(), between.pem(), key.serialize_pem());
    let trusted = folder.replace();
    fs::write(folder.path("cert.pem"), &all).unwrap();
    fs::write(folder.path("key.pem"), &all).unwrap();
    fs::write(trusted.path(), root.pem()).unwrap();
    assert!(trusted.opens(&folder.serve(&[])));
}

#[test]
fn a_host_that_is_there_for_good_tells_browsers_to_come_by_https_alone() {
    let folder = Folder::new();
    let program = folder.serve(&["--public-url=https://carts.example"]);
    let answer = |url: &str| String::from_utf8(curl(&["-k", url]).stdout).unwrap().to_lowercase();
    assert!(answer(&url(&program, "/livez")).contains("strict-transport-security: max-age="));
    assert!(!answer(&format!("http://{}/livez", program.control)).contains("strict-transport-security"));
}

#[test]
fn an_event_comes_through_tls_when_it_is_told_and_goes_on_while_the_certificate_is_replaced() {
    let folder = Folder::new();
    let first = folder.replace();
    let program = folder.serve(&[]);
    let following = Following::start(&program, &first);
    following.hears(&program, "before");

    let second = folder.replace();
    program.log.until("new connections get the new certificate");
    assert!(second.opens(&program) && !first.opens(&program), "new connections see the new one");
    following.hears(&program, "after");
}

#[tokio::test]
async fn over_https_a_reader_that_stops_is_caught_up_when_it_reads_on_and_hears_the_goodbye() {
    let folder = Folder::new();
    let trusted = folder.replace();
    let program = folder.serve(&["--drain=1s"]);
    let mut following = Following::start(&program, &trusted);
    signal(&following.curl, "STOP");
    flood(&program).await;
    signal(&following.curl, "CONT");
    for n in 0..FLOOD {
        let line = following.lines.until("data: ");
        assert!(line.starts_with(&format!("data: {n} ")), "not {n} but {}", &line[..20]);
    }
    program.terminate();
    following.lines.until("the server is restarting");
    assert!(following.curl.wait().unwrap().success(), "the body has its end, and so has the encrypted connection");
}

/// Events of 50 KB each: more than all buffers between hold.
const FLOOD: usize = 300;

async fn flood(program: &Program) {
    let (http, emit) = (reqwest::Client::new(), format!("http://{}/emit/", program.control));
    for n in 0..FLOOD {
        let form = [("userId", "u"), ("channel", "c"), ("payload", &format!("data: {n} {}", "x".repeat(50_000)))];
        assert_eq!(http.post(&emit).form(&form).send().await.unwrap().status(), 200);
    }
}

/// By the real clock: nothing wakes the stream but itself.
#[tokio::test]
async fn over_https_a_reader_that_stopped_is_cut_when_its_credential_expires() {
    let folder = Folder::new();
    let trusted = folder.replace();
    // What it waits for otherwise, its next heartbeat, comes long before.
    let program = folder.serve(&["--heartbeat=1s"]);
    let following = Following::start_for(&program, &trusted, 8);
    signal(&following.curl, "STOP");
    flood(&program).await;
    let flooded = Instant::now();
    let metrics = format!("http://{}/metrics", program.control);
    while !String::from_utf8(curl(&[&metrics]).stdout).unwrap().contains("\ncartlink_streams 0\n") {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(flooded.elapsed() < Duration::from_secs(14), "only TCP_USER_TIMEOUT ended it");
}

#[test]
fn a_broken_replacement_changes_nothing_and_is_named() {
    let folder = Folder::new();
    let first = folder.replace();
    let program = folder.serve(&[]);
    let spoil = |name: &str, text: &str| fs::write(folder.path(name), text).unwrap();

    spoil("cert.pem", "half a certificate");
    let line = program.log.until("cannot be used");
    assert!(line.contains("cert.pem") && line.contains("no certificate"), "{line}");
    assert!(first.opens(&program));

    let (cert, _) = pair();
    spoil("cert.pem", &cert);
    let line = program.log.until("cannot be used");
    assert!(line.contains("does not belong"), "{line}");
    assert!(first.opens(&program));

    fs::remove_file(folder.path("key.pem")).unwrap();
    let line = program.log.until("cannot be used");
    assert!(line.contains("key.pem"), "{line}");
    assert!(first.opens(&program));

    let second = folder.replace();
    program.log.until("new connections get the new certificate");
    assert!(second.opens(&program));
}

#[test]
fn who_leaves_handshakes_unfinished_keeps_nobody_out() {
    let folder = Folder::new();
    let trusted = folder.replace();
    let program = folder.serve(&["--workers=1"]);
    let answered_beside = || {
        // More than actix would let wait at once by itself.
        let silent: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(&program.public).unwrap()).collect();
        let output = curl(&["--cacert", trusted.path(), &url(&program, "/livez")]);
        assert!(output.status.success(), "{output:?}");
        // It did not have to wait until the others were given up.
        silent.into_iter().all(|mut silent| {
            silent.set_nonblocking(true).unwrap();
            silent.read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
        })
    };
    // A machine may stand still for the ten seconds after which they are, but not each time.
    assert!((0..5).any(|_| answered_beside()), "who shakes hands waits for those who do not");
}

#[test]
fn a_certificate_that_cannot_work_is_refused_at_the_start_and_by_config_check() {
    let folder = Folder::new();
    let [cert, key] = folder.flags();
    let cases: [(&[&str], &str); 4] = [
        (&[&cert], "--tls-cert and --tls-key go together"),
        (&[&key], "--tls-cert and --tls-key go together"),
        (&[&cert, "--tls-key=nowhere.pem"], "--tls-key nowhere.pem: No such file"),
        (&[&cert, &key, "--public-url=http://carts.example"], "--public-url must begin with https://"),
    ];
    for (flags, sentence) in cases {
        refused(&folder.path("data"), flags, sentence);
    }
    let spoiled = |name: &str, text: &str, sentence: &str| {
        fs::write(folder.path(name), text).unwrap();
        refused(&folder.path("data"), &[&cert, &key], sentence);
        folder.replace();
    };
    spoiled("key.pem", &pair().1, "does not belong to");
    spoiled("key.pem", "", "holds no private key");
    for encrypted in ENCRYPTED {
        spoiled("key.pem", encrypted, "is encrypted; write it without a passphrase");
    }
    spoiled("cert.pem", "", "holds no certificate");
    spoiled("cert.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read");
    let warns = |url: &str| {
        let output = check(&[&cert, &key, &format!("--public-url={url}")]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).contains("is not for carts.example")
    };
    assert!(!warns("https://localhost:8443") && warns("https://carts.example"));
}

/// The wrappings of encrypted keys, new and old, with nothing in them.
const ENCRYPTED: [&str; 2] = [
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
];

fn check(flags: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_cartlink")).args(["config", "check"]).args(flags).output().unwrap()
}

fn refused(data: &Path, flags: &[&str], sentence: &str) {
    let said = Program::refusal("serve", data, flags);
    assert!(said.contains(sentence), "{flags:?}: {said}");
    let output = check(flags);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(sentence), "{flags:?}: {said}");
}

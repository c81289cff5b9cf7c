//! The engines under a cluster: a PostgreSQL and NATS servers, each a process of this test's own that it may stop, stall
//! and kill.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, QueryResult, Statement};
use tempfile::TempDir;

use super::{free_port, namespace};

/// Sends a process a signal by its name.
pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status().unwrap();
    assert!(sent.success(), "kill -{name}");
}

/// Waits until somebody listens on `port`.
async fn listening(port: u16, child: &mut Child, what: &str) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(90);
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        assert!(child.try_wait().unwrap().is_none(), "{what} has ended");
        assert!(tokio::time::Instant::now() < deadline, "{what} listens within 90 s");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A NATS server.
pub struct Nats {
    pub port: u16,
    more: Vec<String>,
    child: Option<Child>,
}

impl Nats {
    pub async fn start() -> Self {
        Self::with(Vec::new()).await
    }

    /// With arguments of its own.
    pub async fn with(more: Vec<String>) -> Self {
        let mut nats = Self { port: free_port(), more, child: None };
        nats.start_again().await;
        nats
    }

    /// None at all.
    pub fn nowhere() -> Self {
        Self { port: free_port(), more: Vec::new(), child: None }
    }

    /// Three servers that know each other, with these arguments each.
    pub async fn three(more: &[String]) -> [Self; 3] {
        let ports = [free_port(), free_port(), free_port()];
        let routes = ports.map(|port| format!("nats://127.0.0.1:{port}")).join(",");
        let one = async |port: u16| {
            let mut own = vec![format!("--cluster=nats://127.0.0.1:{port}"), format!("--routes={routes}")];
            own.extend(["--cluster_name=test".to_owned()].into_iter().chain(more.iter().cloned()));
            Self::with(own).await
        };
        [one(ports[0]).await, one(ports[1]).await, one(ports[2]).await]
    }

    /// On the same port: the same server, or its replacement, for it remembers nothing.
    pub async fn start_again(&mut self) {
        let address = if namespace::is_inside() { "0.0.0.0" } else { "127.0.0.1" };
        let mut child = Command::new("nats-server")
            .args(["-a", address, "-p", &self.port.to_string()])
            .args(&self.more)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server is installed: run tests/run");
        listening(self.port, &mut child, "NATS").await;
        self.child = Some(child);
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// As an operator announces that it will stop.
    pub fn become_lame_duck(&self) {
        signal(self.child.as_ref().unwrap(), "USR2");
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A PostgreSQL server on a folder of its own.
pub struct Postgres {
    pub port: u16,
    folder: TempDir,
    bin: PathBuf,
    account: Option<(u32, u32)>,
    more: &'static [&'static str],
    child: Option<Child>,
}

impl Postgres {
    pub async fn start() -> Self {
        let mut postgres = Self::prepare();
        postgres.start_again().await;
        postgres
    }

    /// One that tells what it is asked.
    pub async fn talkative() -> Self {
        let mut postgres = Self::prepare();
        postgres.more = &["-c", "log_statement=all", "-c", "log_parameter_max_length=0"];
        postgres.start_again().await;
        postgres
    }

    /// One that lets nobody in but over TLS, with this certificate and key.
    pub async fn over_tls(certificate: &Path, key: &Path) -> Self {
        let mut postgres = Self::prepare();
        let data = postgres.folder.path().join("data");
        for (from, name) in [(certificate, "server.crt"), (key, "server.key")] {
            let to = data.join(name);
            std::fs::copy(from, &to).unwrap();
            // It takes no key that others can read.
            std::fs::set_permissions(&to, PermissionsExt::from_mode(0o600)).unwrap();
            if let Some((uid, gid)) = postgres.account {
                chown(&to, Some(uid), Some(gid)).unwrap();
            }
        }
        std::fs::write(data.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 trust\n").unwrap();
        postgres.more = &["-c", "ssl=on"];
        postgres.start_again().await;
        postgres
    }

    /// How many statements so far had `one` in them, and how many `other`.
    pub fn said(&self, one: &str, other: &str) -> (usize, usize) {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
        let of = |text: &str| log.lines().filter(|line| line.contains("execute ") && line.contains(text)).count();
        (of(one), of(other))
    }

    /// Initialised, but not started.
    pub fn prepare() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let account = account();
        if let Some((uid, gid)) = account {
            // It refuses to run as root, and has to get at its folder.
            std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o711)).unwrap();
            chown(&data, Some(uid), Some(gid)).unwrap();
        }
        let postgres = Self { port: free_port(), bin: bin(), account, more: &[], child: None, folder };
        let made = postgres
            .command("initdb")
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success(), "initdb");
        let mut hba = std::fs::File::options().append(true).open(data.join("pg_hba.conf")).unwrap();
        hba.write_all(b"host all all 10.9.0.0/16 trust\n").unwrap();
        postgres
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir("/");
        if let Some((uid, gid)) = self.account {
            command.uid(uid).gid(gid);
        }
        command
    }

    pub async fn start_again(&mut self) {
        let data = self.folder.path().join("data");
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let addresses = if namespace::is_inside() { "listen_addresses=*" } else { "listen_addresses=127.0.0.1" };
        let mut child = self
            .command("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-p", &self.port.to_string(), "-c", addresses, "-c", "max_connections=200", "-c"])
            .arg(format!("unix_socket_directories={}", data.display()))
            .args(self.more)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        listening(self.port, &mut child, "PostgreSQL").await;
        self.child = Some(child);
    }

    /// As an operator stops it: sessions are cut, data is safe.
    pub async fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        signal(&child, "INT");
        while child.try_wait().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A look at its rows, past all nodes.
    pub async fn rows(&self) -> Rows {
        let mut options = sea_orm::ConnectOptions::new(self.url());
        options.max_connections(1).sqlx_logging(false);
        Rows(Database::connect(options).await.unwrap())
    }

    pub fn url(&self) -> String {
        self.url_at(&format!("127.0.0.1:{}", self.port))
    }

    pub fn url_at(&self, address: &str) -> String {
        format!("postgres://postgres@{address}/postgres")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // At once, but with its children.
            signal(&child, "QUIT");
            let _reaped = child.wait();
        }
    }
}

/// A connection of the test's own.
pub struct Rows(DatabaseConnection);

impl Rows {
    pub async fn rows(&self, text: &str) -> Vec<QueryResult> {
        let statement = || Statement::from_string(DbBackend::Postgres, text);
        // The connection may have been cut with the others'.
        let mut tries = 0;
        loop {
            match self.0.query_all_raw(statement()).await {
                Ok(rows) => return rows,
                Err(error) if tries == 300 => panic!("{error}"),
                Err(_) => tries += 1,
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The one number a query gives.
    pub async fn number(&self, text: &str) -> i64 {
        self.rows(text).await[0].try_get_by_index(0).unwrap()
    }

    pub async fn run(&self, text: &str) {
        self.0.execute_unprepared(text).await.unwrap();
    }

    /// Waits until a query gives this number.
    pub async fn until(&self, text: &str, number: i64) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
        loop {
            let now = self.number(text).await;
            if now == number {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{text}: {now} and not {number} after 120 s");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The account PostgreSQL's package made, where this test runs as root.
fn account() -> Option<(u32, u32)> {
    if !is_root() {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap();
    let entry = ["postgres:", "nobody:"].iter().find_map(|name| accounts.lines().find(|line| line.starts_with(name)));
    let fields: Vec<&str> = entry.expect("an account for PostgreSQL").split(':').collect();
    Some((fields[2].parse().unwrap(), fields[3].parse().unwrap()))
}

pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The newest PostgreSQL installed.
fn bin() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut bins: Vec<PathBuf> =
        versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists()).collect();
    bins.sort();
    bins.pop().unwrap_or_else(|| Path::new("/usr/bin").to_owned())
}

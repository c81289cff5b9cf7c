//! Nodes: processes of the real program, on free ports, on one database and one bus.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::engines::signal;
use super::{Island, Nats, Phone, Postgres, Staff, free_port};

const ADMIN: (&str, &str) = ("root@cluster.example", "a long enough passphrase");
pub const SECRET: &str = "0f5b1c3a7e9d2846b0c1d2e3f4a5968778695a4b3c2d1e0f";

/// How many people there are so far, over all nodes.
static PEOPLE: AtomicU32 = AtomicU32::new(0);

/// One node, as actors see it.
pub struct World {
    pub http: reqwest::Client,
    pub address: String,
    folder: TempDir,
    flags: Vec<String>,
    surroundings: Vec<(String, String)>,
    island: Option<Arc<Island>>,
    child: Option<Child>,
}

impl World {
    /// A node with these flags, not started yet.
    pub fn prepare(flags: &[String]) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(120)).build().unwrap();
        let mut flags = flags.to_vec();
        flags.push(format!("--master-secret={SECRET}"));
        Self {
            http,
            // A port that a restart finds free again.
            address: format!("127.0.0.1:{}", free_port()),
            folder: tempfile::tempdir().unwrap(),
            flags,
            surroundings: Vec::new(),
            island: None,
            child: None,
        }
    }

    /// It will run there.
    pub fn on_island(mut self, island: &Arc<Island>) -> Self {
        self.address = format!("{}:{}", island.clients.far(), free_port());
        self.island = Some(Arc::clone(island));
        self
    }

    /// Gives it a clock that can be set wrong.
    pub fn false_clock(&mut self) -> FalseClock {
        let libraries =
            std::fs::read_dir("/usr/lib").unwrap().flatten().map(|of| of.path().join("faketime/libfaketimeMT.so.1"));
        let library =
            libraries.into_iter().find(|file| file.exists()).expect("libfaketime is installed: run tests/run");
        let clock = FalseClock(self.folder.path().join("clock"));
        let show = |path: &Path| path.display().to_string();
        for (name, value) in [
            ("LD_PRELOAD", show(&library)),
            ("FAKETIME_TIMESTAMP_FILE", show(&clock.0)),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ] {
            self.surroundings.push((name.into(), value));
        }
        clock
    }

    /// Starts the process; on the same port as before, if there was one.
    pub fn spawn(&mut self) {
        let _absent_at_first = std::fs::remove_file(self.ports());
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let child = self
            .command("serve")
            .args([format!("--bind={}", self.address), "--bindctl=127.0.0.1:0".into(), "--drain=6s".into()])
            .args(self.wide())
            .arg(format!("--ports-file={}", self.ports().display()))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Limits that get into nobody's way, where the test has set none of its own.
    fn wide(&self) -> impl Iterator<Item = String> {
        let limits = [("mints", "1000000/1ms"), ("scans", "1000000/1ms"), ("address", "1000000/1ms")];
        let limits = limits.map(|(what, quota)| format!("--limit-{what}={quota}"));
        let streams = ["customer", "cart"].map(|whose| format!("--streams-per-{whose}=1000"));
        // Codes live long enough for however busy a machine.
        let codes = ["--qr-ttl=10m", "--qr-refresh=9m"].map(str::to_owned);
        let own = |flag: &String| {
            let name = flag.split_once('=').map_or("", |(name, _)| name);
            self.flags.iter().any(|own| own.starts_with(name))
        };
        limits.into_iter().chain(streams).chain(codes).filter(move |flag| !own(flag))
    }

    fn ports(&self) -> std::path::PathBuf {
        self.folder.path().join("ports")
    }

    fn command(&self, words: &str) -> Command {
        let program = env!("CARGO_BIN_EXE_cartlink");
        let mut command = self.island.as_ref().map_or_else(|| Command::new(program), |island| island.command(program));
        command.envs(self.surroundings.iter().map(|(name, value)| (name, value)));
        command.args(words.split(' ')).arg(format!("--data={}", self.folder.path().display())).args(&self.flags);
        command
    }

    /// Runs one of the program's other words to its end.
    pub fn run(&self, words: &str, input: &str) -> String {
        let mut child =
            self.command(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cartlink {words}: {said}");
        said
    }

    /// Waits until it serves.
    pub async fn ready(&mut self) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
        let text = loop {
            if let Ok(text) = std::fs::read_to_string(self.ports()) {
                break text;
            }
            assert!(self.child.as_mut().unwrap().try_wait().unwrap().is_none(), "the node has ended:\n{}", self.log());
            assert!(tokio::time::Instant::now() < deadline, "the node serves within 120 s:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        self.address = text.lines().next().unwrap().to_owned();
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(Path::join(self.folder.path(), "log")).unwrap_or_default()
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops it as an operator does, and waits until it has.
    pub async fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        signal(&child, "TERM");
        while child.try_wait().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// From its next start on, it signs with `current` and takes what `other` signed, too.
    pub fn set_secret(&mut self, current: &str, other: &str) {
        self.flags.retain(|flag| !flag.starts_with("--master-secret"));
        self.flags.push(format!("--master-secret={current}"));
        if !other.is_empty() {
            self.flags.push(format!("--master-secret-others={other}"));
        }
    }

    /// What it said before it ended by itself.
    pub async fn ended(&mut self) -> String {
        while self.child.as_mut().unwrap().try_wait().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.log()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// On the control listener.
    pub fn control(&self, path: &str) -> String {
        let ports = std::fs::read_to_string(self.ports()).unwrap();
        format!("http://{}{path}", ports.lines().nth(1).unwrap())
    }

    /// A figure of `/metrics`, with its labels where it has some; 0 where there is none yet.
    pub async fn figure(&self, name: &str) -> f64 {
        let text = self.http.get(self.control("/metrics")).send().await.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |figure| figure.parse().unwrap())
    }

    /// A number nobody has had yet.
    pub fn fresh(&self) -> u32 {
        PEOPLE.fetch_add(1, Ordering::Relaxed)
    }

    pub async fn phone(&self) -> Phone<'_> {
        Phone::guest(self).await
    }

    pub async fn admin(&self) -> Staff<'_> {
        Staff::sign_in(self, ADMIN.0, ADMIN.1).await
    }

    pub fn create_admin(&self) {
        self.run(&format!("admin create --email={}", ADMIN.0), &format!("{}\n", ADMIN.1));
    }

    /// What `/readyz` answers.
    pub async fn readiness(&self) -> (u16, String) {
        match self.http.get(self.url("/readyz")).send().await {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap()),
            Err(error) => (0, error.to_string()),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("node {}:\n{}", self.address, self.log());
        }
    }
}

/// What a node takes for the time.
pub struct FalseClock(PathBuf);

impl FalseClock {
    /// From now on, in seconds: `+3`.
    pub fn is_off_by(&self, seconds: &str) {
        let partial = self.0.with_extension("partial");
        std::fs::write(&partial, format!("{seconds}\n")).unwrap();
        std::fs::rename(partial, &self.0).unwrap();
    }
}

/// Three nodes on one database and one bus.
pub struct Cluster {
    pub nodes: Vec<World>,
    pub postgres: Postgres,
    pub nats: Nats,
}

impl Cluster {
    pub async fn start() -> Self {
        Self::on(Self::engines().await, |_| Vec::new()).await
    }

    pub async fn engines() -> (Postgres, Nats) {
        (Postgres::start().await, Nats::start().await)
    }

    /// With flags of each node's own, which may replace those for database and bus.
    pub async fn on((postgres, nats): (Postgres, Nats), own: impl Fn(usize) -> Vec<String>) -> Self {
        let nodes = [0, 1, 2].map(|at| World::prepare(&with_engines(own(at), &postgres, &nats)));
        Self::of(nodes, postgres, nats).await
    }

    /// With node C on an island.
    pub async fn with_island(own: &[String]) -> (Self, Arc<Island>) {
        let (postgres, nats) = Self::engines().await;
        let island = Arc::new(Island::new());
        let database = postgres.url_at(&format!("{}:{}", island.database.near(), postgres.port));
        let bus = format!("nats://{}:{}", island.bus.near(), nats.port);
        let far = [format!("--database-url={database}"), format!("--bus={bus}")];
        let nodes = [0, 1, 2].map(|at| {
            let links = if at == 2 { far.to_vec() } else { Vec::new() };
            let node = World::prepare(&with_engines([own, &links].concat(), &postgres, &nats));
            if at == 2 { node.on_island(&island) } else { node }
        });
        (Self::of(nodes, postgres, nats).await, island)
    }

    /// Of these, which have not started yet.
    pub async fn of(nodes: [World; 3], postgres: Postgres, nats: Nats) -> Self {
        let mut nodes = Vec::from(nodes);
        for node in &mut nodes {
            node.spawn();
            node.ready().await;
        }
        nodes[0].create_admin();
        let patient = serde_json::json!({ "settings": { "pickup": 600 } });
        nodes[0].admin().await.send_json(reqwest::Method::PATCH, "/admin/stores/1", &patient).await.ok();
        Self { nodes, postgres, nats }
    }

    /// Nodes A, B and C.
    pub fn abc(&self) -> [&World; 3] {
        [&self.nodes[0], &self.nodes[1], &self.nodes[2]]
    }
}

fn with_engines(mut flags: Vec<String>, postgres: &Postgres, nats: &Nats) -> Vec<String> {
    for (name, value) in [("--database-url=", postgres.url()), ("--bus=", nats.url())] {
        if !flags.iter().any(|flag| flag.starts_with(name)) {
            flags.push(format!("{name}{value}"));
        }
    }
    flags
}

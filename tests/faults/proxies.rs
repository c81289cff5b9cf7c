//! The stream through the proxies people put in front, in the configuration the README shows.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::load::Load;
use crate::ports::free_port;
use crate::program::Program;

/// A proxy as a process; killed when dropped.
struct Proxy {
    command: Vec<String>,
    folder: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Proxy {
    /// `command` starts it; CONFIG and FOLDER are filled in, as are PORT and UPSTREAM in the configuration.
    async fn start(program: &Program, config: &str, command: &[&str]) -> Self {
        let (port, folder) = (free_port(), program.folder().to_owned());
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proxies").join(config);
        let text = fs::read_to_string(template).unwrap();
        let folder_name = folder.display().to_string();
        let text = text.replace("UPSTREAM", &program.port.to_string()).replace("PORT", &port.to_string());
        let path = folder.join(config);
        fs::write(&path, text.replace("FOLDER", &folder_name)).unwrap();
        let fill = |word: &&str| word.replace("CONFIG", &path.display().to_string()).replace("FOLDER", &folder_name);
        let mut proxy = Self { command: command.iter().map(fill).collect(), folder, port, child: None };
        proxy.again().await;
        proxy
    }

    async fn again(&mut self) {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).env("XDG_DATA_HOME", &self.folder).env("XDG_CONFIG_HOME", &self.folder);
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "{} does not listen", self.command[0]);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks it to end, and its workers with it, as a restart does.
    async fn stop(&mut self) {
        let Some(child) = &mut self.child else { return };
        let _may_be_gone = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        let deadline = Instant::now() + Duration::from_secs(60);
        while child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "{} does not stop", self.command[0]);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.child = None;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        // A SIGKILL would leave workers behind, a SIGTERM waits for streams: they end with the program under test.
        let _may_be_gone = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    }
}

async fn every_event_passes(config: &str, command: &[&str]) {
    // Nothing but the event itself moves the stream: what a proxy held back would stay there.
    let program = Program::start(&["--heartbeat=10m"]).await;
    let mut proxy = Proxy::start(&program, config, command).await;
    // Connected means: the first byte has come through.
    let mut load = Load::gather(&program, &format!("http://127.0.0.1:{}", proxy.port), 2, 4).await;
    let mut longest = Duration::ZERO;
    for n in 1..=20 {
        let sent = Instant::now();
        assert_eq!(program.emit("channel-0", &format!("event {n}")).await, Ok(n));
        for (_, follower) in load.followers.iter().filter(|(channel, _)| channel == "channel-0") {
            follower.until("an event by itself", |heard| heard.last_seq == n).await;
        }
        longest = longest.max(sent.elapsed());
    }
    println!("{config}: an event by itself is there after {longest:?} at most");
    load.publish(&program, Duration::from_millis(5));
    load.until_promised(100).await;
    proxy.stop().await;
    let meanwhile = load.promised() + 100;
    load.until_promised(meanwhile).await;
    proxy.again().await;
    load.rest_and_check().await;
}

#[tokio::test]
async fn through_nginx_every_event_arrives_at_once_and_a_restart_heals() {
    every_event_passes("nginx.conf", &["nginx", "-p", "FOLDER", "-c", "CONFIG"]).await;
}

#[tokio::test]
async fn through_haproxy_every_event_arrives_at_once_and_a_restart_heals() {
    every_event_passes("haproxy.cfg", &["haproxy", "-f", "CONFIG"]).await;
}

#[tokio::test]
async fn through_caddy_every_event_arrives_at_once_and_a_restart_heals() {
    every_event_passes("Caddyfile", &["caddy", "run", "--config", "CONFIG", "--adapter", "caddyfile"]).await;
}

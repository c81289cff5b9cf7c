//! The program under test, as a process that can be killed and started again on the same ports.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::ports::free_port;

/// A running program; killed when dropped.
pub struct Program {
    child: Option<Child>,
    pub port: u16,
    pub control: u16,
    folder: TempDir,
    data: PathBuf,
    flags: Vec<String>,
    pub http: reqwest::Client,
}

impl Program {
    pub async fn start(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        Self::start_in(folder, data, flags).await
    }

    /// Keeps its data in a folder of the test's choice.
    pub async fn start_in(folder: TempDir, data: PathBuf, flags: &[&str]) -> Self {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let http = reqwest::Client::builder().pool_max_idle_per_host(64).build().unwrap();
        let mut program = Self { child: None, port: free_port(), control: free_port(), folder, data, flags, http };
        program.again().await;
        program
    }

    /// Starts it, or starts it again, and waits until it is ready.
    pub async fn again(&mut self) {
        self.kill();
        let child = Command::new(env!("CARGO_BIN_EXE_cartlink"))
            .arg("serve")
            .arg(format!("--bind=127.0.0.1:{}", self.port))
            .arg(format!("--bindctl=127.0.0.1:{}", self.control))
            .arg(format!("--data={}", self.data.display()))
            .args(["--secret=thirty-two bytes for subscribers", "--log=error", "--drain=1s"])
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let ready = self.public("/readyz");
        let started = async {
            while !self.http.get(&ready).send().await.is_ok_and(|answer| answer.status() == 200) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(90), started).await.expect("the program is ready within 90 s");
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone = child.kill();
            let _reaped = child.wait();
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the program is running").id()
    }

    pub fn public(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn controlled(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.control)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A subscriber's JWT, as the control listener makes it.
    pub async fn token(&self, channel: &str) -> String {
        let form = [("userId", "someone"), ("channel", channel), ("exp", "86400")];
        let answer = self.http.post(self.controlled("/token/")).form(&form).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.text().await.unwrap()
    }

    /// Publishes one event: its number, or the status of the refusal (0 where there was no answer).
    pub async fn emit(&self, channel: &str, data: &str) -> Result<u64, u16> {
        let form = [("userId", "someone"), ("channel", channel), ("payload", &format!("data: {data}\n\n"))];
        let sent = self.http.post(self.controlled("/emit/")).form(&form).timeout(Duration::from_secs(120)).send().await;
        let answer = sent.map_err(|_| 0u16)?;
        if answer.status() != 200 {
            return Err(answer.status().as_u16());
        }
        let id = answer.headers()["event-id"].to_str().unwrap();
        Ok(id.rsplit_once('.').unwrap().1.parse().unwrap())
    }

    /// A figure of the process, from /proc/<pid>/status, in KiB.
    pub async fn gauge(&self, name: &str) -> f64 {
        let text = reqwest::get(self.controlled("/metrics")).await.unwrap().text().await.unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }

    pub fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

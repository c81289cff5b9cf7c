//! The real program as a process, and what it and other processes say while they run.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

/// What a process writes, line by line, as it comes.
pub struct Lines(Receiver<String>);

impl Lines {
    pub fn of(source: impl Read + Send + 'static) -> Self {
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self(lines)
    }

    /// Waits for a line with this text in it; it and those before it are gone then.
    pub fn until(&self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            match self.0.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("no line with {text:?} among {seen:#?}"),
            }
        }
    }

    /// The lines up to one with this text in it.
    pub fn up_to(&self, text: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while let Ok(line) = self.0.recv_timeout(PATIENCE) {
            if line.contains(text) {
                return lines;
            }
            lines.push(line);
        }
        panic!("no line with {text:?} among {lines:#?}")
    }
}

/// A running program; killed when dropped.
pub struct Program {
    child: Child,
    /// Its log, as JSON.
    pub log: Lines,
    pub said: Lines,
    /// Where it listens.
    pub public: String,
    pub control: String,
}

impl Program {
    /// Starts it on free ports of its own, and waits until it serves.
    pub fn start(word: &str, data: &Path, flags: &[&str]) -> Self {
        let mut child = command(word, data, flags).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (log, said) = (Lines::of(child.stderr.take().unwrap()), Lines::of(child.stdout.take().unwrap()));
        let serving: Value = serde_json::from_str(&log.until("\"serving\"")).unwrap();
        let bound = |which: &str| serving["fields"][which].as_str().unwrap().to_owned();
        Self { child, log, said, public: bound("public"), control: bound("control") }
    }

    /// What it says where it does not start.
    pub fn refusal(word: &str, data: &Path, flags: &[&str]) -> String {
        let output = command(word, data, flags).output().unwrap();
        assert!(!output.status.success(), "it started");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        signal(&self.child, "TERM");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn command(word: &str, data: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cartlink"));
    command.args([word, "--bind=127.0.0.1:0", "--bindctl=127.0.0.1:0", "--log=cartlink=info", "--log-json"]);
    command.arg(format!("--data={}", data.display())).args(flags).stdin(Stdio::null());
    command
}

pub fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status().unwrap().success());
}

/// `curl`: a client nobody here wrote. `-i` shows the head, too.
pub fn curl(args: &[&str]) -> Output {
    Command::new("curl").args(["-sS", "-i", "--max-time", "120"]).args(args).output().unwrap()
}

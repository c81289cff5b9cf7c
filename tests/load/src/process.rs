//! A server as a process: started on a core of its own, asked what it costs, stopped by its pid.

use std::collections::HashMap;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A running server; killed when dropped, as a crash would.
pub struct Server {
    pid: u32,
    /// None for one that somebody else started: it is measured, not stopped.
    child: Option<Child>,
}

impl Server {
    /// Starts `program` on `core` and waits until `ready` accepts connections.
    pub fn start(
        core: usize,
        program: &str,
        args: &[String],
        envs: &[(String, String)],
        ready: SocketAddr,
    ) -> Result<Self, String> {
        let child = Command::new("taskset")
            .args(["-c", &core.to_string(), program])
            .args(args)
            .envs(envs.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|why| format!("{program}: {why}"))?;
        let mut server = Self { pid: child.id(), child: Some(child) };
        server.wait_ready(ready).map_err(|why| format!("{program}: {why}"))?;
        Ok(server)
    }

    /// A server that already runs.
    pub fn running(pid: u32) -> Self {
        Self { pid, child: None }
    }

    fn wait_ready(&mut self, ready: SocketAddr) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if TcpStream::connect(ready).is_ok() {
                return Ok(());
            }
            if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
                return Err(format!("stopped at once ({status})"));
            }
            sleep(Duration::from_millis(1));
        }
        Err(format!("not listening on {ready} after 60 s"))
    }

    /// Seconds of processor time the server and its children have used so far.
    pub fn cpu(&self) -> f64 {
        self.family().iter().filter_map(|pid| cpu_of(*pid)).sum()
    }

    /// Proportional set size of the server and its children, in KiB.
    pub fn pss_kib(&self) -> u64 {
        self.family().iter().filter_map(|pid| pss_of(*pid)).sum()
    }

    fn family(&self) -> Vec<u32> {
        let parents: HashMap<u32, u32> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
            .filter_map(|pid| Some((pid, stat_fields(pid)?.get(1)?.parse().ok()?)))
            .collect();
        let mut family = vec![self.pid];
        let mut at = 0;
        while let Some(&parent) = family.get(at) {
            family.extend(parents.iter().filter(|(_, of)| **of == parent).map(|(pid, _)| *pid));
            at += 1;
        }
        family
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        for pid in self.family() {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status();
        }
        let _ = child.wait();
    }
}

/// The fields of /proc/<pid>/stat from the state on; the name before them may hold spaces.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}

pub fn cpu_of(pid: u32) -> Option<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let fields = stat_fields(pid)?;
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

/// Seconds of processor time that the whole machine has spent busy and idle so far, over all cores: where no idle time
/// is left, no software of ours could have done more.
pub fn machine() -> (f64, f64) {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<f64> = stat
        .lines()
        .next()
        .into_iter()
        .flat_map(str::split_whitespace)
        .filter_map(|field| field.parse().ok())
        .collect();
    let idle: f64 = ticks.iter().skip(3).take(2).sum();
    // user, nice, system, idle, iowait, irq, softirq, steal; what guests use is counted in the first two.
    let all: f64 = ticks.iter().take(8).sum();
    ((all - idle) / TICKS_PER_SECOND, idle / TICKS_PER_SECOND)
}

fn pss_of(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find(|line| line.starts_with("Pss:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Keeps this process on `core`, away from the server's.
pub fn pin_self(core: usize) {
    let pid = std::process::id().to_string();
    let _ = Command::new("taskset").args(["-a", "-cp", &core.to_string(), &pid]).stdout(Stdio::null()).status();
}

/// What a command prints, trimmed; empty where it cannot be run.
pub fn output(program: &str, args: &[&str]) -> String {
    Command::new(program)
        .args(args)
        .output()
        .map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned())
        .unwrap_or_default()
}

/// A port nobody listens on now, outside the range from which clients' ports are taken.
pub fn free_port() -> Result<u16, String> {
    let start = 20_000 + std::process::id() as u16 % 5_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    (0..5_000)
        .map(|_| start + NEXT.fetch_add(1, Ordering::Relaxed) % 5_000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .ok_or_else(|| "no free port".to_owned())
}

//! A PostgreSQL that hangs: stopped in mid-sentence, every process of it, and let go again.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::load::Load;
use crate::program::Program;

/// A PostgreSQL of the test's own, because nobody else could use it while it hangs. It ends when dropped.
struct Postgres {
    shell: Child,
    pid: u32,
    url: String,
}

impl Postgres {
    fn start() -> Self {
        let script = "set -euo pipefail; source tests/servers.sh; pids=(); scratch=$(mktemp -d); trap stop_servers EXIT; \
                      start_postgres; echo \"${pids[0]} $CARTLINK_TEST_POSTGRES\"; cat";
        let mut shell = Command::new("bash")
            .args(["-c", script])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let (pid, url) = line.trim().split_once(' ').expect("PostgreSQL has started");
        Self { pid: pid.parse().unwrap(), url: url.to_owned(), shell }
    }

    /// Sends a signal to the server and all its children.
    fn signal(&self, name: &str) {
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid)).unwrap();
        let pids = children.split_whitespace().map(str::to_owned).chain([self.pid.to_string()]);
        // One may have ended on its own meanwhile.
        let _some_may_be_gone = Command::new("kill").arg(format!("-{name}")).args(pids).stderr(Stdio::null()).status();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.signal("CONT");
        drop(self.shell.stdin.take());
        let _reaped = self.shell.wait();
    }
}

#[tokio::test]
async fn a_database_that_hangs_is_an_honest_503_and_all_goes_on_when_it_wakes() {
    let postgres = Postgres::start();
    let database = format!("--database-url={}", postgres.url);
    let program = Program::start(&[&database, "--statement-timeout=2s"]).await;
    let mut load = Load::gather(&program, &program.public(""), 4, 5).await;
    load.publish(&program, Duration::from_millis(5));
    load.until_promised(200).await;

    postgres.signal("STOP");
    let deadline = Instant::now() + Duration::from_secs(120);
    while load.refused_with(503) < 4 {
        assert!(Instant::now() < deadline, "publishing is not refused while the database hangs: {:?}", load.statuses());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    postgres.signal("CONT");

    let more = load.promised() + 200;
    load.until_promised(more).await;
    load.rest_and_check().await;
    assert_eq!(load.statuses(), [503], "every refusal was an honest one");
}

//! Our server on the stage: started with limits that do not bite.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::peer::{Peer, Templates};
use crate::process::{Server, free_port};
use crate::stage::Stage;

/// Who furnishes the store.
pub const ADMIN: &str = "load@example.org";
pub const PASSWORD: &str = "a-long-word-for-load-tests";

const SECRET: &str = "a secret for load tests, nowhere else in use";

/// A started cartlink.
pub struct Ours {
    pub server: Server,
    pub public: u16,
    pub control: u16,
    /// When its process was started.
    pub began: Instant,
    folder: PathBuf,
    more: Vec<String>,
}

/// Starts a fresh server with one admin: an empty folder, ports nobody uses. `more` are flags of the row.
pub fn start(stage: &Stage, program: &Path, more: &[String]) -> Result<Ours, String> {
    let (public, control) = (free_port()?, free_port()?);
    let folder = stage.scratch.join(format!("cartlink-{public}"));
    create_admin(program, &folder, more)?;
    start_on(stage, program, public, control, folder, more.to_vec())
}

/// Starts one more node on the database and the bus that `more` names; its store is furnished already.
pub fn join(stage: &Stage, program: &Path, more: &[String]) -> Result<Ours, String> {
    let (public, control) = (free_port()?, free_port()?);
    let folder = stage.scratch.join(format!("cartlink-{public}"));
    start_on(stage, program, public, control, folder, more.to_vec())
}

fn create_admin(program: &Path, folder: &Path, more: &[String]) -> Result<(), String> {
    let mut child = Command::new(program)
        .args(["admin", "create", "--email", ADMIN, "--data"])
        .arg(folder)
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|why| format!("{}: {why}", program.display()))?;
    let mut input = child.stdin.take().expect("standard input is a pipe");
    writeln!(input, "{PASSWORD}").map_err(|why| why.to_string())?;
    drop(input);
    let made = child.wait().map_err(|why| why.to_string())?;
    if made.success() { Ok(()) } else { Err("`cartlink admin create` failed".to_owned()) }
}

fn start_on(
    stage: &Stage,
    program: &Path,
    public: u16,
    control: u16,
    folder: PathBuf,
    more: Vec<String>,
) -> Result<Ours, String> {
    let mut args: Vec<String> = vec!["serve".into()];
    for (flag, value) in [
        ("--bind", format!("127.0.0.1:{public}")),
        ("--bindctl", format!("127.0.0.1:{control}")),
        ("--secret", SECRET.to_owned()),
        ("--data", folder.to_string_lossy().into_owned()),
        ("--workers", "1".to_owned()),
        ("--log", "error".to_owned()),
        ("--limit-mints", "1000000/1s".to_owned()),
        ("--limit-scans", "1000000/1s".to_owned()),
        ("--limit-address", "1000000/1s".to_owned()),
        ("--streams-per-cart", "1000000".to_owned()),
        ("--streams-per-address", "1000000".to_owned()),
        ("--streams-per-subscriber", "1000000".to_owned()),
    ] {
        args.extend([flag.to_owned(), value]);
    }
    args.extend_from_slice(&more);
    let began = Instant::now();
    let server =
        Server::start(stage.server_core, &program.to_string_lossy(), &args, &[], ([127, 0, 0, 1], public).into())?;
    Ok(Ours { server, public, control, began, folder, more })
}

impl Ours {
    /// `kill -9`, then the same command line again. In between, something may be done to its folder.
    pub fn crash_and_restart(
        self,
        stage: &Stage,
        program: &Path,
        between: impl FnOnce(&Path) -> Result<(), String>,
    ) -> Result<Self, String> {
        let Self { server, public, control, folder, more, .. } = self;
        drop(server);
        between(&folder)?;
        start_on(stage, program, public, control, folder, more)
    }

    pub fn public_addr(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.public).into()
    }

    /// `/sse/{cart}`, opened by the carts themselves; nothing is published through it.
    pub fn carts_peer(&self, device_keys: Vec<String>) -> Result<Peer, String> {
        let stream_url = format!("http://127.0.0.1:{}/sse/{{channel}}", self.public);
        Ok(self.peer(&stream_url)?.with_keys(device_keys))
    }

    /// `/emit/` and `/events/`.
    pub fn events_peer(&self) -> Result<Peer, String> {
        self.peer(&format!("http://127.0.0.1:{}/events/", self.public))
    }

    fn peer(&self, stream_url: &str) -> Result<Peer, String> {
        Peer::new(&Templates {
            name: "cartlink",
            stream_url,
            headers: &["Authorization: Bearer {token}".to_owned()],
            publish_url: &format!("http://127.0.0.1:{}/emit/", self.control),
            publish_body: "userId=load&channel={channel}&payload={frame:form}",
            publish_type: "application/x-www-form-urlencoded",
            secret: SECRET,
        })
    }
}

//! The server under test: in this process, so that its clock is ours, on ports and a database of its own.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cartlink::app::App;
use cartlink::clock::{Clock, ManualClock, Timestamp};
use cartlink::config::Config;
use clap::Parser;
use sea_orm::{ConnectionTrait, Database};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::{Cart, Phone, Staff, free_port};

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// The admin every world begins with.
const ADMIN: (&str, &str) = ("root@world.example", "a long enough passphrase");

/// A server, its clock and its folder.
pub struct World {
    pub clock: Arc<ManualClock>,
    pub folder: TempDir,
    pub app: Arc<App>,
    pub address: SocketAddr,
    pub control: SocketAddr,
    pub http: reqwest::Client,
    args: Vec<String>,
    server: Option<Server>,
    people: AtomicU32,
}

struct Server {
    stop: oneshot::Sender<bool>,
    thread: std::thread::JoinHandle<()>,
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    config: Config,
}

fn config(args: &[String]) -> Config {
    Line::parse_from(args).config
}

impl World {
    /// A world with quotas out of the way.
    pub async fn start(backend: Backend) -> Self {
        let wide = [
            "--limit-mints=1000000/1ms",
            "--limit-scans=1000000/1ms",
            "--streams-per-customer=1000",
            "--streams-per-cart=1000",
        ];
        Self::with(backend, &wide).await
    }

    /// A world with these flags, and everything else as a store would have it.
    pub async fn with(backend: Backend, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Ports that a restart finds free again.
        let at = |flag: &str| format!("--{flag}=127.0.0.1:{}", free_port());
        let mut args = vec!["cartlink".to_owned(), at("bind"), at("bindctl")];
        if !flags.iter().any(|flag| flag.starts_with("--drain")) {
            args.push("--drain=200ms".into());
        }
        args.push(format!("--data={}", folder.path().display()));
        if backend == Backend::Postgres {
            args.push(format!("--database-url={}", new_database().await));
            args.push("--database-connections=8".into());
        }
        args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        // Not today: whatever reads the machine's clock is found out.
        let clock = Arc::new(ManualClock::at(Timestamp(1_900_000_000_000)));
        let (server, app) = run(&args, Arc::clone(&clock)).await;
        let bound = *app.bound.get().unwrap();
        let world = Self {
            clock,
            folder,
            app,
            address: bound.public,
            control: bound.control,
            http: client(),
            args,
            server: Some(server),
            people: AtomicU32::new(0),
        };
        world.create_admin().await;
        world
    }

    /// The same server again on the same data and port: after an orderly stop, or as after a crash.
    pub async fn restart(&mut self, orderly: bool) {
        self.stop(orderly).await;
        self.args.retain(|arg| !arg.starts_with("--bind"));
        self.args.push(format!("--bind={}", self.address));
        self.args.push(format!("--bindctl={}", self.control));
        let (server, app) = run(&self.args, Arc::clone(&self.clock)).await;
        self.server = Some(server);
        self.app = app;
        self.http = client();
    }

    pub async fn stop(&mut self, orderly: bool) {
        let Some(server) = self.server.take() else { return };
        server.stop.send(orderly).unwrap();
        tokio::task::spawn_blocking(|| server.thread.join().unwrap()).await.unwrap();
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A number nobody in this world has had yet.
    pub fn fresh(&self) -> u32 {
        self.people.fetch_add(1, Ordering::Relaxed)
    }

    /// A new customer on a phone.
    pub async fn phone(&self) -> Phone<'_> {
        Phone::guest(self).await
    }

    /// The admin, signed in.
    pub async fn admin(&self) -> Staff<'_> {
        Staff::sign_in(self, ADMIN.0, ADMIN.1).await
    }

    /// A new enrolled cart of this name.
    pub async fn cart(&self, id: &str) -> Cart<'_> {
        Cart::enrolled(self, &self.admin().await, id).await
    }

    /// Runs the program on this world's data, as somebody at the machine would, with this on its standard input.
    pub async fn command(&self, words: &[&str], input: &str) -> Output {
        let data = self.args.iter().filter(|arg| arg.starts_with("--data"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_cartlink"))
            .args(words)
            .args(data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap()
    }

    async fn create_admin(&self) {
        let (email, password) = ADMIN;
        let app = Arc::clone(&self.app);
        // On a LocalSet, as the server itself: PostgreSQL's writes are tasks of their own.
        tokio::task::LocalSet::new()
            .run_until(async move {
                cartlink::account::service::create_staff(
                    &app,
                    email,
                    "Root",
                    password,
                    cartlink::auth::Role::Admin,
                    None,
                )
                .await
            })
            .await
            .unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            let _gone = server.stop.send(false);
            let _panicked = server.thread.join();
        }
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().timeout(Duration::from_secs(120)).pool_max_idle_per_host(32).build().unwrap()
}

async fn run(args: &[String], clock: Arc<ManualClock>) -> (Server, Arc<App>) {
    let config = config(args);
    let (stop, stopped) = oneshot::channel::<bool>();
    let (started, app) = oneshot::channel();
    let thread = std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let running = cartlink::start::start(config, clock, None).await.unwrap();
            started.send(Arc::clone(&running.app)).ok().unwrap();
            match stopped.await {
                Ok(true) => running.stop().await,
                _ => running.kill().await,
            }
        });
    });
    (Server { stop, thread }, app.await.expect("the server starts"))
}

/// A database of its own on the server that the test command has started.
async fn new_database() -> String {
    let server = std::env::var("CARTLINK_TEST_POSTGRES")
        .expect("CARTLINK_TEST_POSTGRES names a PostgreSQL server: run tests/run");
    let name = format!("world_{}", uuid::Uuid::new_v4().simple());
    let mut options = sea_orm::ConnectOptions::new(server.clone());
    options.max_connections(1).sqlx_logging(false);
    let connection = Database::connect(options).await.unwrap();
    connection.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
    connection.close().await.unwrap();
    let (base, _) = server.rsplit_once('/').unwrap();
    format!("{base}/{name}")
}

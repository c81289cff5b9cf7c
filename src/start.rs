//! From a configuration to a running server: folder, secret, database, listeners, background work.

use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use rand::RngExt;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::app::{App, Bound};
use crate::broadcast::Broadcaster;
use crate::broadcast::bus::heal::Heal;
use crate::broadcast::bus::{self, Bus, heal, nats};
use crate::broadcast::streams::Streams;
use crate::clock::Clock;
use crate::config::{Config, Fault, weak};
use crate::db::{self, Db, Fate, Told};
use crate::demo::Demo;
use crate::session::awaiting::{Awaiting, PickedUp};
use crate::token::{self, KeyRing};
use crate::{admin, cart, event, limits, password, retention, server, session, store, telemetry, tls, webhook};

/// A kernel gives up on a peer that acknowledges nothing for this long: two heartbeats, where
/// retransmission alone would take many minutes.
const USER_TIMEOUT: Duration = Duration::from_secs(25);

/// Connections that may wait to be accepted; a store's screens come back all at once.
const BACKLOG: i32 = 8192;

/// Time between two looks for a database that does not answer yet.
const DATABASE_RETRY: Duration = Duration::from_millis(500);

/// A running server.
pub struct Running {
    /// The application, for whoever runs it.
    pub app: Arc<App>,
    server: ServerHandle,
    work: Vec<JoinHandle<()>>,
}

/// Starts everything. `Err` is a sentence for the operator, with what to do about it.
pub async fn start(config: Config, clock: Arc<dyn Clock>, demo: Option<Demo>) -> Result<Running, String> {
    let problems = config.problems();
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    telemetry::measure();
    let public = listen(&config.bind, "--bind")?;
    let control = listen(&config.bindctl, "--bindctl")?;
    let certificate = config.tls().map(tls::Certificate::load).transpose()?;
    let https = certificate.as_ref().map(tls::serving).transpose()?;
    let (app, background) = application(config, clock, demo).await?;
    let bound = Bound { public: address(&public)?, control: address(&control)? };
    app.bound.set(bound).expect("an application is started once");
    let serving = server::serve(&app, public, https, control).map_err(|error| format!("cannot serve: {error}"))?;
    let server = serving.handle();
    let mut work = vec![
        tokio::task::spawn_local(session::sweep::run(Arc::clone(&app))),
        tokio::task::spawn_local(admin::floor::service::run(Arc::clone(&app))),
        tokio::task::spawn_local(cart::presence::run(Arc::clone(&app))),
        tokio::task::spawn_local(event::retention::run(Arc::clone(&app))),
        tokio::task::spawn_local(session::awaiting::pick_ups(Arc::clone(&app), background.picked)),
        tokio::task::spawn_local(webhook::deliver::run(Arc::clone(&app))),
        tokio::task::spawn_local(retention::run(Arc::clone(&app))),
        tokio::task::spawn_local(telemetry::upkeep()),
    ];
    if app.db.is_postgres() {
        work.push(tokio::task::spawn_local(heal::run(Arc::clone(&app))));
    }
    if let Some(nats) = background.nats {
        work.push(tokio::task::spawn_local(nats.run(Arc::clone(&app), background.cluster)));
    }
    if let Some(certificate) = certificate {
        work.push(tokio::task::spawn_local(tls::watch(certificate)));
    }
    work.push(tokio::task::spawn_local(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "a listener failed");
        }
    }));
    tracing::info!(public = %bound.public, https = app.config.tls().is_some(), control = %bound.control, database = if app.db.is_postgres() { "postgresql" } else { "sqlite" }, "serving");
    Ok(Running { app, server, work })
}

impl Running {
    /// Tells whoever waits for it that everything is ready, and on which ports.
    pub fn announce(&self) -> Result<(), String> {
        let (Some(file), Some(bound)) = (&self.app.config.ports_file, self.app.bound.get()) else {
            return Ok(());
        };
        let text = format!("{}\n{}\n", bound.public, bound.control);
        // Renamed into place: whoever waits for the file finds it whole.
        let partial = file.with_extension("partial");
        fs::write(&partial, text)
            .and_then(|()| fs::rename(&partial, file))
            .map_err(|error| format!("--ports-file: {error}"))
    }

    /// Stops within the drain window: lets nobody new in, spreads the goodbyes of open streams over
    /// the window so that they do not come back all at once, and lets requests finish.
    pub async fn stop(self) {
        let window = self.app.config.drain.0;
        let streams = self.app.streams.drain();
        tracing::info!(streams = streams.len(), "stopping");
        let mut goodbyes: Vec<Duration> =
            streams.iter().map(|_| window.mul_f64(rand::rng().random_range(0.0..0.7))).collect();
        goodbyes.sort_unstable();
        let began = tokio::time::Instant::now();
        for (stream, at) in streams.iter().zip(goodbyes) {
            tokio::time::sleep_until(began + at).await;
            Streams::say_goodbye(stream);
        }
        // Who does not read does not hear a goodbye either, and is not waited for.
        let _deaf = tokio::time::timeout_at(began + window.mul_f64(0.85), self.app.streams.emptied()).await;
        // Graceful: requests under way are answered, as long as the window lasts.
        if tokio::time::timeout_at(began + window.max(Duration::from_secs(1)), self.server.stop(true)).await.is_err() {
            tracing::warn!("some requests were still open at the end of the drain window");
        }
        // What was written last is told before the others hear that nothing more will come.
        let _alone = self.app.bus.say_goodbye().await;
        give_up(self.work).await;
    }

    /// Stops at once, as a crash would but for the process: for tests.
    pub async fn kill(self) {
        self.server.stop(false).await;
        give_up(self.work).await;
    }
}

/// Ends what runs in the background, and waits until it has let go of its database connections: those go back to their
/// pool by a task of their own, which needs the runtime to be there.
async fn give_up(work: Vec<JoinHandle<()>>) {
    work.iter().for_each(JoinHandle::abort);
    for work in work {
        let _aborted = work.await;
    }
}

/// What an application needs done in the background while it serves.
pub struct Background {
    picked: mpsc::UnboundedReceiver<PickedUp>,
    nats: Option<nats::Work>,
    cluster: String,
}

/// The application without listeners: what the command line's other words need.
pub async fn application(
    config: Config,
    clock: Arc<dyn Clock>,
    demo: Option<Demo>,
) -> Result<(Arc<App>, Background), String> {
    tls::choose_provider();
    make_folder(&config.data)?;
    let keys = Arc::new(keys(&config)?);
    let doubt = Arc::new(Notify::new());
    let (bus, nats) = bus::open(&config, Arc::clone(&doubt));
    let broadcaster = Arc::new(Broadcaster::new(Arc::clone(&bus)));
    let db = open(&config, told(config.fault, &broadcaster, &bus, &doubt)).await?;
    same_secret(&db, &keys).await?;
    let now = clock.now();
    let cluster = db
        .write(async move |txn: &db::Txn<'_>| {
            store::store::default(&**txn, now).await?;
            bus::store::cluster(txn).await
        })
        .await
        .map_err(|error| format!("cannot write to the database: {error}"))?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (awaiting, picked) = Awaiting::new();
    let app = App {
        limits: limits::Limits::new(&config, Arc::clone(&clock)),
        passwords: password::Passwords::new(cores),
        streams: Streams::new(Arc::clone(&bus)),
        heal: Heal::new(doubt),
        bus,
        emitting: Arc::default(),
        floor: Default::default(),
        figures: tokio::sync::Semaphore::new(1),
        standings: crate::account::service::Standings::default(),
        bound: OnceLock::new(),
        config,
        clock,
        db,
        keys,
        broadcaster,
        awaiting,
        beats: cart::presence::Beats::default(),
        reuse: crate::scan::reuse::Reuse::default(),
        demo,
    };
    Ok((Arc::new(app), Background { picked, nats, cluster }))
}

/// Tells the other nodes and this one's followers what was committed.
fn told(fault: Option<Fault>, broadcaster: &Arc<Broadcaster>, bus: &Arc<dyn Bus>, doubt: &Arc<Notify>) -> Told {
    let (broadcaster, bus, doubt) = (Arc::clone(broadcaster), Arc::clone(bus), Arc::clone(doubt));
    Arc::new(move |fate| {
        if fault == Some(Fault::CommitBeforePush) {
            tracing::error!("dying on purpose between commit and push");
            std::process::abort();
        }
        match fate {
            Fate::Committed(events) => {
                bus.publish(&events);
                for event in events {
                    broadcaster.publish(event);
                }
            }
            Fate::Unknown => {
                bus.doubt();
                doubt.notify_one();
            }
        }
    })
}

/// The database with its schema up to date, waited for where it does not answer yet.
async fn open(config: &Config, told: Told) -> Result<Db, String> {
    let location = db::Location {
        url: config.database(),
        connections: config.database_connections,
        statement_timeout: config.statement_timeout.0,
    };
    let patience = tokio::time::Instant::now() + config.database_wait.0;
    loop {
        let error = match try_open(&location, Arc::clone(&told)).await {
            Ok(db) => return Ok(db),
            Err(error) => error,
        };
        if !db::is_passing(&error) || tokio::time::Instant::now() >= patience {
            return Err(format!("cannot open the database (--database-url) or bring its schema up to date: {error}"));
        }
        tracing::warn!(%error, "waiting for the database (--database-wait)");
        tokio::time::sleep(DATABASE_RETRY).await;
    }
}

async fn try_open(location: &db::Location, told: Told) -> Result<Db, sea_orm::DbErr> {
    let db = Db::open(location, told).await?;
    db.migrate().await?;
    Ok(db)
}

/// Makes a database that was put back to an earlier state fit to go on with.
pub async fn restored(app: &App) -> Result<(), String> {
    let now = app.clock.now();
    let written = app.db.write(async move |txn: &db::Txn<'_>| bus::store::restored(txn, now).await).await;
    written.map_err(|error| format!("cannot write to the database: {error}"))
}

/// The key ring: of the secret that was given, or of one made here at the first start.
fn keys(config: &Config) -> Result<KeyRing, String> {
    let secret = match (&config.master_secret, &config.master_secret_file) {
        (Some(secret), _) => secret.0.clone(),
        (None, Some(file)) => {
            let text = fs::read_to_string(file)
                .map_err(|error| format!("--master-secret-file {}: {error}", file.display()))?;
            text.trim().to_owned()
        }
        (None, None) => kept_secret(&config.data.join("master-secret"))?,
    };
    if weak(&secret) {
        return Err("the master secret must be 32 bytes or more and not a well-known one".into());
    }
    let others: Vec<Vec<u8>> = config.master_secret_others.iter().map(|secret| secret.0.clone().into_bytes()).collect();
    Ok(KeyRing::new(secret.as_bytes(), &others))
}

fn kept_secret(file: &Path) -> Result<String, String> {
    let shown = file.display();
    match fs::read_to_string(file) {
        Ok(text) => return Ok(text.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(format!("{shown}: {error}")),
    }
    let secret = token::hex(&token::random::<32>());
    let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    made.and_then(|mut file| writeln!(file, "{secret}")).map_err(|error| format!("{shown}: {error}"))?;
    tracing::info!(file = %shown, "made a master secret");
    Ok(secret)
}

fn make_folder(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("--data {}: {error}", folder.display()))
}

/// All nodes of a database sign with one secret: its fingerprint stands in the database.
async fn same_secret(db: &Db, keys: &KeyRing) -> Result<(), String> {
    let (own, others) = (keys.fingerprint(), keys.other_fingerprints());
    let kept: Result<String, sea_orm::DbErr> = db
        .write(async move |txn: &db::Txn<'_>| {
            let row = db::row(&**txn, "SELECT value FROM meta WHERE name = 'secret'", []).await?;
            let kept: Option<String> = row.map(|row| row.try_get("", "value")).transpose()?;
            // A rotation: the secret that was current is in the ring as previous.
            let rotated = kept.as_ref().is_none_or(|kept| others.contains(kept));
            if rotated {
                let text = "INSERT INTO meta (name, value) VALUES ('secret', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
                db::execute(&**txn, text, [own.clone().into()]).await?;
                return Ok(own);
            }
            Ok(kept.unwrap_or(own))
        })
        .await;
    match kept {
        Ok(kept) if kept == keys.fingerprint() => Ok(()),
        Ok(_) => Err("this database was used with another master secret: give that one with --master-secret, \
            or as one of --master-secret-others to rotate it"
            .into()),
        Err(error) => Err(format!("cannot read the database: {error}")),
    }
}

/// A listening socket with what streams need set on purpose; accepted ones inherit it.
fn listen(text: &str, flag: &str) -> Result<TcpListener, String> {
    let address: SocketAddr = text
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .ok_or_else(|| format!("{flag} {text}: not an address; write it as 127.0.0.1:8000"))?;
    let bound = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    bound().map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => format!("{text} is taken by another program: choose another address with {flag}"),
        _ => format!("{flag} {text}: {error}"),
    })
}

fn address(listener: &TcpListener) -> Result<SocketAddr, String> {
    listener.local_addr().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn what_is_set_on_the_listener_holds_for_every_connection() {
        let listener = listen("127.0.0.1:0", "--bind").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(socket2::SockRef::from(&accepted).tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
    }
}

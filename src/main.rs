//! The command line: the only reader of the environment and of signals.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use cartlink::admin::audit::{self, Verdict};
use cartlink::auth::Role;
use cartlink::clock::{Clock, SystemClock};
use cartlink::config::{self, Config, Span};
use cartlink::demo::lan::Lan;
use cartlink::demo::{self, Demo};
use cartlink::{account, control, start, telemetry, token};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// Puts a customer on a smart cart in one second: the cart's screen shows a QR code, the customer's
/// phone scans it, and the session starts on both.
#[derive(Parser)]
#[command(name = "cartlink", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve. The default: `cartlink -bind 127.0.0.1:8000` is a complete command line.
    Serve(Config),
    /// Serve a store to try, with carts, a customer and an admin, in a folder of its own.
    Demo(DemoArgs),
    /// Bring the database's schema up to date, and do nothing else.
    Migrate(Migrate),
    /// Staff accounts.
    Admin(Admin),
    /// Mint a subscriber's token for `/events/`, without asking a running server.
    Token(Token),
    /// The audit log.
    Audit(Audit),
    /// Look at the configuration.
    Config(Check),
}

#[derive(Args)]
struct DemoArgs {
    /// Let phones in this network try it: https with a certificate made for this machine's address, because phones open
    /// their camera on https alone. Prints the address and its QR code. Of `--bind` only the port counts then.
    #[arg(long)]
    lan: bool,
    /// The one of this machine's addresses that phones shall use, where it has several. Means `--lan`.
    #[arg(long, value_name = "IP")]
    lan_address: Option<IpAddr>,
    #[command(flatten)]
    config: Config,
}

#[derive(Args)]
struct Token {
    /// The control secret, as given to the server with `--secret`.
    #[arg(long, env = "CARTLINK_SECRET", hide_env_values = true, value_name = "TEXT")]
    secret: config::Secret,
    /// Whose events it opens.
    #[arg(long, value_name = "ID")]
    user_id: String,
    /// On which channel.
    #[arg(long, value_name = "NAME")]
    channel: String,
    /// For how many seconds from now.
    #[arg(long, default_value = "3600", value_name = "SECONDS")]
    exp: String,
}

#[derive(Args)]
struct Migrate {
    /// The database was put back to an earlier state (all nodes stopped): renew every channel's life, end every
    /// sign-in and suspend every cart's key, so that nothing handed out since is taken for something of now.
    #[arg(long)]
    restored: bool,
    #[command(flatten)]
    config: Config,
}

#[derive(Args)]
struct Admin {
    #[command(subcommand)]
    command: AdminCommand,
}

#[derive(Subcommand)]
enum AdminCommand {
    /// Make an admin of all stores. The password is asked for, or read from standard input.
    Create {
        /// Their e-mail.
        #[arg(long)]
        email: String,
        /// Their name.
        #[arg(long, default_value = "Admin")]
        name: String,
        #[command(flatten)]
        config: Config,
    },
}

#[derive(Args)]
struct Audit {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Say whether every row is as it was written, or which is the first that is not. The server may be running.
    Verify(Config),
}

#[derive(Args)]
struct Check {
    #[command(subcommand)]
    command: CheckCommand,
}

#[derive(Subcommand)]
enum CheckCommand {
    /// Say what is wrong with the configuration, if anything is.
    Check(Config),
}

/// The words that may stand first; without one, the command is to serve.
const WORDS: &[&str] =
    &["serve", "demo", "migrate", "admin", "token", "audit", "config", "help", "-h", "--help", "-V", "--version"];

/// Flags that other command lines in the field write with one dash.
const ONE_DASH: &[&str] = &["-bind", "-bindctl", "-secret"];

fn main() -> ExitCode {
    let command = match parse(std::env::args_os().collect()) {
        Ok(command) => command,
        Err(error) => {
            eprintln!("cartlink: {error}");
            return ExitCode::from(2);
        }
    };
    // actix's system is a current-thread runtime with a LocalSet: what `Db::write` runs on.
    match actix_web::rt::System::new().block_on(run(command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cartlink: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(args: Vec<OsString>) -> Result<Command, String> {
    let args = spelled_out(args);
    let mut command = Cli::command();
    if let Some(file) = config_file(&args) {
        for word in ["serve", "demo", "migrate"] {
            let with = command.find_subcommand(word).cloned().ok_or("the command line has lost a word")?;
            let with = config::with_file(with, &file)?;
            command = command.mut_subcommand(word, |_| with);
        }
        for (word, inner) in [("admin", "create"), ("audit", "verify"), ("config", "check")] {
            let outer = command.find_subcommand(word).and_then(|outer| outer.find_subcommand(inner)).cloned();
            let with = config::with_file(outer.ok_or("the command line has lost a word")?, &file)?;
            command = command.mut_subcommand(word, |outer| outer.mut_subcommand(inner, |_| with));
        }
    }
    // clap prints help and usage errors itself, and exits.
    let matches = command.get_matches_from(args);
    Ok(Cli::from_arg_matches(&matches).map_err(|error| error.to_string())?.command)
}

/// Adds the word `serve` and the second dash where they were left out.
fn spelled_out(args: Vec<OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args
        .into_iter()
        .map(|arg| {
            let one_dash = arg.to_str().is_some_and(|text| {
                ONE_DASH
                    .iter()
                    .any(|flag| text == *flag || text.strip_prefix(flag).is_some_and(|rest| rest.starts_with('=')))
            });
            if one_dash { [OsString::from("-"), arg].into_iter().collect() } else { arg }
        })
        .collect();
    let word = args.get(1).and_then(|first| first.to_str()).is_some_and(|first| WORDS.contains(&first));
    if !word {
        args.insert(1.min(args.len()), "serve".into());
    }
    args
}

fn config_file(args: &[OsString]) -> Option<PathBuf> {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--config" {
            return args.next().map(PathBuf::from);
        }
        if let Some(file) = arg.to_str().and_then(|text| text.strip_prefix("--config=")) {
            return Some(file.into());
        }
    }
    std::env::var_os("CARTLINK_CONFIG").map(PathBuf::from)
}

async fn run(command: Command) -> Result<(), String> {
    match command {
        Command::Serve(config) => {
            telemetry::start(&config.log, config.log_json)?;
            raise_open_files();
            for warning in config.warnings() {
                tracing::warn!("{warning}");
            }
            let running = start::start(config, Arc::new(SystemClock), None).await?;
            until_told_to_stop(running).await
        }
        Command::Demo(args) => demo(args).await,
        Command::Migrate(Migrate { restored, config }) => {
            telemetry::start(&config.log, config.log_json)?;
            let (app, _) = start::application(config, Arc::new(SystemClock), None).await?;
            println!("The schema is up to date.");
            if restored {
                start::restored(&app).await?;
                println!(
                    "Every channel has a new life, every sign-in has ended, and every cart waits for its enrolment."
                );
            }
            Ok(())
        }
        Command::Admin(Admin { command: AdminCommand::Create { email, name, config } }) => {
            let (app, _) = start::application(config, Arc::new(SystemClock), None).await?;
            eprint!("Password: ");
            let mut password = String::new();
            std::io::stdin().read_line(&mut password).map_err(|error| error.to_string())?;
            let password = password.trim_end_matches(['\r', '\n']);
            let made = account::service::create_staff(&app, &email, &name, password, Role::Admin, None).await;
            made.map_err(|failure| failure.to_string())?;
            println!("{email} may sign in at /admin/.");
            Ok(())
        }
        Command::Token(Token { secret, user_id, channel, exp }) => {
            let wrong = |flag: &'static str| move |wrong| format!("{flag} {wrong}");
            let user_id = control::subscriber(&user_id).map_err(wrong("--user-id"))?.as_ref().into();
            let channel = control::name(&channel).map_err(wrong("--channel"))?.as_ref().into();
            let exp = SystemClock.now().unix() + control::lifetime(&exp).map_err(wrong("--exp:"))?;
            println!("{}", token::sign_subscriber(secret.0.as_bytes(), &token::Subscriber { user_id, channel, exp }));
            Ok(())
        }
        Command::Audit(Audit { command: AuditCommand::Verify(config) }) => {
            let (app, _) = start::application(config, Arc::new(SystemClock), None).await?;
            match audit::verify(app.db.read()).await.map_err(|error| format!("cannot read the audit log: {error}"))? {
                Verdict::Whole(rows) => {
                    println!("{rows} rows, each as it was written.");
                    Ok(())
                }
                Verdict::Broken(seq) => {
                    Err(format!("the audit log was tampered with: row {seq} is changed, missing or out of place"))
                }
            }
        }
        Command::Config(Check { command: CheckCommand::Check(config) }) => match config.problems() {
            problems if problems.is_empty() => {
                for warning in config.warnings() {
                    println!("warning: {warning}");
                }
                println!("The configuration is fine.");
                Ok(())
            }
            problems => Err(problems.join("\n")),
        },
    }
}

async fn demo(DemoArgs { lan, lan_address, mut config }: DemoArgs) -> Result<(), String> {
    if config.data == Path::new("data") {
        config.data = "cartlink-demo".into();
    }
    if config.log == "info" {
        config.log = "warn".into();
    }
    telemetry::start(&config.log, config.log_json)?;
    raise_open_files();
    // Somebody who tries things tries them quickly.
    config.drain = Span(std::time::Duration::from_secs(1));
    let folder = config.data.clone();
    let lan = if lan || lan_address.is_some() { Some(Lan::find(lan_address)?) } else { None };
    let demo = Demo::of(&folder)?;
    if let Some(lan) = &lan {
        lan.open(&mut config, SystemClock.now())?;
    }
    let running = start::start(config, Arc::new(SystemClock), Some(demo.clone())).await?;
    demo.furnish(&running.app).await.map_err(|failure| failure.to_string())?;
    println!("{}", demo.welcome(&running.app, &folder, lan.as_ref()));
    tokio::task::spawn_local(demo::draw(Arc::clone(&running.app)));
    until_told_to_stop(running).await
}

/// Serves until SIGTERM or SIGINT, then stops within the drain window; a second signal does not wait.
async fn until_told_to_stop(running: start::Running) -> Result<(), String> {
    running.announce()?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tokio::select! {
        () = running.stop() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Every stream is an open file: takes as many as the system allows.
fn raise_open_files() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

//! The command line: what it says to somebody who gets it wrong, and that the words in the field work.

use std::process::{Command, Output};

fn cartlink(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cartlink")).args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_taken_port_is_named_with_its_flag() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let address = taken.local_addr().unwrap().to_string();
    // The flags as command lines in the field write them, without the word `serve`.
    let output = cartlink(&[
        "-bind",
        &address,
        "-bindctl=127.0.0.1:0",
        "-secret",
        "MySuperPassword42",
        &format!("--data={}", folder.path().display()),
    ]);
    assert!(!output.status.success());
    let said = said(&output);
    assert!(said.contains(&address) && said.contains("taken") && said.contains("--bind"), "{said}");
}

#[test]
fn config_check_says_everything_that_is_wrong_and_fails() {
    let output = cartlink(&["config", "check", "--qr-refresh=90s", "--master-secret=short"]);
    assert!(!output.status.success());
    let said = said(&output);
    assert!(said.contains("--qr-refresh") && said.contains("--master-secret"), "{said}");
    assert!(cartlink(&["config", "check"]).status.success());
}

#[test]
fn a_well_known_control_secret_is_taken_on_loopback_only() {
    let secret = "--secret=MySuperPassword42";
    assert!(cartlink(&["config", "check", secret]).status.success());
    let output = cartlink(&["config", "check", secret, "--bind=0.0.0.0:8000"]);
    assert!(!output.status.success() && said(&output).contains("well-known"));
    assert!(!cartlink(&["config", "check", "--secret=short"]).status.success());
}

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cartlink.toml");
    std::fs::write(&file, "qr_ttl = \"3s\"\nstreams = 7\n").unwrap();
    let check = |args: &[&str], ttl: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cartlink"));
        command.args(["config", "check", "--config"]).arg(&file).args(args);
        if let Some(ttl) = ttl {
            command.env("CARTLINK_QR_TTL", ttl);
        }
        command.output().unwrap().status.success()
    };
    // Three seconds are refused as too short: so it shows which value counted.
    assert!(!check(&[], None), "the file's");
    assert!(check(&[], Some("60s")), "the environment's");
    assert!(!check(&["--qr-ttl=3s"], Some("60s")), "the flag's");
    std::fs::write(&file, "qr_tll = \"60s\"\n").unwrap();
    let output = cartlink(&["config", "check", "--config", file.to_str().unwrap()]);
    assert!(said(&output).contains("qr_tll"), "an unknown setting is named");
}

#[test]
fn the_same_data_with_another_master_secret_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = format!("--data={}", folder.path().display());
    let migrate = |args: &[&str]| cartlink(&[&["migrate", data.as_str()], args].concat());
    let (first, second) =
        ("--master-secret=0123456789abcdef0123456789abcdef", "--master-secret=fedcba9876543210fedcba9876543210");
    assert!(migrate(&[first]).status.success());
    let output = migrate(&[second]);
    assert!(!output.status.success() && said(&output).contains("another master secret"), "{}", said(&output));
    assert!(migrate(&[second, "--master-secret-others=0123456789abcdef0123456789abcdef"]).status.success(), "rotated");
    assert!(migrate(&[second]).status.success());
}

#[test]
fn help_names_every_setting_and_its_default() {
    let help = said(&cartlink(&["serve", "--help"]));
    for text in ["--bind", "--database-url", "CARTLINK_QR_TTL", "[default: 60s]", "--master-secret-file", "--tls-cert"]
    {
        assert!(help.contains(text), "{text}");
    }
    assert!(!help.contains("--fault") && !help.contains("--lan"));
    assert!(said(&cartlink(&["demo", "--help"])).contains("--lan-address"));
}

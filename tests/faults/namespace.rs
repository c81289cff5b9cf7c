//! Namespaces: a test that cuts links, drops packets or mounts disks runs again inside some of its own, where it disturbs
//! nobody.

use std::process::Command;

/// Set inside.
const INSIDE: &str = "CARTLINK_NAMESPACE";

/// Whether this process runs in a network of its own.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs the test of this name again inside namespaces that `unshare` makes by these flags, `--net` among them. True in
/// there; false outside, where the test is over: it has passed inside.
pub fn within(flags: &[&str], test: &str) -> bool {
    if is_inside() {
        run(&mut Command::new("ip"), "link set lo up");
        return true;
    }
    let tried = Command::new("unshare").args(flags).args(["--", "ip", "link", "set", "lo", "up"]).output();
    let refusal = match &tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(error.to_string()),
    };
    assert!(
        refusal.is_none(),
        "this test needs namespaces of its own (unshare {}), and this machine does not let it make them ({}). Run it as \
         root with CAP_SYS_ADMIN (in a container: --privileged), or let users make namespaces: \
         sysctl kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0",
        flags.join(" "),
        refusal.unwrap_or_default()
    );
    let inside = Command::new("unshare")
        .args(flags)
        .arg("--")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(inside.success(), "it failed inside, see above");
    false
}

/// Runs a command that must succeed.
pub fn run(command: &mut Command, args: &str) {
    let status = command.args(args.split(' ')).status().unwrap();
    assert!(status.success(), "{} {args}", command.get_program().display());
}

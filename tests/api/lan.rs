//! `cartlink demo --lan`: a phone in the same network can try it, and gets no more than a customer's phone should.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::decoders::Pixels;
use crate::helpers::{Program, curl};

fn text(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_terminal_shows_the_address_as_a_picture_and_https_answers_there() {
    let folder = tempfile::tempdir().unwrap();
    let cert = folder.path().join("lan-cert.pem");
    let demo = || Program::start("demo", folder.path(), &["--lan-address=127.0.0.2"]);
    let program = demo();
    assert!(program.public.starts_with("127.0.0.2:"), "{}", program.public);
    assert!(program.control.starts_with("127.0.0.1:"));

    let address = program.said.until("scan this or open https://");
    let address = address.split_whitespace().last().unwrap();
    let picture = program.said.up_to("The phone will warn");
    let picture: Vec<&str> = picture.iter().map(String::as_str).filter(|line| !line.is_empty()).collect();
    assert_eq!(Pixels::of_terminal(&picture.join("\n"), 4).decoded(), [address, address]);

    let trusting = |args: &[&str]| text(curl(&[&["--cacert", cert.to_str().unwrap()], args].concat()));
    assert!(trusting(&[address]).starts_with("HTTP/1.1 200"));
    let origin = format!("https://{}", program.public);
    let enrolled = trusting(&["-X", "POST", &format!("{origin}/demo/enrol/1")]);
    let cookie = enrolled.lines().find(|line| line.to_lowercase().starts_with("set-cookie:")).unwrap();
    assert!(cookie.contains("__Host-cartlink=") && cookie.contains("; Secure"), "{cookie}");
    let jar = cookie.split_once(' ').unwrap().1.split(';').next().unwrap();
    let code = trusting(&["-b", jar, &format!("{origin}/customer-session/qr/1.json")]);
    assert!(code.contains(&format!("\"{origin}/s#")), "the cart's code leads here, too: {code}");

    let first = fs::read(&cert).unwrap();
    drop(program);
    let _again = demo();
    assert_eq!(fs::read(&cert).unwrap(), first, "a phone that has taken it is not asked again");
}

#[test]
fn without_a_network_it_says_so() {
    within_a_network("lan::without_a_network_it_says_so", || {
        let folder = tempfile::tempdir().unwrap();
        let said = Program::refusal("demo", folder.path(), &["--lan"]);
        assert!(said.contains("no address beside loopback"), "{said}");
        assert!(fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing was made");
        let said = Program::refusal("demo", folder.path(), &["--lan-address=10.77.0.5"]);
        assert!(said.contains("10.77.0.5 is no address of this machine"), "{said}");
    });
}

#[test]
fn a_neighbour_is_served_as_a_customer_and_learns_nothing_of_the_demo() {
    within_a_network("lan::a_neighbour_is_served_as_a_customer_and_learns_nothing_of_the_demo", || {
        run("ip address add 10.77.0.5/24 dev lo");
        // Packets from there arrive, and yet it is no address of this machine: a neighbour's.
        run("ip route add local 10.78.0.0/24 dev lo");
        let folder = tempfile::tempdir().unwrap();
        let program = Program::start("demo", folder.path(), &["--lan"]);
        assert!(program.public.starts_with("10.77.0.5:"), "{}", program.public);
        // By then the demo has its carts.
        program.said.until("/demo on this machine");

        let neighbour = ["--interface", "10.78.0.9"];
        assert!(ask(folder.path(), &neighbour, &program, "/app/").starts_with("HTTP/1.1 200"));
        let guest = ask(folder.path(), &[&neighbour[..], &["-X", "POST"]].concat(), &program, "/auth/guest");
        assert!(guest.contains("access_token"), "{guest}");
        for request in [["-X", "GET", "/demo/config.json"], ["-X", "POST", "/demo/enrol/1"]] {
            let [x, method, path] = request;
            let refused = ask(folder.path(), &[&neighbour[..], &[x, method]].concat(), &program, path);
            assert!(refused.starts_with("HTTP/1.1 404") && !refused.contains("admin@"), "{refused}");
            // So does a tunnel on this machine, whose clients may be anybody.
            let relayed = ["-H", "X-Forwarded-For: 203.0.113.7", x, method];
            assert!(ask(folder.path(), &relayed, &program, path).starts_with("HTTP/1.1 404"));
            let here = ask(folder.path(), &[x, method], &program, path);
            assert!(here.starts_with("HTTP/1.1 20"), "{here}");
        }
    });
}

fn ask(folder: &Path, args: &[&str], program: &Program, path: &str) -> String {
    let cert = folder.join("lan-cert.pem");
    let url = format!("https://{}{path}", program.public);
    text(curl(&[&["--cacert", cert.to_str().unwrap()], args, &[&url]].concat()))
}

/// Runs the calling test again inside a network namespace of its own, where there is nothing but loopback.
fn within_a_network(test: &str, inside: impl FnOnce()) {
    if std::env::var_os("CARTLINK_NAMESPACE").is_some() {
        run("ip link set lo up");
        return inside();
    }
    let again = Command::new("unshare")
        .args(["--map-root-user", "--net", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("CARTLINK_NAMESPACE", "1")
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&again.stdout), String::from_utf8_lossy(&again.stderr));
    assert!(again.status.success() && said.contains("1 passed"), "inside the namespace: {said}");
}

fn run(line: &str) {
    let mut words = line.split(' ');
    assert!(Command::new(words.next().unwrap()).args(words).status().unwrap().success(), "{line}");
}

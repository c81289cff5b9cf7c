//! What survives the death of the process: everything that was answered, and everything that was written.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::helpers::{Answer, Screen};

/// The real program as a process of its own, on SQLite.
struct Program {
    child: Child,
    public: String,
}

impl Program {
    async fn start(folder: &std::path::Path, flags: &[&str]) -> Self {
        let ports = folder.join("ports");
        let _absent_at_first = std::fs::remove_file(&ports);
        let child = Command::new(env!("CARGO_BIN_EXE_cartlink"))
            .arg("demo")
            .args(["--bind=127.0.0.1:0", "--bindctl=127.0.0.1:0"])
            .arg(format!("--data={}", folder.display()))
            .arg(format!("--ports-file={}", ports.display()))
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut program = Self { child, public: String::new() };
        let text = loop {
            if let Ok(text) = std::fs::read_to_string(&ports) {
                break text;
            }
            assert!(program.child.try_wait().unwrap().is_none(), "the program has ended");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        program.public = format!("http://{}", text.lines().next().unwrap());
        program
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[tokio::test]
async fn an_event_written_before_a_crash_arrives_after_it_once() {
    let folder = tempfile::tempdir().unwrap();
    let http = reqwest::Client::new();
    let (last_id, cookie, token, code) = {
        let program = Program::start(folder.path(), &[]).await;
        let (cookie, token) = people(&http, &program, folder.path()).await;
        let screen = Screen::open(http.get(format!("{}/sse/1?ack=1", program.public)).header("cookie", &cookie)).await;
        let code =
            Answer::of(http.get(format!("{}/customer-session/qr/1.json", program.public)).header("cookie", &cookie))
                .await
                .ok();
        (screen.last_id.clone().unwrap(), cookie, token, code["code"].as_str().unwrap().to_owned())
    };
    {
        let mut program = Program::start(folder.path(), &["--fault=commit-before-push"]).await;
        let scan = http.post(format!("{}/customer-session/scan-qr", program.public)).bearer_auth(&token);
        let lost = scan.json(&serde_json::json!({ "token": code })).send().await;
        assert!(lost.is_err(), "the server dies before it answers");
        program.child.wait().unwrap();
    }
    let program = Program::start(folder.path(), &[]).await;
    let stream =
        http.get(format!("{}/sse/1?ack=1", program.public)).header("cookie", &cookie).header("last-event-id", &last_id);
    let mut screen = Screen::open(stream).await;
    let started = screen.expect("session-started").await;
    let acked = http
        .post(format!("{}/customer-session/{}/ack", program.public, started["session_id"]))
        .header("cookie", &cookie);
    Answer::of(acked).await.ok();
    screen.expect("session-fetched").await;
    // The phone that lost the answer asks again, and gets the session it has.
    let again = http.post(format!("{}/customer-session/scan-qr", program.public)).bearer_auth(&token);
    let again = Answer::of(again.json(&serde_json::json!({ "token": code }))).await.ok();
    assert_eq!(again["session_id"], started["session_id"]);
}

/// The demo's first cart as a screen's cookie, and its customer's access token.
async fn people(http: &reqwest::Client, program: &Program, folder: &std::path::Path) -> (String, String) {
    let enrolled = http.post(format!("{}/demo/enrol/1", program.public)).send().await.unwrap();
    let cookie = enrolled.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let demo: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("demo.json")).unwrap()).unwrap();
    let form = [
        ("username", demo["customer"]["email"].as_str().unwrap()),
        ("password", demo["customer"]["password"].as_str().unwrap()),
    ];
    let signed_in = Answer::of(http.post(format!("{}/auth/login", program.public)).form(&form)).await.ok();
    (cookie, signed_in["access_token"].as_str().unwrap().to_owned())
}

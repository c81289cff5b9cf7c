//! The examples in `deploy/`, run as they stand but for addresses and certificates: a stream passes each proxy frame by
//! frame, and a node that stops is not noticed behind it. Of the compose file and the unit, the commands are run.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::helpers::{Cart, Cluster, Nats, Phone, Postgres, World, free_port};

/// A proxy in front of three nodes.
struct Front {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Front {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The example with this test's addresses, and the command that runs it.
fn command(name: &str, port: u16, nodes: &[&World; 3], folder: &Path) -> Command {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/deploy").join(name);
    let mut text = std::fs::read_to_string(example).unwrap();
    for (host, node) in ["node-a:8000", "node-b:8000", "node-c:8000"].iter().zip(nodes) {
        assert!(text.contains(host));
        text = text.replace(host, &node.address);
    }
    let folder_shown = folder.display();
    let file = folder.join(name);
    let mut command;
    match name {
        "nginx.conf" => {
            text = text.lines().filter(|line| !line.contains("ssl_certificate")).collect::<Vec<_>>().join("\n");
            text = text.replace("listen 443 ssl;", &format!("listen 127.0.0.1:{port};"));
            // Where whoever runs the tests may write.
            text = text.replace("http {", &format!("http {{ client_body_temp_path {folder_shown}/body; proxy_temp_path {folder_shown}/proxy; fastcgi_temp_path {folder_shown}/f; uwsgi_temp_path {folder_shown}/u; scgi_temp_path {folder_shown}/s;"));
            text = text.replace("access_log /dev/stdout plain;", "access_log off;");
            command = Command::new("nginx");
            command
                .arg("-c")
                .arg(&file)
                .arg("-e")
                .arg("stderr")
                .arg("-g")
                .arg(format!("daemon off; pid {folder_shown}/pid;"));
        }
        "haproxy.cfg" => {
            text = text.replace("bind :443 ssl crt /etc/ssl/cartlink.pem", &format!("bind 127.0.0.1:{port}"));
            // As many open files as a test may have.
            text = text.replace("maxconn 200000", "maxconn 1000");
            command = Command::new("haproxy");
            command.arg("-db").arg("-f").arg(&file);
        }
        _ => {
            text = text.replace("carts.example {", &format!("http://127.0.0.1:{port} {{"));
            text = format!("{{\n\tadmin off\n}}\n{text}");
            command = Command::new("caddy");
            command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file);
            command.env("XDG_DATA_HOME", folder).env("XDG_CONFIG_HOME", folder);
        }
    }
    std::fs::write(&file, text).unwrap();
    command
}

async fn front(name: &str, cluster: &Cluster) -> (Front, World) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let port = free_port();
    let mut command = command(name, port, &cluster.abc(), folder.path());
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let child = command.env("PATH", path).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let front =
        Front { child: child.unwrap_or_else(|error| panic!("{name}: {error}; run tests/run")), _folder: folder };
    let mut world = World::prepare(&[]);
    world.address = format!("127.0.0.1:{port}");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while world.readiness().await.0 != 200 {
        assert!(tokio::time::Instant::now() < deadline, "{name} passes requests within 60 s");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (front, world)
}

async fn works(name: &str) {
    let mut cluster = Cluster::start().await;
    let (_front, world) = front(name, &cluster).await;
    let cart = Cart::enrolled(&world, &world.admin().await, "7").await;
    let phone = world.phone().await;
    // On a node that stays, whichever the proxy would take.
    let direct = cart.on(&cluster.nodes[2]).acking_screen().await;
    let mut through = cart.acking_screen().await;
    let session = phone.scan(&cart.qr().await).await.ok();
    through.expect("session-started").await;
    phone.post(&format!("/customer-session/{}/end", session["session_id"])).await.ok();
    through.expect("session-ended").await;
    drop((direct, through));

    let stopping = cluster.nodes[0].stop();
    let asking = async {
        for _ in 0..100 {
            let answer = phone.get("/auth/me").await;
            assert_eq!(answer.status, 200, "{name}: {}", answer.text);
        }
    };
    tokio::join!(stopping, asking);
    let scan = json!({ "token": cart.qr().await });
    let session = insist(&phone, "/customer-session/scan-qr", "scan", &scan).await;
    insist(&phone, &format!("/customer-session/{}/end", session["session_id"]), "end", &json!({})).await;
}

/// A POST that crosses the end of a kept connection is not the proxy's to send again, but the phone's: it has a key.
async fn insist(phone: &Phone<'_>, path: &str, key: &str, body: &Value) -> Value {
    for _ in 0..3 {
        let answer = phone.post_keyed(path, key, body).await;
        if answer.status != 502 {
            return answer.ok();
        }
    }
    panic!("{path}: answered 502 three times")
}

#[tokio::test]
async fn nginx_passes_streams_and_hides_a_stopping_node() {
    works("nginx.conf").await;
}

#[tokio::test]
async fn haproxy_passes_streams_and_hides_a_stopping_node() {
    works("haproxy.cfg").await;
}

#[tokio::test]
async fn caddy_passes_streams_and_hides_a_stopping_node() {
    works("Caddyfile").await;
}

fn example(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/deploy").join(name)).unwrap()
}

/// What stands after `key` on its line, with these put in for what the example leaves open.
fn value(text: &str, key: &str, put_in: &[(&str, String)]) -> String {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(key)).unwrap_or_else(|| panic!("{key}"));
    put_in.iter().fold(line.trim().to_owned(), |line, (from, to)| line.replace(from, to))
}

/// Runs a node as an example says until it is ready, with the bus up.
async fn serves(command: &str, environment: Vec<(String, String)>, folder: &Path) {
    let ports = folder.join("ports");
    let mut node = Command::new(env!("CARGO_BIN_EXE_cartlink"))
        .args(command.split(' ').skip_while(|word| *word != "serve"))
        .envs(environment)
        .env("CARTLINK_BINDCTL", "127.0.0.1:0")
        .env("CARTLINK_PORTS_FILE", &ports)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut world = World::prepare(&[]);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(90);
    let ready = loop {
        if let Ok(text) = std::fs::read_to_string(&ports) {
            world.address = text.lines().next().unwrap().to_owned();
            let (status, text) = world.readiness().await;
            if status == 200 && text.contains("\"bus\":\"up\"") {
                break Ok(());
            }
        }
        if node.try_wait().unwrap().is_some() || tokio::time::Instant::now() > deadline {
            break Err(world.readiness().await);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let _gone = node.kill();
    let _reaped = node.wait();
    assert_eq!(ready, Ok(()), "{command}");
}

#[tokio::test]
async fn the_commands_of_the_compose_file_and_of_the_unit_make_a_node() {
    let (compose, unit, folder) = (example("compose.yaml"), example("cartlink.service"), tempfile::tempdir().unwrap());
    let password = [("${NATS_PASSWORD:?}", "a-password".to_owned())];
    let nats = value(compose.split("image: nats").nth(1).unwrap(), "command:", &password);
    let nats = Nats::with(nats.split(' ').map(str::to_owned).collect()).await;
    let postgres = Postgres::start().await;
    let put_in = [
        ("${POSTGRES_PASSWORD:?}@postgres", format!("any@127.0.0.1:{}", postgres.port)),
        ("${NATS_PASSWORD:?}@nats:4222", format!("a-password@127.0.0.1:{}", nats.port)),
        ("${CARTLINK_MASTER_SECRET:?}", crate::helpers::SECRET.to_owned()),
        ("0.0.0.0:8000", "127.0.0.1:0".to_owned()),
    ];
    let names = compose.lines().filter_map(|line| line.trim().strip_prefix("CARTLINK_")?.split_once(": "));
    let environment: Vec<(String, String)> = names
        .map(|(name, _)| (format!("CARTLINK_{name}"), value(&compose, &format!("CARTLINK_{name}:"), &put_in)))
        .collect();
    assert!(environment.len() >= 4, "{environment:?}");
    for (command, place) in
        [(value(&compose, "command:", &put_in), "compose"), (value(&unit, "ExecStart=", &put_in), "unit")]
    {
        let own = folder.path().join(place);
        std::fs::create_dir(&own).unwrap();
        let data = own.join("data").display().to_string();
        let command = command.replace("--data /tmp", "--data /var/lib/cartlink").replace("/var/lib/cartlink", &data);
        serves(&command, environment.clone(), &own).await;
    }
}

//! Another back end that webhooks are delivered to: it takes its time, and keeps what it was told.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A message as it came.
#[derive(Debug)]
pub struct Message {
    pub id: String,
    pub kind: String,
    pub session: i64,
}

pub struct Receiver {
    pub url: String,
    messages: mpsc::UnboundedReceiver<Message>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (sender, messages) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, sender.clone()));
            }
        });
        Self { url, messages }
    }

    pub async fn next(&mut self) -> Message {
        let next = tokio::time::timeout(Duration::from_secs(60), self.messages.recv());
        next.await.expect("a message within 60 s").unwrap()
    }
}

async fn serve(mut stream: TcpStream, sender: mpsc::UnboundedSender<Message>) {
    let mut read = String::new();
    loop {
        let mut buffer = vec![0; 4096];
        let Ok(more @ 1..) = stream.read(&mut buffer).await else { return };
        read.push_str(std::str::from_utf8(&buffer[..more]).unwrap());
        let Some((head, body)) = read.split_once("\r\n\r\n") else { continue };
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        if body.len() < header("content-length").unwrap().parse::<usize>().unwrap() {
            continue;
        }
        let told: serde_json::Value = serde_json::from_str(body).unwrap();
        let message = Message {
            id: header("webhook-id").unwrap().to_owned(),
            kind: told["type"].as_str().unwrap().to_owned(),
            session: told["data"]["session_id"].as_i64().unwrap(),
        };
        // Long enough for the other nodes to look for what is due.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let _test_is_over = sender.send(message);
        let answered = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        if answered.is_err() {
            return;
        }
        read.clear();
    }
}

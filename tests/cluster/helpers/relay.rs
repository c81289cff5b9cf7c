//! A relay before PostgreSQL that breaks in the middle of one transaction, at a moment of the test's choosing.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What is lost of the transaction in which a certain text is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// The statement with the text, and all after it: the server never hears COMMIT.
    Statement,
    /// The server's answer to COMMIT: it stands, and nobody is told.
    Answer,
}

pub struct Relay {
    pub port: u16,
    next: Arc<Mutex<Option<(Loss, String)>>>,
}

impl Relay {
    /// To a server on this port. On a thread of its own: a test may wait in one for a process that needs it.
    pub fn to(server: u16) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let relay = Self { port: listener.local_addr().unwrap().port(), next: Arc::default() };
        let next = Arc::clone(&relay.next);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((client, _)) = listener.accept().await {
                    let next = Arc::clone(&next);
                    tokio::spawn(async move {
                        let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                        carry(client, server, &next).await;
                    });
                }
            });
        });
        relay
    }

    /// Breaks once, in the transaction that sends `text`.
    pub fn break_at(&self, loss: Loss, text: &str) {
        *self.next.lock().unwrap() = Some((loss, text.to_owned()));
    }

    /// Whether it has broken, or is about to.
    pub fn has_broken(&self) -> bool {
        self.next.lock().unwrap().is_none()
    }
}

/// Carries both ways until either end is done, or the connection is to break.
async fn carry(mut client: TcpStream, mut server: TcpStream, next: &Mutex<Option<(Loss, String)>>) {
    let (mut asked, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let (mut marked, mut committing) = (false, false);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(length @ 1..) = read else { return };
                let said = String::from_utf8_lossy(&asked[..length]);
                let hit = next.lock().unwrap().take_if(|(_, text)| said.contains(text.as_str()));
                match hit {
                    Some((Loss::Statement, _)) => return,
                    Some((Loss::Answer, _)) => marked = true,
                    None => {}
                }
                committing |= marked && said.contains("COMMIT");
                if server.write_all(&asked[..length]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                if committing || client.write_all(&answered[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

//! Ports that a server may lose and take again: below those the system gives to clients, and claimed for as long as this
//! process lives, so that no other test takes one meanwhile.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Mutex;

/// Below those that `tests/servers.sh` gives to databases and the bus.
const FIRST: u16 = 10_000;
const COUNT: u16 = 10_000;

/// A name each, which only one process can listen on.
static CLAIMS: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// A port nobody listens on and nobody else will.
pub fn free_port() -> u16 {
    loop {
        let port = FIRST + rand::random_range(0..COUNT);
        let name = SocketAddr::from_abstract_name(format!("cartlink-test-port-{port}")).unwrap();
        if let Ok(claim) = UnixListener::bind_addr(&name)
            && TcpListener::bind(("0.0.0.0", port)).is_ok()
        {
            CLAIMS.lock().unwrap().push(claim);
            return port;
        }
    }
}

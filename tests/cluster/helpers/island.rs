//! A node on an island: a network namespace of its own, joined to the rest by one link each for clients, database and
//! bus. A link that is cut drops every packet in both directions without a word, as a pulled cable does.

use std::process::{Child, Command, Stdio};

use super::namespace::{self, run};

/// Runs the calling test again inside a network namespace. True in there; false outside, where the test is over then.
pub fn within_namespace(test: &str) -> bool {
    // PostgreSQL is run by an account of its own where root runs the test, and by the user elsewhere: both keep their ids.
    let root = super::engines::is_root();
    namespace::within(if root { &["--net"] } else { &["--user", "--map-current-user", "--keep-caps", "--net"] }, test)
}

/// The island; it sinks when dropped.
pub struct Island {
    holder: Child,
    pub clients: Link,
    pub database: Link,
    pub bus: Link,
}

impl Island {
    pub fn new() -> Self {
        let holder = Command::new("unshare").args(["--net", "sleep", "infinity"]).stdin(Stdio::null()).spawn().unwrap();
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        // A process that is just becoming another has no namespace to read.
        while std::fs::read_link(format!("/proc/{}/ns/net", holder.id())).map_or(true, |its| its == own) {
            std::thread::yield_now();
        }
        let island = holder.id();
        run(&mut within(island, "ip"), "link set lo up");
        let [clients, database, bus] = [1, 2, 3].map(|number| Link::laid(island, number));
        Self { holder, clients, database, bus }
    }

    /// A command that runs there.
    pub fn command(&self, program: &str) -> Command {
        within(self.holder.id(), program)
    }
}

impl Drop for Island {
    fn drop(&mut self) {
        let _gone = self.holder.kill();
        let _reaped = self.holder.wait();
    }
}

fn within(island: u32, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["-t", &island.to_string(), "-n", "--", program]);
    command
}

/// A cable between the island and the rest.
pub struct Link {
    island: u32,
    number: u8,
}

impl Link {
    fn laid(island: u32, number: u8) -> Self {
        let link = Self { island, number };
        let (near, far) = (link.card(1), link.card(2));
        run(
            &mut Command::new("ip"),
            &format!("link add near{number} address {near} type veth peer name far{number} address {far}"),
        );
        run(&mut Command::new("ip"), &format!("link set far{number} netns {island}"));
        for (mut ip, end, address) in link.ends() {
            run(&mut ip, &format!("addr add {address}/24 dev {end}{number}"));
        }
        for (mut ip, end, _) in link.ends() {
            run(&mut ip, &format!("link set {end}{number} up"));
        }
        link.mend();
        link
    }

    /// The address of this side, as the island sees it.
    pub fn near(&self) -> String {
        format!("10.9.{}.1", self.number)
    }

    /// The island's own address.
    pub fn far(&self) -> String {
        format!("10.9.{}.2", self.number)
    }

    fn card(&self, end: u8) -> String {
        format!("02:00:00:00:{:02x}:{end:02x}", self.number)
    }

    fn ends(&self) -> [(Command, &'static str, String); 2] {
        [(Command::new("ip"), "near", self.near()), (within(self.island, "ip"), "far", self.far())]
    }

    /// Each end sends to a card that is not there: frames leave, and nobody takes them.
    pub fn cut(&self) {
        self.address(&[self.card(0xee), self.card(0xee)]);
    }

    pub fn mend(&self) {
        self.address(&[self.card(2), self.card(1)]);
    }

    fn address(&self, cards: &[String; 2]) {
        let others = [self.far(), self.near()];
        for (((mut ip, end, _), other), card) in self.ends().into_iter().zip(others).zip(cards) {
            run(&mut ip, &format!("neigh replace {other} lladdr {card} dev {end}{} nud permanent", self.number));
        }
    }
}

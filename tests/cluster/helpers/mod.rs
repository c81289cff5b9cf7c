//! A cluster to test in: nodes of the real program, a PostgreSQL and a NATS of its own, and actors who use them.

#[path = "../../api/helpers/actors.rs"]
#[expect(dead_code, reason = "shared with tests/api, where all of it is used")]
mod actors;
mod balancer;
mod certificates;
mod engines;
mod island;
mod load;
#[path = "../../faults/namespace.rs"]
mod namespace;
mod node;
#[path = "../../api/helpers/ports.rs"]
mod ports;
mod receiver;
mod relay;
#[path = "../../api/helpers/screen.rs"]
#[expect(dead_code, reason = "shared with tests/api, where all of it is used")]
mod screen;
mod watcher;

pub use actors::{Answer, Cart, Phone, Staff};
pub use balancer::Balancer;
pub use certificates::certificates;
pub use engines::{Nats, Postgres, Rows};
pub use island::{Island, within_namespace};
pub use load::{Load, Pace, Tally};
pub use node::{Cluster, SECRET, World};
pub use ports::free_port;
pub use receiver::Receiver;
pub use relay::{Loss, Relay};
pub use screen::Screen;
pub use watcher::{Watched, watch};

impl<'w> Phone<'w> {
    /// The same customer, asking another node.
    pub fn on(&self, world: &'w World) -> Self {
        Self { world, token: self.token.clone(), refresh_token: self.refresh_token.clone(), id: self.id }
    }
}

impl<'w> Cart<'w> {
    /// The same cart, asking another node.
    pub fn on(&self, world: &'w World) -> Self {
        Self { world, id: self.id.clone(), key: self.key.clone() }
    }
}

impl<'w> Staff<'w> {
    /// The same staff member, asking another node.
    pub fn on(&self, world: &'w World) -> Self {
        Self { world, token: self.token.clone() }
    }
}

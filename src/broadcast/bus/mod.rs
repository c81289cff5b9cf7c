//! The bus: how a node wakes the others.
//!
//! It carries what was committed, but nothing hangs on its arrival: the log is the truth, and
//! [`heal`] compares every followed channel with it after any hiccup and once per heartbeat.
//! Channels fall into partitions, and a node listens only where somebody follows, so that an event
//! costs nothing on a node that has no use for it.

pub mod heal;
pub mod local;
pub mod nats;
pub mod store;

use std::sync::Arc;

use tokio::sync::{Notify, oneshot};

use super::streams::Owner;
use crate::config::Config;
use crate::event::{Channel, Event};

/// What a channel's events are grouped by on the bus.
pub type Partition = u8;

/// How many partitions there are.
pub const PARTITIONS: usize = 1 << Partition::BITS;

/// A way to the other nodes. No call waits: a request never hangs on the bus.
pub trait Bus: Send + Sync {
    /// Tells the other nodes what was committed here.
    fn publish(&self, events: &[Event]);

    /// Tells the other nodes that what these streams live by has ended, but for those that the key of this hash has opened.
    fn revoke(&self, owner: &Owner, but: Option<&str>);

    /// Tells the other nodes that something may have been committed here that cannot be told.
    fn doubt(&self);

    /// Somebody here began to follow a channel of this partition.
    fn listen(&self, partition: Partition);

    /// Nobody here follows a channel of this partition any more.
    fn leave(&self, partition: Partition);

    /// Whether whatever the other nodes tell can be expected to arrive.
    fn is_whole(&self) -> bool;

    /// Lets the other nodes know that this one stops on purpose; resolves once that is on its way.
    fn say_goodbye(&self) -> oneshot::Receiver<()>;
}

/// The bus this configuration asks for, and the work it needs done in the background.
pub fn open(config: &Config, doubt: Arc<Notify>) -> (Arc<dyn Bus>, Option<nats::Work>) {
    if config.bus.0 == "local" {
        return (Arc::new(local::Local), None);
    }
    let (bus, work) = nats::Nats::new(doubt);
    (Arc::new(bus), Some(work))
}

/// The same on every node and in every release: FNV-1a of the channel's name, and a finish that spreads what
/// little differs between the names of neighbours over all bits.
pub fn partition(channel: &Channel) -> Partition {
    let hash = channel
        .to_string()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let spread = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    Partition::try_from(spread >> (u64::BITS - Partition::BITS)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::CartNum;

    #[test]
    fn channels_spread_evenly_and_always_the_same_way() {
        let mut sizes = [0_u32; PARTITIONS];
        for num in 1..=25_600 {
            sizes[usize::from(partition(&Channel::Cart(CartNum(num))))] += 1;
        }
        assert!(sizes.iter().all(|size| (40..=160).contains(size)), "{sizes:?}");
        assert_eq!(partition(&Channel::Cart(CartNum(7))), partition(&"cart/7".to_owned().try_into().unwrap()));
    }
}

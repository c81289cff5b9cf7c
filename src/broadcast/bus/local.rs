//! The bus of a node that is alone: there is nobody to tell.

use tokio::sync::oneshot;

use super::{Bus, Partition};
use crate::broadcast::streams::Owner;
use crate::event::Event;

/// No other nodes.
pub struct Local;

impl Bus for Local {
    fn publish(&self, _: &[Event]) {}

    fn revoke(&self, _: &Owner, _: Option<&str>) {}

    fn doubt(&self) {}

    fn listen(&self, _: Partition) {}

    fn leave(&self, _: Partition) {}

    fn is_whole(&self) -> bool {
        true
    }

    fn say_goodbye(&self) -> oneshot::Receiver<()> {
        oneshot::channel().1
    }
}

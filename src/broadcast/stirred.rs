//! Which carts something has happened on since somebody last asked: what the live floor looks at again.
//!
//! A set and not a queue: a cart on which a hundred things happen is looked at once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::event::Channel;
use crate::ids::CartNum;

/// Carts with news. While nobody listens, noting one costs a look at a flag.
#[derive(Default)]
pub struct Stirred {
    listening: AtomicBool,
    carts: Mutex<BTreeSet<CartNum>>,
    news: Notify,
}

impl Stirred {
    /// From now on carts are noted, or no longer.
    pub fn listen(&self, listening: bool) {
        self.listening.store(listening, Ordering::Release);
        if !listening {
            self.take();
        }
    }

    /// Something happened on this channel.
    pub fn note(&self, channel: &Channel) {
        if let Channel::Cart(cart) = channel
            && self.listening.load(Ordering::Acquire)
        {
            self.carts.lock().unwrap_or_else(PoisonError::into_inner).insert(*cart);
            self.news.notify_one();
        }
    }

    /// Those noted so far, each once.
    pub fn take(&self) -> BTreeSet<CartNum> {
        std::mem::take(&mut *self.carts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Resolves once something has been noted.
    pub async fn news(&self) {
        self.news.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cart_is_noted_once_and_only_while_somebody_listens() {
        let stirred = Stirred::default();
        let cart = Channel::Cart(CartNum(7));
        stirred.note(&cart);
        assert!(stirred.take().is_empty());
        stirred.listen(true);
        stirred.note(&cart);
        stirred.note(&cart);
        stirred.note(&Channel::Emitted("7".into()));
        assert_eq!(stirred.take(), BTreeSet::from([CartNum(7)]));
        stirred.note(&cart);
        stirred.listen(false);
        assert!(stirred.take().is_empty());
    }
}

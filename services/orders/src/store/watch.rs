//! Tells watchers of changes.
//!
//! A watched order has one ring of its latest changes, shared by all its watchers. The writer puts a change
//! in and goes on, whoever reads; a watcher that falls behind the ring learns so and reads the latest state
//! instead. An order changes at most three times, so in practice nobody falls behind. A ring lives as long as
//! the order has a watcher.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::domain::order::Order;

/// Changes a ring holds for its slowest watcher.
const RING: usize = 8;

/// Most watchers of one process. Beyond, a call is refused: the memory of rings stays bounded.
pub(crate) const MAX_WATCHERS: usize = 10_000;

/// There are [`MAX_WATCHERS`] already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("too many watchers")]
pub(crate) struct TooManyWatchers;

/// All watchers. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watchers {
    rings: Arc<Mutex<Rings>>,
}

#[derive(Debug, Default)]
struct Rings {
    by_order: HashMap<String, broadcast::Sender<Arc<Order>>>,
    watchers: usize,
}

/// What a watcher learns next.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// The order as it stands after a commit.
    Now(Arc<Order>),
    /// Changes were missed: read the latest state.
    Missed,
}

impl Watchers {
    /// Starts to listen. Listen first and read the state second: a commit between the two is then seen twice
    /// rather than never, and [`Order::version`] tells.
    pub(crate) fn watch(&self, id: &str) -> Result<Watching, TooManyWatchers> {
        let mut rings = self.lock();
        if rings.watchers >= MAX_WATCHERS {
            return Err(TooManyWatchers);
        }
        rings.watchers += 1;
        let ring = rings.by_order.entry(id.to_owned()).or_insert_with(|| broadcast::channel(RING).0);
        Ok(Watching { changes: ring.subscribe(), id: id.to_owned(), watchers: self.clone() })
    }

    /// Tells the watchers of `order`, if it has any. Never waits.
    pub(crate) fn publish(&self, order: &Arc<Order>) {
        if let Some(ring) = self.lock().by_order.get(&order.id) {
            // An error means that the last watcher is just leaving.
            ring.send(Arc::clone(order)).ok();
        }
    }

    /// No panic happens under this lock, so a poisoned one still holds good data.
    fn lock(&self) -> MutexGuard<'_, Rings> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One watcher of one order; dropping it ends the watch.
#[derive(Debug)]
pub(crate) struct Watching {
    changes: broadcast::Receiver<Arc<Order>>,
    id: String,
    watchers: Watchers,
}

impl Watching {
    /// Waits for the next change. `None` when nobody can publish any more.
    ///
    /// # Cancel safety
    ///
    /// A dropped call loses no change.
    pub(crate) async fn next(&mut self) -> Option<Change> {
        match self.changes.recv().await {
            Ok(order) => Some(Change::Now(order)),
            Err(RecvError::Lagged(_)) => Some(Change::Missed),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut rings = self.watchers.lock();
        rings.watchers -= 1;
        // Watchers come and go only under the lock, so one receiver is this one.
        if rings.by_order.get(&self.id).is_some_and(|ring| ring.receiver_count() == 1) {
            rings.by_order.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::*;
    use crate::clock::Micros;
    use crate::domain::order::Status;

    fn order(id: &str, version: i64) -> Arc<Order> {
        Arc::new(Order {
            id: id.into(),
            user_id: "ada".into(),
            items: Vec::new(),
            total: Decimal::ZERO,
            status: Status::Pending,
            version,
            created: Micros(0),
            updated: Micros(0),
        })
    }

    #[tokio::test]
    async fn a_watcher_learns_every_change_in_order() {
        let watchers = Watchers::default();
        let mut watching = watchers.watch("a").unwrap();
        for version in 1..=3 {
            watchers.publish(&order("a", version));
            watchers.publish(&order("b", version));
        }
        for version in 1..=3 {
            assert_eq!(watching.next().await, Some(Change::Now(order("a", version))));
        }
    }

    #[tokio::test]
    async fn a_slow_watcher_is_told_that_it_missed_changes() {
        let watchers = Watchers::default();
        let mut watching = watchers.watch("a").unwrap();
        for version in 1..=100 {
            watchers.publish(&order("a", version));
        }
        assert_eq!(watching.next().await, Some(Change::Missed));
        assert_eq!(watching.next().await, Some(Change::Now(order("a", 93))));
    }

    #[test]
    fn a_ring_ends_with_its_last_watcher() {
        let watchers = Watchers::default();
        let (first, second) = (watchers.watch("a").unwrap(), watchers.watch("a").unwrap());
        drop(first);
        assert_eq!(watchers.lock().by_order.len(), 1);
        drop(second);
        assert_eq!(watchers.lock().by_order.len(), 0);
        assert_eq!(watchers.lock().watchers, 0);
    }

    #[test]
    fn watchers_are_bounded() {
        let watchers = Watchers::default();
        let all: Vec<_> = (0..MAX_WATCHERS).map(|n| watchers.watch(&n.to_string()).unwrap()).collect();
        assert_eq!(watchers.watch("one more").unwrap_err(), TooManyWatchers);
        drop(all);
        watchers.watch("one more").unwrap();
    }
}

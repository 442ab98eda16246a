//! Tells watchers of changes.
//!
//! A watched order has one ring of its latest changes, shared by all its watchers. The follower puts a change
//! in and goes on, whoever reads; a watcher that falls behind the ring learns so and reads the latest state
//! instead. An order changes at most three times, so in practice nobody falls behind. A ring lives as long as
//! the order has a watcher.
//!
//! The follower rests while nobody watches. A watcher that wakes it waits until it knows where to begin, and reads the state
//! only then: no change falls between the two.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use highball::current;
use thiserror::Error;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::ReadError;
use crate::domain::order::Order;

/// Changes a ring holds for its slowest watcher.
const RING: usize = 8;

/// Most watchers of one process. Beyond, a call is refused: the memory of rings stays bounded.
pub(crate) const MAX_WATCHERS: usize = 10_000;

/// How long a watcher waits for the follower to begin before the call is told to come back, unless its deadline is nearer.
const WAIT: Duration = Duration::from_secs(5);

/// There are [`MAX_WATCHERS`] already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("too many watchers")]
pub(crate) struct TooManyWatchers;

/// All watchers. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watchers {
    rings: Arc<Mutex<Rings>>,
    /// Somebody began to watch, or this process committed a change.
    stirred: Arc<Notify>,
    /// Changes only under the lock of the rings.
    follower: Arc<watch::Sender<Follower>>,
}

#[derive(Debug, Default)]
struct Rings {
    by_order: HashMap<String, broadcast::Sender<Change>>,
    watchers: usize,
}

/// What the task that publishes does.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Follower {
    /// It does not read, or does not know yet where to begin.
    #[default]
    Rests,
    /// It publishes every change from now on.
    Follows,
    /// It is no more.
    Closed,
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
    /// Starts to listen. Listen first, wait until it has [begun](Watching::begun), and read the state last: a commit in
    /// between is then seen twice rather than never, and [`Order::version`] tells.
    pub(crate) fn watch(&self, id: &str) -> Result<Watching, TooManyWatchers> {
        let mut rings = self.lock();
        if rings.watchers >= MAX_WATCHERS {
            return Err(TooManyWatchers);
        }
        rings.watchers += 1;
        let changes = match *self.follower.borrow() {
            // Without a sender: the end is heard at once.
            Follower::Closed => broadcast::channel(RING).1,
            Follower::Rests | Follower::Follows => {
                let ring = rings.by_order.entry(id.to_owned());
                ring.or_insert_with(|| broadcast::channel(RING).0).subscribe()
            }
        };
        drop(rings);
        self.stir();
        Ok(Watching { changes, id: id.to_owned(), watchers: self.clone() })
    }

    /// Wakes the follower.
    pub(super) fn stir(&self) {
        self.stirred.notify_one();
    }

    /// Waits until somebody wakes the follower, if nobody has since the last time.
    pub(super) async fn stirred(&self) {
        self.stirred.notified().await;
    }

    /// Lets the follower rest if nobody watches.
    pub(super) fn rest(&self) -> bool {
        let rings = self.lock();
        let nobody = rings.watchers == 0;
        if nobody {
            self.follower.send_replace(Follower::Rests);
        }
        nobody
    }

    /// Whether every change is published.
    pub(super) fn are_followed(&self) -> bool {
        *self.follower.borrow() == Follower::Follows
    }

    /// From now on every change is published.
    pub(super) fn followed(&self) {
        let _rings = self.lock();
        self.follower.send_replace(Follower::Follows);
    }

    /// Ends all watches, those to come as well.
    pub(super) fn close(&self) {
        let mut rings = self.lock();
        self.follower.send_replace(Follower::Closed);
        rings.by_order.clear();
    }

    /// Whether somebody watches the order.
    pub(super) fn has(&self, id: &str) -> bool {
        self.lock().by_order.contains_key(id)
    }

    /// Tells the watchers of `order`, if it has any. Never waits.
    pub(super) fn publish(&self, order: Arc<Order>) {
        if let Some(ring) = self.lock().by_order.get(&order.id) {
            // An error means that the last watcher is just leaving.
            ring.send(Change::Now(order)).ok();
        }
    }

    /// Tells everybody that changes were missed. Never waits.
    pub(super) fn missed(&self) {
        for ring in self.lock().by_order.values() {
            // As above.
            ring.send(Change::Missed).ok();
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
    changes: broadcast::Receiver<Change>,
    id: String,
    watchers: Watchers,
}

impl Watching {
    /// Waits until every later change will be heard.
    ///
    /// # Errors
    ///
    /// [`ReadError::Busy`] when the database is not read within five seconds, [`ReadError::Expired`] when the deadline of
    /// the RPC passes before.
    ///
    /// # Cancel safety
    ///
    /// A dropped call changes nothing.
    pub(crate) async fn begun(&self) -> Result<(), ReadError> {
        let mut follower = self.watchers.follower.subscribe();
        let begun = timeout(WAIT, follower.wait_for(|follower| *follower != Follower::Rests));
        // The sender lives as long as `self`; who is told that it is closed hears so from `next`.
        let begun = current::in_time(begun).await.map_err(ReadError::Expired)?;
        begun.map(drop).map_err(|_| ReadError::Busy)
    }

    /// Waits for the next change. `None` when nobody can publish any more.
    ///
    /// # Cancel safety
    ///
    /// A dropped call loses no change.
    pub(crate) async fn next(&mut self) -> Option<Change> {
        match self.changes.recv().await {
            Ok(change) => Some(change),
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
            watchers.publish(order("a", version));
            watchers.publish(order("b", version));
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
            watchers.publish(order("a", version));
        }
        assert_eq!(watching.next().await, Some(Change::Missed));
        assert_eq!(watching.next().await, Some(Change::Now(order("a", 93))));
    }

    #[tokio::test]
    async fn the_end_is_heard_by_those_who_watch_and_those_who_come_later() {
        let watchers = Watchers::default();
        let mut early = watchers.watch("a").unwrap();
        watchers.close();
        let mut late = watchers.watch("a").unwrap();
        early.begun().await.unwrap();
        assert_eq!((early.next().await, late.next().await), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_begins_when_changes_are_followed_and_no_sooner() {
        let watchers = Watchers::default();
        let first = watchers.watch("a").unwrap();
        assert!(matches!(first.begun().await, Err(ReadError::Busy)), "nobody follows");
        watchers.followed();
        first.begun().await.unwrap();
        assert!(!watchers.rest(), "somebody watches");
        drop(first);
        assert!(watchers.rest());
        let second = watchers.watch("a").unwrap();
        assert!(matches!(second.begun().await, Err(ReadError::Busy)), "it rested");
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

//! Owners of spawned work.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_util::FutureExt as _;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Owns tasks: dropping it aborts what still runs. With [`Spawner`], the one place that spawns.
///
/// The number of tasks is bounded by whoever spawns here (streams per connection, connections per server). A task that
/// ends leaves nothing behind but its place, for the next.
#[derive(Default)]
pub struct Tasks(Arc<Shared>);

#[derive(Default)]
struct Shared {
    running: Mutex<Running>,
    /// Told each time the last task ended.
    idle: Notify,
}

#[derive(Default)]
struct Running {
    /// The owner is gone.
    closed: bool,
    /// By place; a place that is free is taken again.
    places: Vec<Place>,
    free: Vec<usize>,
}

enum Place {
    Free,
    /// Its task is being spawned.
    Starting,
    Running(AbortHandle),
    /// Its task ended before its handle was known.
    Ended,
}

impl Running {
    fn count(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Puts a new state into a place; the one that was there, to be dropped outside of the lock.
    fn put(&mut self, place: usize, state: Place) -> Option<Place> {
        if matches!(state, Place::Free) {
            self.free.push(place);
        }
        self.places.get_mut(place).map(|now| std::mem::replace(now, state))
    }
}

impl Tasks {
    /// An owner of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns `task` under this owner. Must be called inside a tokio runtime.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        Shared::spawn(&self.0, task);
    }

    /// A hand that spawns here without keeping the owner alive: what runs here may hold one.
    #[must_use]
    pub fn spawner(&self) -> Spawner {
        Spawner(Arc::downgrade(&self.0))
    }

    /// Tasks that have not ended.
    #[must_use]
    pub fn running(&self) -> usize {
        self.0.lock().count()
    }

    /// Waits until nothing is left. Cancel safe; tasks spawned meanwhile are waited for too.
    pub async fn finished(&self) {
        loop {
            let idle = self.0.idle.notified();
            if self.running() == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Aborts everything that still runs. Its futures are dropped by the runtime, soon: [`finished`](Self::finished) tells
    /// when.
    pub fn abort_all(&self) {
        let handle =
            |place: &Place| if let Place::Running(handle) = place { Some(handle.clone()) } else { None };
        let handles: Vec<AbortHandle> = self.0.lock().places.iter().filter_map(handle).collect();
        for handle in handles {
            handle.abort();
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        // Nothing starts behind its back: what is running may be about to spawn.
        self.0.lock().closed = true;
        self.abort_all();
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("running", &self.running()).finish()
    }
}

/// Spawns under a [`Tasks`] that somebody else keeps. Once the owner is gone, tasks are dropped instead of started.
#[derive(Clone)]
pub struct Spawner(Weak<Shared>);

impl Spawner {
    /// Spawns `task` under the owner, if it is still there.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(shared) = self.0.upgrade() {
            Shared::spawn(&shared, task);
        }
    }
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spawner")
    }
}

impl Shared {
    fn spawn(this: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let mut running = this.lock();
        if running.closed {
            return;
        }
        let place = running.free.pop().unwrap_or(running.places.len());
        if running.put(place, Place::Starting).is_none() {
            running.places.push(Place::Starting);
        }
        // Not held while spawning: a runtime that shuts down drops the task right there, and its entry comes here.
        drop(running);
        // It goes with the future, which the owner has dropped by abort: the list and what runs do not keep each other.
        let entry = Entry { place, shared: this.clone() };
        #[expect(clippy::disallowed_methods, reason = "this is the owner that the ban asks for")]
        let handle = tokio::spawn(task.map(move |()| drop(entry)));
        this.settle(place, Place::Running(handle.abort_handle()));
    }

    /// A task got its handle, or ended. Whichever comes second decides about its place.
    fn settle(&self, place: usize, state: Place) {
        let mut running = self.lock();
        let state = match (running.places.get(place), state) {
            // Aborted by the owner in the meantime, or not: it is over.
            (Some(Place::Ended), Place::Running(_)) | (Some(Place::Running(_)), Place::Ended) => Place::Free,
            (_, state) => state,
        };
        let before = running.put(place, state);
        let idle = running.count() == 0;
        drop(running);
        drop(before);
        if idle {
            self.idle.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        // Nothing panics while holding it.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a task in the list; dropped with its future, however that ends.
struct Entry {
    place: usize,
    shared: Arc<Shared>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.shared.settle(self.place, Place::Ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[tokio::test]
    async fn dropping_the_owner_stops_the_work() {
        struct OnDrop(Arc<AtomicBool>);
        impl Drop for OnDrop {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let stopped = Arc::new(AtomicBool::new(false));
        let guard = OnDrop(stopped.clone());
        let tasks = Tasks::new();
        let spawner = tasks.spawner();
        tasks.spawn(async move {
            // What runs under an owner may spawn there too, and must not keep it alive.
            let _kept = (guard, spawner);
            std::future::pending::<()>().await;
        });
        assert_eq!(tasks.running(), 1);
        let late = tasks.spawner();
        drop(tasks);
        let started = Arc::new(AtomicBool::new(false));
        let mark = started.clone();
        late.spawn(async move { mark.store(true, Ordering::SeqCst) });
        while !stopped.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
        assert!(!started.load(Ordering::SeqCst), "nothing starts without an owner");
    }

    #[test]
    fn spawning_while_the_runtime_shuts_down_does_not_hang() {
        let tasks = Tasks::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let handle = runtime.handle().clone();
        drop(runtime);
        let _inside = handle.enter();
        tasks.spawn(std::future::pending());
        assert_eq!(tasks.running(), 0, "dropped at once");
    }

    #[tokio::test]
    async fn finished_waits_for_the_last_task() {
        let tasks = Tasks::new();
        for _ in 0..3 {
            tasks.spawn(tokio::task::yield_now());
        }
        tasks.finished().await;
        assert_eq!(tasks.running(), 0);
    }
}

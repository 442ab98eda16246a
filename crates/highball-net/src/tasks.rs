//! Owners of spawned work.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, ready};

use tokio::task::JoinSet;

/// Owns tasks: dropping it aborts what still runs. With [`Spawner`], the one place that spawns.
///
/// The number of tasks is bounded by whoever spawns here (streams per connection, connections per listener). Finished
/// tasks are reaped when the next one is spawned.
#[derive(Default)]
pub struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    /// An owner of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns `task` under this owner. Must be called inside a tokio runtime.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        reap_and_spawn(&mut lock(&self.0), task);
    }

    /// A hand that spawns here without keeping the owner alive: what runs here may hold one.
    #[must_use]
    pub fn spawner(&self) -> Spawner {
        Spawner(Arc::downgrade(&self.0))
    }

    /// Tasks that have not ended.
    #[must_use]
    pub fn running(&self) -> usize {
        let mut tasks = lock(&self.0);
        while tasks.try_join_next().is_some() {}
        tasks.len()
    }

    /// Waits until nothing is left. Cancel safe; tasks spawned meanwhile are waited for too.
    pub async fn finished(&self) {
        std::future::poll_fn(|cx| {
            let mut tasks = lock(&self.0);
            while ready!(tasks.poll_join_next(cx)).is_some() {}
            Poll::Ready(())
        })
        .await;
    }

    /// Aborts everything that still runs.
    pub fn abort_all(&self) {
        lock(&self.0).abort_all();
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        // Not left to the set's own drop: a spawner may be using it at this moment.
        self.abort_all();
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks")
            .field("unreaped", &lock(&self.0).len())
            .finish()
    }
}

/// Spawns under a [`Tasks`] that somebody else keeps. Once the owner is gone, tasks are dropped instead of started.
#[derive(Debug, Clone)]
pub struct Spawner(Weak<Mutex<JoinSet<()>>>);

impl Spawner {
    /// Spawns `task` under the owner, if it is still there.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(tasks) = self.0.upgrade() {
            reap_and_spawn(&mut lock(&tasks), task);
        }
    }
}

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}

fn reap_and_spawn(tasks: &mut JoinSet<()>, task: impl Future<Output = ()> + Send + 'static) {
    while tasks.try_join_next().is_some() {}
    tasks.spawn(task);
}

fn lock(tasks: &Mutex<JoinSet<()>>) -> MutexGuard<'_, JoinSet<()>> {
    // Nothing panics while holding it; a poisoned set is still a set.
    tasks.lock().unwrap_or_else(PoisonError::into_inner)
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
        drop(tasks);
        while !stopped.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
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

//! Owners of spawned work.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;
use tokio::sync::Notify;

/// Owns tasks: dropping it aborts what still runs. With [`Spawner`], the one place that spawns.
///
/// The number of tasks is bounded by whoever spawns here (streams per connection, connections per server). A task that
/// ends leaves nothing behind but its place, for the next.
///
/// A task that is aborted while it runs ends when it next returns to the runtime; one that never does is never ended.
#[derive(Default)]
pub struct Tasks(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Tasks that have not ended.
    running: AtomicUsize,
    /// The owner is gone.
    closed: AtomicBool,
    /// How often everything was aborted: a task is over when that has grown since it was spawned.
    aborts: AtomicUsize,
    /// How often everything was woken.
    wakes: AtomicUsize,
    waiting: Mutex<Waiting>,
    /// Told each time the last task ended.
    idle: Notify,
}

/// How to reach the tasks that wait for something. Most streams are answered the first time they run, and never come here.
#[derive(Default)]
struct Waiting {
    /// By place; a place that is free is taken again.
    places: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Tasks {
    /// An owner of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns `task` under this owner. Must be called inside a tokio runtime.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        Shared::spawn(self.0.clone(), None, Box::pin(task));
    }

    /// Spawns `task` under this owner, on the runtime of `handle`. Once that runtime is gone, the task is dropped.
    pub fn spawn_on(&self, handle: &Handle, task: impl Future<Output = ()> + Send + 'static) {
        Shared::spawn(self.0.clone(), Some(handle), Box::pin(task));
    }

    /// A hand that spawns here without keeping the owner alive: what runs here may hold one.
    #[must_use]
    pub fn spawner(&self) -> Spawner {
        Spawner(Arc::downgrade(&self.0))
    }

    /// Tasks that have not ended.
    #[must_use]
    pub fn running(&self) -> usize {
        self.0.running.load(Ordering::Acquire)
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
        self.0.aborts.fetch_add(1, Ordering::AcqRel);
        self.0.wake();
    }

    /// Has every task that waits look again: at something that changes once for all of them, and that none of them should
    /// have to register for.
    pub(crate) fn wake_all(&self) {
        self.0.wakes.fetch_add(1, Ordering::AcqRel);
        self.0.wake();
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        // Nothing starts behind its back: what is running may be about to spawn.
        self.0.closed.store(true, Ordering::Release);
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
            Shared::spawn(shared, None, Box::pin(task));
        }
    }

    /// The same for a task that needs no box of its own.
    pub(crate) fn spawn_unpin(&self, task: impl Future<Output = ()> + Send + Unpin + 'static) {
        if let Some(shared) = self.0.upgrade() {
            Shared::spawn(shared, None, task);
        }
    }

    /// Spawns `task` under the owner, if it is still there, on the runtime of `handle`.
    pub fn spawn_on(&self, handle: &Handle, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(shared) = self.0.upgrade() {
            Shared::spawn(shared, Some(handle), Box::pin(task));
        }
    }
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spawner")
    }
}

impl Shared {
    /// On the runtime of `handle`; without one, on that of the caller.
    fn spawn(
        self: Arc<Self>,
        handle: Option<&Handle>,
        task: impl Future<Output = ()> + Send + Unpin + 'static,
    ) {
        // Read first: an owner that goes away after the look below aborts what begins here.
        let aborts = self.aborts.load(Ordering::Acquire);
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        self.running.fetch_add(1, Ordering::AcqRel);
        let wakes = self.wakes.load(Ordering::Acquire);
        let owned = Owned { task, entry: Entry { shared: self, aborts, wakes, place: None } };
        #[expect(clippy::disallowed_methods, reason = "this is the owner that the ban asks for")]
        match handle {
            Some(handle) => drop(handle.spawn(owned)),
            None => drop(tokio::spawn(owned)),
        }
    }

    /// Wakes all that wait. Not under the lock, which they may take. Whoever comes to it after this sees why.
    fn wake(&self) {
        let wakers: Vec<Waker> = self.lock().places.iter().flatten().cloned().collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while holding it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task that is over when its owner says so. The fields are dropped in this order: the task is gone when it is counted out.
struct Owned<F> {
    task: F,
    entry: Entry,
}

impl<F: Future<Output = ()> + Unpin> Future for Owned<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { task, entry } = &mut *self;
        if entry.is_aborted() || Pin::new(task).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        entry.wait(cx.waker());
        // After that: an abort that did not find the waker is found here.
        if entry.is_aborted() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// A task as its owner counts it; dropped with its future, however that ends.
struct Entry {
    shared: Arc<Shared>,
    aborts: usize,
    wakes: usize,
    place: Option<usize>,
}

impl Entry {
    fn is_aborted(&self) -> bool {
        self.shared.aborts.load(Ordering::Acquire) != self.aborts
    }

    /// The task waits. Once is enough: the runtime wakes a task by the same waker as long as it lives.
    fn wait(&mut self, waker: &Waker) {
        if self.place.is_some() {
            return;
        }
        let mut waiting = self.shared.lock();
        let place = waiting.free.pop().unwrap_or(waiting.places.len());
        match waiting.places.get_mut(place) {
            Some(free) => *free = Some(waker.clone()),
            None => waiting.places.push(Some(waker.clone())),
        }
        drop(waiting);
        self.place = Some(place);
        // It began to wait while all were woken, and was not found.
        if self.shared.wakes.load(Ordering::Acquire) != self.wakes {
            waker.wake_by_ref();
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let mut waiting = self.shared.lock();
            let waker = waiting.places.get_mut(place).and_then(Option::take);
            waiting.free.push(place);
            drop(waiting);
            drop(waker);
        }
        if self.shared.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[tokio::test]
    async fn whoever_waits_looks_again_when_all_are_woken_also_when_it_only_begins_to() {
        let tasks = Tasks::new();
        let (over, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        for _ in 0..2 {
            let (over, looks) = (over.clone(), looks.clone());
            tasks.spawn(std::future::poll_fn(move |_| {
                looks.fetch_add(1, Ordering::SeqCst);
                if over.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
            }));
        }
        // Woken before it ran: it has nothing to be woken by, and looks twice.
        tasks.wake_all();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(looks.load(Ordering::SeqCst), 4);
        over.store(true, Ordering::SeqCst);
        tasks.wake_all();
        tasks.finished().await;
    }

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

    #[tokio::test]
    async fn an_abort_ends_what_was_spawned_before_it_and_nothing_after() {
        let tasks = Tasks::new();
        let ran = Arc::new(AtomicUsize::new(0));
        let mark = |amount| {
            let ran = ran.clone();
            async move {
                ran.fetch_add(amount, Ordering::SeqCst);
                std::future::pending::<()>().await;
            }
        };
        tasks.spawn(mark(1));
        tokio::task::yield_now().await;
        // One waits, the other has not run yet.
        tasks.spawn(mark(10));
        tasks.abort_all();
        tasks.spawn(mark(100));
        while tasks.running() > 1 {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
        assert_eq!((tasks.running(), ran.load(Ordering::SeqCst)), (1, 101));
        tasks.abort_all();
        tasks.finished().await;
        assert_eq!(tasks.0.lock().places.iter().flatten().count(), 0, "nothing is left behind");
    }

    #[tokio::test]
    async fn a_task_may_abort_its_own_owner() {
        let tasks = Arc::new(Tasks::new());
        let own = tasks.clone();
        tasks.spawn(async move {
            own.abort_all();
            std::future::pending::<()>().await;
        });
        tasks.finished().await;
    }
}

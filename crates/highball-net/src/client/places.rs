//! How many streams there are, and may be.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::shared::Shared;

/// The places of a connection.
#[derive(Debug)]
pub(super) struct Places {
    taken: AtomicUsize,
    limit: AtomicUsize,
    /// Our own cap on the limit.
    cap: usize,
    /// No more are handed out.
    shut: AtomicBool,
    /// Places of streams that ended with a reset of ours, which the driver has yet to write. Part of `taken`.
    resetting: AtomicUsize,
    /// Nobody will write anything any more.
    gone: AtomicBool,
    /// Callers in `wait`: without any, giving back costs no lock.
    waiting: AtomicUsize,
    freed: Notify,
}

impl Places {
    pub(super) fn new(cap: usize) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            limit: AtomicUsize::new(cap),
            cap,
            shut: AtomicBool::new(false),
            resetting: AtomicUsize::new(0),
            gone: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.load(Ordering::Acquire)
    }

    /// The peer's limit; called by the driver only.
    pub(super) fn set_limit(&self, limit: u32) {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(self.cap);
        self.limit.store(limit, Ordering::SeqCst);
        self.freed.notify_waiters();
    }

    /// Hands out no more.
    pub(super) fn shut(&self) {
        self.shut.store(true, Ordering::SeqCst);
        self.freed.notify_waiters();
    }

    pub(super) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::SeqCst)
    }

    fn is_free(&self, taken: usize) -> bool {
        !self.is_shut() && taken < self.limit.load(Ordering::SeqCst)
    }

    fn take(&self) -> bool {
        let more = |taken| self.is_free(taken).then_some(taken + 1);
        self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    /// Gives places back.
    pub(super) fn give_back(&self, count: usize) {
        if count > 0 {
            self.taken.fetch_sub(count, Ordering::SeqCst);
            self.call_next();
        }
    }

    /// Wakes the first in the line, who wakes the next when more than one place is free: waking all would cost the more the
    /// longer the line is.
    fn call_next(&self) {
        if self.has_line() && self.is_free(self.in_flight()) {
            self.freed.notify_one();
        }
    }

    fn has_line(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Places whose resets were handed to h2 before this call: they are free once h2 has written what it has.
    pub(super) fn take_resetting(&self) -> usize {
        // The common case costs no exclusive access.
        if self.resetting.load(Ordering::SeqCst) == 0 { 0 } else { self.resetting.swap(0, Ordering::SeqCst) }
    }

    /// The driver has ended: from now on a place is free when its stream is dropped.
    pub(super) fn end(&self) {
        self.gone.store(true, Ordering::SeqCst);
        self.give_back(self.take_resetting());
    }

    /// Takes a place as soon as it is this caller's turn; whether there was one.
    async fn wait(&self) -> bool {
        // Whoever comes while others wait has no turn before them.
        let mut has_turn = self.waiting.fetch_add(1, Ordering::SeqCst) == 0;
        let _waiting = Waiting(self);
        loop {
            let mut freed = pin!(self.freed.notified());
            // In line before looking: it hears whatever happens from here on.
            freed.as_mut().enable();
            if self.is_shut() {
                return false;
            }
            if has_turn && self.take() {
                return true;
            }
            freed.await;
            has_turn = true;
        }
    }
}

/// A caller in the line.
struct Waiting<'a>(&'a Places);

impl Drop for Waiting<'_> {
    /// It may have been woken and not have needed its turn, or not the only free place.
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
        self.0.call_next();
    }
}

/// One place, with the connection it is on.
///
/// Must be dropped after the handles of its stream: a place counts as free once the driver has written what h2 had to say
/// when the place was dropped, unless h2 had nothing to say.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
    /// Whether h2 has nothing left to write about the stream: not begun, or ended by both sides.
    silent: bool,
}

impl Place {
    /// A place that is free and that nobody waits for.
    pub(super) fn reserve(shared: &Arc<Shared>) -> Option<Self> {
        (!shared.places.has_line() && shared.places.take()).then(|| Self::new(shared))
    }

    /// The next place, after those who came before; `None` when there will be none any more.
    pub(super) async fn wait(shared: &Arc<Shared>) -> Option<Self> {
        shared.places.wait().await.then(|| Self::new(shared))
    }

    fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: shared.clone(), silent: true }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn set_silent(&mut self, silent: bool) {
        self.silent = silent;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let places = &self.shared.places;
        if self.silent {
            places.give_back(1);
            return;
        }
        places.resetting.fetch_add(1, Ordering::SeqCst);
        if places.gone.load(Ordering::SeqCst) {
            // Either we see that the driver is gone, or it sees our place.
            places.give_back(places.take_resetting());
        } else {
            self.shared.wake_driver();
        }
    }
}

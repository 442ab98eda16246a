//! How many streams there are, and may be.

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
    /// Callers in `room`: without any, giving back costs no lock.
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
        self.tell();
    }

    /// Hands out no more.
    pub(super) fn shut(&self) {
        self.shut.store(true, Ordering::SeqCst);
        self.tell();
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
            self.tell();
        }
    }

    fn tell(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.freed.notify_waiters();
        }
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

    pub(super) async fn room(&self) {
        // Made before looking: it hears whatever happens from here on.
        let freed = self.freed.notified();
        let _waiting = Waiting::new(&self.waiting);
        if !self.is_shut() && !self.is_free(self.in_flight()) {
            freed.await;
        }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
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
    pub(super) fn reserve(shared: &Arc<Shared>) -> Option<Self> {
        shared.places.take().then(|| Self { shared: shared.clone(), silent: true })
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

//! The RPC being handled, known to whatever its handler calls.
//!
//! While the server polls a handler or its response body, [`capture`], [`deadline`] and [`trace`] answer for that RPC, as
//! deep down as anybody asks. So a database call or an outgoing call inherits the time that is left without being handed
//! it. What is inherited is the deadline and the trace, never who called: credentials are passed on by those who mean to.
//!
//! ```
//! use highball_core::current;
//!
//! # async fn find(_: &str) -> Option<String> { None }
//! /// Called deep inside a handler: nobody handed it a deadline.
//! async fn order(id: &str) -> Result<Option<String>, current::Expired> {
//!     // Not begun when the time is up, dropped when it is up meanwhile; outside of any RPC it takes its time.
//!     current::in_time(find(id)).await
//! }
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(order("7")).unwrap();
//! ```
//!
//! A task that is spawned is not part of the poll that spawned it. Carry the RPC there with [`inherit`], stop when it is
//! over, and say for how long work goes on, so that work for nobody is seen (`grpc_wasted_work_seconds`):
//!
//! ```
//! use highball_core::current;
//!
//! # async fn thumbnails() {}
//! # fn spawn(_: impl Future<Output = ()> + Send + 'static) {}
//! // In a handler. `spawn` is whatever owns your tasks.
//! spawn(current::inherit(async {
//!     let Some(rpc) = current::capture() else { return };
//!     let _work = rpc.work();
//!     tokio::select! {
//!         () = rpc.over() => {}                     // answered, expired or cancelled: nobody waits for more
//!         () = thumbnails() => {}                   // sees the same deadline and trace
//!     }
//! }));
//! ```
//!
//! A closure on a blocking thread is entered with [`Current::within`].
//!
//! Invariants: a scope ends with the poll that opened it, also when that panics; scopes nest, and the innermost is the one
//! that is seen. Entering costs a swap of a thread-local pointer and a reference count; nothing is allocated.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderValue;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::{Code, Deadline, Rpc};

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// The RPC being handled, for as long as anybody holds it; it may be over. Cheap to clone.
#[derive(Clone)]
pub struct Current(Arc<Inner>);

struct Inner {
    rpc: Rpc,
    trace: Option<TraceContext>,
    observer: Arc<dyn Observer>,
    end: OnceLock<End>,
    ended: Notify,
}

/// How it ended.
struct End {
    at: Instant,
    /// Why nobody waits for an answer; `None` when there was one.
    abandoned: Option<Abandoned>,
}

/// The trace an RPC belongs to, in the form in which it is passed on (W3C Trace Context).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// `traceparent`; whoever filled it in has checked that it is valid.
    pub traceparent: HeaderValue,
    /// `tracestate`, several headers joined.
    pub tracestate: Option<HeaderValue>,
}

/// Why nobody waits for what is still being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Abandoned {
    /// The deadline passed.
    Deadline,
    /// The caller went away before.
    Cancellation,
}

/// Time spent for nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waste {
    /// Why nobody waited.
    pub after: Abandoned,
    /// From the deadline or the cancellation, or the later start of the work, to its end. On the clock, not on a processor.
    pub time: Duration,
}

/// Learns of time spent for nobody.
pub trait Observer: Send + Sync {
    /// Called by whoever did the work, when it ends. Must not block.
    fn wasted(&self, waste: Waste);
}

/// The RPC whose handler is being polled on this thread.
#[must_use]
pub fn capture() -> Option<Current> {
    // Fails only while the thread ends, when it handles nothing any more.
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

/// When the current RPC must be over; `None` outside of one, and for a stream without a deadline.
#[must_use]
pub fn deadline() -> Option<Deadline> {
    let deadline = |current: &Current| current.deadline();
    CURRENT.try_with(|current| current.borrow().as_ref().and_then(deadline)).ok().flatten()
}

/// The trace of the current RPC; `None` outside of one, and when its caller named none.
#[must_use]
pub fn trace() -> Option<TraceContext> {
    capture().and_then(|current| current.trace().cloned())
}

/// `future`, in the scope of an RPC that was [captured](capture) before; `None` leaves the scope as it finds it.
///
/// # Cancel safety
/// That of `future`, which is dropped outside of the scope.
pub async fn scope<F: Future>(captured: Option<Current>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| match &captured {
        Some(current) => current.within(|| future.as_mut().poll(cx)),
        None => future.as_mut().poll(cx),
    })
    .await
}

/// `future`, in the scope of the RPC that is current now: for a task that is about to be spawned.
///
/// # Cancel safety
/// That of `future`.
pub fn inherit<F: Future>(future: F) -> impl Future<Output = F::Output> {
    scope(capture(), future)
}

/// `work` within the time the current RPC has left. Without a deadline it takes its time.
///
/// # Errors
/// [`Expired`]: when the time is up already, `work` is not begun; when it is up meanwhile, `work` is dropped.
///
/// # Cancel safety
/// That of `work`.
pub async fn in_time<F: Future>(work: F) -> Result<F::Output, Expired> {
    let Some(deadline) = deadline() else { return Ok(work.await) };
    if deadline.has_passed() {
        return Err(Expired(deadline));
    }
    tokio::time::timeout_at(deadline.at(), work).await.map_err(|_| Expired(deadline))
}

/// The deadline of the current RPC has passed. Displays as one sentence for the caller.
#[derive(Debug, Clone, Copy)]
pub struct Expired(pub Deadline);

impl fmt::Display for Expired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "deadline exceeded: {}", self.0)
    }
}

impl std::error::Error for Expired {}

/// Says for how long work goes on for an RPC, wherever it is done: hold it while working.
///
/// Work that goes on after the deadline, or after the caller went away, is reported when this is dropped. Work that goes
/// on after an answer is not: it may be meant.
#[derive(Debug)]
#[must_use = "it measures until it is dropped"]
pub struct Work {
    current: Current,
    begun: Instant,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.current.ran(self.begun, Instant::now());
    }
}

impl Current {
    /// The RPC as its handler will see it. Whoever makes it calls [`ended`](Self::ended) when the RPC is over.
    #[must_use]
    pub fn new(rpc: Rpc, trace: Option<TraceContext>, observer: Arc<dyn Observer>) -> Self {
        Self(Arc::new(Inner { rpc, trace, observer, end: OnceLock::new(), ended: Notify::new() }))
    }

    /// What is known of it. Its caller is there to be read; nobody may call others in that name because of it.
    #[must_use]
    pub fn rpc(&self) -> &Rpc {
        &self.0.rpc
    }

    /// When it must be over; `None` for a stream without a deadline.
    #[must_use]
    pub fn deadline(&self) -> Option<Deadline> {
        self.0.rpc.deadline
    }

    /// The trace it belongs to.
    #[must_use]
    pub fn trace(&self) -> Option<&TraceContext> {
        self.0.trace.as_ref()
    }

    /// Runs `work` in the scope of this RPC: one poll, or a closure on a blocking thread.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        /// Also when `work` panics.
        struct Restore(Option<Current>);
        impl Drop for Restore {
            fn drop(&mut self) {
                swap(&mut self.0);
            }
        }
        let mut outer = Restore(Some(self.clone()));
        swap(&mut outer.0);
        work()
    }

    /// Whether it has ended, or its deadline has passed: nobody waits for more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.end.get().is_some() || self.deadline().is_some_and(|deadline| deadline.has_passed())
    }

    /// Waits until it has ended, with or without an answer.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub async fn over(&self) {
        // Made before the look: an end between the two is not missed.
        let ended = self.0.ended.notified();
        if self.0.end.get().is_none() {
            ended.await;
        }
    }

    /// Begins to measure work that goes on elsewhere, such as in a task or in a queue's worker.
    pub fn work(&self) -> Work {
        Work { current: self.clone(), begun: Instant::now() }
    }

    /// It is over with `code`: once, whatever is called after. For whoever made it.
    pub fn ended(&self, code: Code, at: Instant) {
        let abandoned = match code {
            Code::DeadlineExceeded => Some(Abandoned::Deadline),
            Code::Cancelled => Some(Abandoned::Cancellation),
            _ => None,
        };
        if self.0.end.set(End { at, abandoned }).is_ok() {
            self.0.ended.notify_waiters();
        }
    }

    /// Reports how much of the time from `begun` to `until` was spent for nobody, if any.
    pub fn ran(&self, begun: Instant, until: Instant) {
        let passed = self.deadline().map(|deadline| deadline.at()).filter(|at| *at < until);
        let (after, since) = match (self.0.end.get(), passed) {
            (Some(End { abandoned: None, .. }), _) | (None, None) => return,
            (Some(End { abandoned: Some(why), at }), passed) => {
                (*why, passed.map_or(*at, |passed| passed.min(*at)))
            }
            (None, Some(passed)) => (Abandoned::Deadline, passed),
        };
        let time = until.saturating_duration_since(since.max(begun));
        if !time.is_zero() {
            self.0.observer.wasted(Waste { after, time });
        }
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").field("rpc", &self.0.rpc).finish_non_exhaustive()
    }
}

fn swap(other: &mut Option<Current>) {
    // Fails only while the thread ends, when nobody looks any more.
    CURRENT.try_with(|current| std::mem::swap(&mut *current.borrow_mut(), other)).ok();
}

#[cfg(test)]
mod tests;

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
//! A closure on a blocking thread is entered with [`Current::within`]. A stream that is silent by nature says so with
//! [`Current::allow_silence`].
//!
//! Invariants: a scope ends with the poll that opened it, also when that panics; scopes nest, and the innermost is the one
//! that is seen. Entering costs a swap of a thread-local pointer, and a reference count unless the handle is
//! [lent](Current::lend); nothing is allocated.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderValue;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::{Code, Deadline, Rpc};

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// The RPC being handled, for as long as anybody holds it; it may be over. Cheap to clone.
///
/// `O` is what its server keeps with it, in the same allocation. Handlers see it as a `Current`, which every request carries
/// in its extensions; [`Rpc::of`] finds the record there.
pub struct Current<O: Observer + ?Sized = dyn Observer>(Arc<Inner<O>>);

struct Inner<O: ?Sized> {
    rpc: Rpc,
    /// Boxed, because few have one.
    trace: Option<Box<TraceContext>>,
    /// Nanoseconds its handler allows its stream to be silent; see [`UNSAID`].
    silence: AtomicU64,
    end: End,
    ended: Notify,
    observer: O,
}

/// No silence was allowed, nor forbidden.
const UNSAID: u64 = u64::MAX;

/// Whether, when and how it ended, in one word, because every RPC sets it: nanoseconds since its start, then a bit for
/// [`WATCHED`](Self::WATCHED), then two for the way.
#[derive(Default)]
struct End(AtomicU64);

impl End {
    const WAY: u64 = 0b011;
    /// Somebody waits for the end.
    const WATCHED: u64 = 0b100;
    const BITS: u32 = 3;
    const ANSWERED: u64 = 1;
    const DEADLINE: u64 = 2;
    const CANCELLATION: u64 = 3;

    /// Sets the end, unless it is set: then `None`. Otherwise whether somebody waits for it.
    fn set(&self, after: Duration, code: Code) -> Option<bool> {
        let way = match code {
            Code::DeadlineExceeded => Self::DEADLINE,
            Code::Cancelled => Self::CANCELLATION,
            _ => Self::ANSWERED,
        };
        // Room for seventy years.
        let nanos = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX) << Self::BITS;
        let ending = |now: u64| (now & Self::WAY == 0).then_some(now | nanos | way);
        let before = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, ending).ok()?;
        Some(before & Self::WATCHED != 0)
    }

    /// Somebody is about to wait; whether it is too late for that.
    fn watch(&self) -> bool {
        self.0.fetch_or(Self::WATCHED, Ordering::AcqRel) & Self::WAY != 0
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire) & Self::WAY != 0
    }

    /// How long after the start it ended, and why nobody waits for an answer; `None` when there was one.
    fn get(&self) -> Option<(Duration, Option<Abandoned>)> {
        let end = self.0.load(Ordering::Acquire);
        let abandoned = match end & Self::WAY {
            Self::ANSWERED => None,
            Self::DEADLINE => Some(Abandoned::Deadline),
            Self::CANCELLATION => Some(Abandoned::Cancellation),
            _ => return None,
        };
        Some((Duration::from_nanos(end >> Self::BITS), abandoned))
    }
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

impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn wasted(&self, waste: Waste) {
        (**self).wasted(waste);
    }
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
    /// Runs `work` in the scope of this RPC: one poll, or a closure on a blocking thread.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        Self::lend(&mut Some(self.clone()), work)
    }

    /// The same for who polls again and again: the handle goes to the thread and comes back. Without one, the scope stays as
    /// it is.
    pub fn lend<T>(handle: &mut Option<Self>, work: impl FnOnce() -> T) -> T {
        /// Also when `work` panics.
        struct Restore<'a>(&'a mut Option<Current>);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                swap(self.0);
            }
        }
        if handle.is_none() {
            return work();
        }
        swap(handle);
        let _restore = Restore(handle);
        work()
    }

    /// Begins to measure work that goes on elsewhere, such as in a task or in a queue's worker.
    pub fn work(&self) -> Work {
        Work { current: self.clone(), begun: Instant::now() }
    }
}

impl<O: Observer + 'static> Current<O> {
    /// The RPC as its handler will see it. Whoever makes it calls [`ended`](Self::ended) when the RPC is over.
    #[must_use]
    pub fn new(rpc: Rpc, trace: Option<TraceContext>, observer: O) -> Self {
        let trace = trace.map(Box::new);
        let (silence, end, ended) = (AtomicU64::new(UNSAID), End::default(), Notify::new());
        Self(Arc::new(Inner { rpc, trace, silence, end, ended, observer }))
    }

    /// What is known of it, to be completed; `None` once there is another handle.
    pub fn complete(&mut self) -> Option<(&mut Rpc, &mut Option<Box<TraceContext>>)> {
        Arc::get_mut(&mut self.0).map(|inner| (&mut inner.rpc, &mut inner.trace))
    }

    /// Another handle, as handlers see it.
    #[must_use]
    pub fn shared(&self) -> Current {
        Current(self.0.clone())
    }
}

impl<O: Observer + ?Sized> Current<O> {
    /// What is known of it. Its caller is there to be read; nobody may call others in that name because of it.
    #[must_use]
    pub fn rpc(&self) -> &Rpc {
        &self.0.rpc
    }

    /// What its server keeps with it.
    #[must_use]
    pub fn observer(&self) -> &O {
        &self.0.observer
    }

    /// When it must be over; `None` for a stream without a deadline.
    #[must_use]
    pub fn deadline(&self) -> Option<Deadline> {
        self.0.rpc.deadline
    }

    /// The trace it belongs to.
    #[must_use]
    pub fn trace(&self) -> Option<&TraceContext> {
        self.0.trace.as_deref()
    }

    /// Allows its stream to be silent, in both directions, for so long before it is ended, whatever the server allows
    /// (`stream_idle`) and also when the server would never end it; [`Duration::ZERO`] is for ever. May be said again.
    ///
    /// It counts from the next look of the server: when the handler or its response body has waited next. A unary RPC has
    /// its deadline, and is not ended for its silence.
    pub fn allow_silence(&self, silence: Duration) {
        // The longest is five hundred years.
        let nanos = u64::try_from(silence.as_nanos()).unwrap_or(UNSAID).min(UNSAID - 1);
        self.0.silence.store(nanos, Ordering::Relaxed);
    }

    /// What was allowed by [`allow_silence`](Self::allow_silence), if anything was.
    #[must_use]
    pub fn silence(&self) -> Option<Duration> {
        let nanos = self.0.silence.load(Ordering::Relaxed);
        (nanos != UNSAID).then(|| Duration::from_nanos(nanos))
    }

    /// Whether it has ended, or its deadline has passed: nobody waits for more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.end.is_set() || self.deadline().is_some_and(|deadline| deadline.has_passed())
    }

    /// Waits until it has ended, with or without an answer.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub async fn over(&self) {
        // Made before the look: an end between the two is not missed.
        let ended = self.0.ended.notified();
        if !self.0.end.watch() {
            ended.await;
        }
    }

    /// It is over with `code`: once, whatever is called after. For whoever made it.
    pub fn ended(&self, code: Code, at: Instant) {
        let after = at.saturating_duration_since(self.0.rpc.started);
        if self.0.end.set(after, code) == Some(true) {
            self.0.ended.notify_waiters();
        }
    }

    /// Reports how much of the time from `begun` to `until` was spent for nobody, if any.
    pub fn ran(&self, begun: Instant, until: Instant) {
        let passed = self.deadline().map(|deadline| deadline.at()).filter(|at| *at < until);
        let (after, since) = match (self.0.end.get(), passed) {
            (Some((_, None)), _) | (None, None) => return,
            (Some((ended, Some(why))), passed) => {
                let at = self.0.rpc.started + ended;
                (why, passed.map_or(at, |passed| passed.min(at)))
            }
            (None, Some(passed)) => (Abandoned::Deadline, passed),
        };
        let time = until.saturating_duration_since(since.max(begun));
        if !time.is_zero() {
            self.0.observer.wasted(Waste { after, time });
        }
    }
}

impl<O: Observer + ?Sized> Clone for Current<O> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<O: Observer + ?Sized> fmt::Debug for Current<O> {
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

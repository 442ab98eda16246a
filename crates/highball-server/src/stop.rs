//! What may end an RPC before its service does: a fault in the request, the deadline, a forced drain, a panic.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use highball_core::{Code, Current, Deadline, Status};
use highball_net::{Draining, Phase};
use highball_telemetry::{Event, panics};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::record::Record;

/// Watches one RPC, through the call and then through the response body. Timers and wakers are set up only once the
/// service had to wait: most RPCs answer at the first poll.
pub(crate) struct Stop {
    draining: Draining,
    /// Whom the service works for; `None` until it is known who calls.
    pub(crate) scope: Option<Current>,
    /// The service had to wait.
    waited: bool,
    /// Set up then.
    deadline: Option<Pin<Box<Sleep>>>,
    idle: Option<Idle>,
    /// The service answered, and nobody has looked at the clock since.
    answered: bool,
}

/// Watches over the silence of a stream.
struct Idle {
    max: Duration,
    timer: Pin<Box<Sleep>>,
    /// Messages received and bytes sent when the timer was set.
    seen: (u64, u64),
}

impl Idle {
    fn new(max: Duration, seen: (u64, u64), now: Instant) -> Self {
        Self { max, timer: Box::pin(sleep_until(now + max)), seen }
    }

    /// Ready once nothing has gone either way for all of `max`. The timer is not moved with every message: it looks back
    /// when it fires.
    fn poll(&mut self, now: (u64, u64), cx: &mut Context<'_>) -> Poll<Status> {
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.seen == now {
                let sentence = format!("no message for {:?} (stream_idle)", self.max);
                return Poll::Ready(Status::new(Code::Unavailable, sentence));
            }
            self.seen = now;
            self.timer.as_mut().reset(Instant::now() + self.max);
        }
        Poll::Pending
    }
}

impl Stop {
    pub(crate) fn new(draining: Draining) -> Self {
        Self { draining, scope: None, waited: false, deadline: None, idle: None, answered: false }
    }

    /// Whether this is the first look since the service answered.
    pub(crate) fn just_answered(&mut self) -> bool {
        std::mem::take(&mut self.answered)
    }

    /// Why the RPC must end now, if it must. Sets no waker.
    pub(crate) fn now(&self, record: &Record) -> Option<Status> {
        self.at(record, Instant::now())
    }

    /// Like [`now`](Self::now), for whoever has looked at the clock already.
    pub(crate) fn at(&self, record: &Record, now: Instant) -> Option<Status> {
        if let Some(fault) = record.received().fault() {
            return Some(fault.clone());
        }
        if let Some(deadline) = record.rpc().deadline.filter(|deadline| deadline.at() <= now) {
            return Some(expired(&deadline));
        }
        (self.draining.phase() == Phase::Forced).then(cut)
    }

    /// Like [`now`](Self::now), and wakes the task when the answer may have changed. Called when the service's code has just
    /// run and must wait. Of a forced drain it hears from the connection, which wakes all of its streams then.
    pub(crate) fn poll(&mut self, record: &Record, cx: &mut Context<'_>) -> Poll<Status> {
        // Before the look, so that a fault found meanwhile by another task is not missed.
        record.received().wake(cx.waker());
        let now = Instant::now();
        if self.scope.is_some() {
            record.ran(now);
        }
        if let Some(status) = self.at(record, now) {
            return Poll::Ready(status);
        }
        self.waited = true;
        if let Some(deadline) = record.rpc().deadline {
            let timer = self.deadline.get_or_insert_with(|| Box::pin(sleep_until(deadline.at())));
            if timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(expired(&deadline));
            }
        }
        self.poll_idle(record, now, cx)
    }

    /// Runs `work` until it is done or must stop. A panic in it is INTERNAL, reported with its backtrace. The caller pins it,
    /// so that the future of the walk holds it once.
    ///
    /// # Errors
    /// The status the RPC ends with instead.
    pub(crate) async fn guard<F: Future>(
        &mut self,
        record: &Record,
        mut work: Pin<&mut Option<F>>,
    ) -> Result<F::Output, Status> {
        let outcome = std::future::poll_fn(|cx| {
            // What had to wait is not woken when time is up: nobody waits for it.
            if self.waited
                && let Some(deadline) = record.rpc().deadline.filter(Deadline::has_passed)
            {
                return Poll::Ready(Err(expired(&deadline)));
            }
            let poll = || {
                let Some(running) = work.as_mut().as_pin_mut() else { return Poll::Pending };
                let done = ready!(running.poll(cx));
                // What is done may panic while it is dropped, too.
                work.set(None);
                Poll::Ready(done)
            };
            match self.caught(record, poll) {
                Err(status) => Poll::Ready(Err(status)),
                // A service that answers after its request broke a rule answers something beside the point.
                Ok(Poll::Ready(done)) => {
                    self.answered = true;
                    Poll::Ready(record.received().fault().cloned().map_or(Ok(done), Err))
                }
                Ok(Poll::Pending) => self.poll(record, cx).map(Err),
            }
        })
        .await;
        if work.is_none() {
            return outcome;
        }
        // What is cancelled here may panic while it is dropped; the caller gets its status all the same.
        match self.caught(record, || work.set(None)) {
            Ok(()) => outcome,
            Err(status) => outcome.and(Err(status)),
        }
    }

    /// Runs one poll of the service's code, in the scope of its RPC. What panicked must not be polled again.
    ///
    /// # Errors
    /// INTERNAL "internal error": what the panic said stays in the log.
    pub(crate) fn caught<T>(&mut self, record: &Record, poll: impl FnOnce() -> T) -> Result<T, Status> {
        panics::catch(|| Current::lend(&mut self.scope, poll)).map_err(|panic| {
            report(record, &panic);
            Status::new(Code::Internal, "internal error")
        })
    }

    /// Watches over the silence as it is allowed now; a handler may have changed its mind.
    fn poll_idle(&mut self, record: &Record, now: Instant, cx: &mut Context<'_>) -> Poll<Status> {
        let Some(max) = record.silence_max() else {
            self.idle = None;
            return Poll::Pending;
        };
        let (messages, _) = record.received().totals();
        let seen = (messages, record.sent.bytes());
        match &mut self.idle {
            Some(idle) if idle.max == max => idle.poll(seen, cx),
            idle => idle.insert(Idle::new(max, seen, now)).poll(seen, cx),
        }
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop").field("scope", &self.scope).finish_non_exhaustive()
    }
}

fn report(record: &Record, panic: &panics::Caught) {
    record.report(&Event::HandlerPanicked {
        method: record.label(),
        message: &panic.message,
        backtrace: &panic.backtrace,
    });
}

pub(crate) fn expired(deadline: &Deadline) -> Status {
    Status::new(Code::DeadlineExceeded, format!("deadline exceeded: {deadline}"))
}

fn cut() -> Status {
    Status::new(Code::Unavailable, "the server is shutting down")
}

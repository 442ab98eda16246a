//! What may end an RPC before its service does: a fault in the request, the deadline, a forced drain, a panic.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use highball_core::{Code, Deadline, Status};
use highball_net::{Draining, Phase};
use highball_telemetry::{Event, Telemetry, panics};
use tokio::time::{Instant, Sleep};

use crate::limit::Received;
use crate::record::Record;

/// Watches one RPC, through the call and then through the response body. Timers and wakers are set up only once the
/// service had to wait: most RPCs answer at the first poll.
pub(crate) struct Stop {
    deadline: Option<Deadline>,
    draining: Draining,
    received: Arc<Received>,
    /// Boxed like what follows: most RPCs have neither.
    idle: Option<Box<Idle>>,
    waiting: Option<Box<Waiting>>,
    /// The service answered, and nobody has looked at the clock since.
    answered: bool,
}

/// Watches over the silence of a stream.
struct Idle {
    max: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// Messages received and sent when the timer was set.
    seen: (u64, u64),
    sent: u64,
}

impl Idle {
    /// Ready once nothing has gone either way for all of `max`. The timer is not moved with every message: it looks back
    /// when it fires.
    fn poll(&mut self, received: u64, cx: &mut Context<'_>) -> Poll<Status> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.max)));
        while timer.as_mut().poll(cx).is_ready() {
            let now = (received, self.sent);
            if self.seen == now {
                let sentence = format!("no message for {:?} (stream_idle)", self.max);
                return Poll::Ready(Status::new(Code::Unavailable, sentence));
            }
            self.seen = now;
            timer.as_mut().reset(Instant::now() + self.max);
        }
        Poll::Pending
    }
}

struct Waiting {
    deadline: Option<Pin<Box<Sleep>>>,
    forced: BoxFuture<'static, ()>,
}

impl Stop {
    /// `idle` is how long a stream may be silent.
    pub(crate) fn new(record: &Record, draining: Draining, idle: Option<Duration>) -> Self {
        let idle = idle.map(|max| Box::new(Idle { max, timer: None, seen: (0, 0), sent: 0 }));
        Self {
            deadline: record.rpc.deadline,
            draining,
            received: record.received.clone(),
            idle,
            waiting: None,
            answered: false,
        }
    }

    /// A part of a message went out.
    pub(crate) fn sent(&mut self) {
        if let Some(idle) = &mut self.idle {
            idle.sent += 1;
        }
    }

    /// The deadline it watches.
    pub(crate) fn deadline(&self) -> Option<&Deadline> {
        self.deadline.as_ref()
    }

    /// Whether this is the first look since the service answered.
    pub(crate) fn just_answered(&mut self) -> bool {
        std::mem::take(&mut self.answered)
    }

    /// Why the RPC must end now, if it must. Sets no waker.
    pub(crate) fn now(&self) -> Option<Status> {
        self.at(Instant::now())
    }

    /// Like [`now`](Self::now), for whoever has looked at the clock already.
    pub(crate) fn at(&self, now: Instant) -> Option<Status> {
        if let Some(fault) = self.received.fault() {
            return Some(fault.clone());
        }
        if let Some(deadline) = self.deadline.filter(|deadline| deadline.at() <= now) {
            return Some(expired(&deadline));
        }
        (self.draining.phase() == Phase::Forced).then(cut)
    }

    /// Like [`now`](Self::now), and wakes the task when the answer may have changed. Called when the service's code has just
    /// run and must wait.
    pub(crate) fn poll(&mut self, record: &Record, cx: &mut Context<'_>) -> Poll<Status> {
        // Before the look, so that a fault found meanwhile by another task is not missed.
        self.received.wake(cx.waker());
        let now = Instant::now();
        record.ran(now);
        if let Some(status) = self.at(now) {
            return Poll::Ready(status);
        }
        let (deadline, draining) = (self.deadline, &self.draining);
        let waiting = self.waiting.get_or_insert_with(|| {
            let draining = draining.clone();
            Box::new(Waiting {
                deadline: deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline.at()))),
                forced: Box::pin(async move { draining.reached(Phase::Forced).await }),
            })
        });
        if waiting.forced.as_mut().poll(cx).is_ready() {
            return Poll::Ready(cut());
        }
        if let (Some(sleep), Some(deadline)) = (&mut waiting.deadline, deadline)
            && sleep.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(expired(&deadline));
        }
        let (messages, _) = self.received.totals();
        self.idle.as_mut().map_or(Poll::Pending, |idle| idle.poll(messages, cx))
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
            if self.waiting.is_some()
                && let Some(deadline) = self.deadline.filter(Deadline::has_passed)
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
            match caught(record, poll) {
                Err(status) => Poll::Ready(Err(status)),
                // A service that answers after its request broke a rule answers something beside the point.
                Ok(Poll::Ready(done)) => {
                    self.answered = true;
                    Poll::Ready(self.received.fault().cloned().map_or(Ok(done), Err))
                }
                Ok(Poll::Pending) => self.poll(record, cx).map(Err),
            }
        })
        .await;
        if work.is_none() {
            return outcome;
        }
        // What is cancelled here may panic while it is dropped; the caller gets its status all the same.
        match caught(record, || work.set(None)) {
            Ok(()) => outcome,
            Err(status) => outcome.and(Err(status)),
        }
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// Runs one poll of the service's code, in the scope of its RPC. What panicked must not be polled again.
///
/// # Errors
/// INTERNAL "internal error": what the panic said stays in the log.
pub(crate) fn caught<T>(record: &Record, poll: impl FnOnce() -> T) -> Result<T, Status> {
    let polled = || match &record.current {
        Some(current) => current.within(poll),
        None => poll(),
    };
    panics::catch(polled).map_err(|panic| {
        report(&record.telemetry, record.label(), &panic);
        Status::new(Code::Internal, "internal error")
    })
}

fn report(telemetry: &Telemetry, method: &str, panic: &panics::Caught) {
    telemetry.report(&Event::HandlerPanicked {
        method,
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

//! What may end an RPC before its service does: a fault in the request, the deadline, a forced drain, a panic.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use highball_core::{Code, Deadline, Status};
use highball_net::{Draining, Phase};
use highball_telemetry::{Event, Telemetry, panics};
use tokio::time::Sleep;

use crate::limit::Received;
use crate::record::Record;

/// Watches one RPC, through the call and then through the response body. Timers and wakers are set up only once the
/// service had to wait: most RPCs answer at the first poll.
pub(crate) struct Stop {
    deadline: Option<Deadline>,
    draining: Draining,
    received: Arc<Received>,
    waiting: Option<Waiting>,
}

struct Waiting {
    deadline: Option<Pin<Box<Sleep>>>,
    forced: BoxFuture<'static, ()>,
}

impl Stop {
    pub(crate) fn new(record: &Record, draining: Draining) -> Self {
        Self { deadline: record.rpc.deadline, draining, received: record.received.clone(), waiting: None }
    }

    /// The deadline it watches.
    pub(crate) fn deadline(&self) -> Option<&Deadline> {
        self.deadline.as_ref()
    }

    /// Why the RPC must end now, if it must. Sets no waker.
    pub(crate) fn now(&self) -> Option<Status> {
        if let Some(fault) = self.received.fault() {
            return Some(fault.clone());
        }
        if let Some(deadline) = self.deadline.filter(Deadline::has_passed) {
            return Some(expired(&deadline));
        }
        (self.draining.phase() == Phase::Forced).then(cut)
    }

    /// Like [`now`](Self::now), and wakes the task when the answer may have changed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        // Before the look, so that a fault found meanwhile by another task is not missed.
        self.received.wake(cx.waker());
        if let Some(status) = self.now() {
            return Poll::Ready(status);
        }
        let (deadline, draining) = (self.deadline, &self.draining);
        let waiting = self.waiting.get_or_insert_with(|| {
            let draining = draining.clone();
            Waiting {
                deadline: deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline.at()))),
                forced: Box::pin(async move { draining.reached(Phase::Forced).await }),
            }
        });
        if waiting.forced.as_mut().poll(cx).is_ready() {
            return Poll::Ready(cut());
        }
        let (Some(sleep), Some(deadline)) = (&mut waiting.deadline, deadline) else {
            return Poll::Pending;
        };
        sleep.as_mut().poll(cx).map(|()| expired(&deadline))
    }

    /// Runs `work` until it is done or must stop. A panic in it is INTERNAL, reported with its backtrace.
    ///
    /// # Errors
    /// The status the RPC ends with instead.
    pub(crate) async fn guard<T>(
        &mut self,
        record: &Record,
        work: impl Future<Output = T>,
    ) -> Result<T, Status> {
        let mut work = std::pin::pin!(Some(work));
        let outcome = std::future::poll_fn(|cx| {
            let Some(running) = work.as_mut().as_pin_mut() else { return Poll::Pending };
            match caught(record, || running.poll(cx)) {
                Err(status) => Poll::Ready(Err(status)),
                // A service that answers after its request broke a rule answers something beside the point.
                Ok(Poll::Ready(done)) => Poll::Ready(self.received.fault().cloned().map_or(Ok(done), Err)),
                Ok(Poll::Pending) => self.poll(cx).map(Err),
            }
        })
        .await;
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

/// Runs one poll of the service's code. What panicked must not be polled again.
///
/// # Errors
/// INTERNAL "internal error": what the panic said stays in the log.
pub(crate) fn caught<T>(record: &Record, poll: impl FnOnce() -> T) -> Result<T, Status> {
    panics::catch(poll).map_err(|panic| {
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

//! The inbound body, bounded and counted.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use highball_core::{Body, BodyError, Code, Envelopes, Status};
use highball_telemetry::{Event, Limit, Telemetry};
use http_body::{Frame, SizeHint};

/// What came in, and whether it broke a rule. Shared between the inbound body and the walk, which answers for it.
#[derive(Debug, Default)]
pub(crate) struct Received {
    messages: AtomicU64,
    bytes: AtomicU64,
    fault: OnceLock<Status>,
    /// The walk, which may wait in another task than the one that reads the body.
    walk: AtomicWaker,
    /// The RPC has ended.
    over: AtomicBool,
    /// Whoever reads the body, which may be another task than the walk's.
    reader: AtomicWaker,
}

impl Received {
    /// Messages and bytes so far.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.messages.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// The status the RPC ends with because of what the caller sent, whatever the service makes of its broken body.
    pub(crate) fn fault(&self) -> Option<&Status> {
        self.fault.get()
    }

    /// Wakes `waker` when there is a fault.
    pub(crate) fn wake(&self, waker: &Waker) {
        self.walk.register(waker);
    }

    /// The RPC has ended: a service that still reads its request has nothing to wait for.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.reader.wake();
    }

    /// The first fault is the one that counts.
    fn set_fault(&self, status: Status) {
        self.fault.set(status).ok();
        self.walk.wake();
    }
}

/// Passes the request on, message by message bounded, without buffering.
pub(crate) struct Limited {
    inner: Body,
    walker: Envelopes,
    received: Arc<Received>,
    telemetry: Telemetry,
}

impl Limited {
    pub(crate) fn wrap(
        inner: Body,
        size_bytes_max: usize,
        received: Arc<Received>,
        telemetry: Telemetry,
    ) -> Body {
        Body::new(Self { inner, walker: Envelopes::new(size_bytes_max), received, telemetry })
    }

    fn fault(&self, status: Status) -> BodyError {
        let error = BodyError::new(status.clone());
        // After it the body yields nothing more.
        self.received.set_fault(status);
        error
    }

    fn walk(&mut self, data: &Bytes) -> Result<(), BodyError> {
        let outcome = self.walker.walk(data);
        self.received.messages.store(self.walker.messages(), Ordering::Relaxed);
        self.received.bytes.store(self.walker.bytes(), Ordering::Relaxed);
        outcome.map_err(|oversized| {
            self.telemetry.report(&Event::LimitHit { limit: Limit::InboundMessageSize });
            self.fault(Status::new(
                Code::ResourceExhausted,
                format!("request {oversized} (message_size_bytes_max)"),
            ))
        })
    }
}

impl http_body::Body for Limited {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.received.fault().is_some() {
            return Poll::Ready(None);
        }
        self.received.reader.register(cx.waker());
        if self.received.over.load(Ordering::Acquire) && !self.inner.is_end_stream() {
            // Lets go of the stream, so that the caller is told to stop sending.
            self.inner = Body::empty();
            return Poll::Ready(Some(Err(BodyError::new(Over))));
        }
        let frame = match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                // Whatever the service makes of it, nobody is there to hear: gRPC over HTTP/2, "Errors".
                self.received.set_fault(Status::new(Code::Cancelled, "the caller went away"));
                return Poll::Ready(Some(Err(error)));
            }
            None if self.walker.at_boundary() || self.received.over.load(Ordering::Acquire) => {
                return Poll::Ready(None);
            }
            None => {
                let status = Status::new(Code::Internal, "the request ended inside a message");
                return Poll::Ready(Some(Err(self.fault(status))));
            }
        };
        if let Some(data) = frame.data_ref().cloned()
            && let Err(error) = self.walk(&data)
        {
            return Poll::Ready(Some(Err(error)));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        // Only a whole message may end the stream; otherwise the fault above must still be seen.
        self.inner.is_end_stream() && self.walker.at_boundary()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The RPC ended before its request did.
#[derive(Debug)]
struct Over;

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the RPC has ended")
    }
}

impl std::error::Error for Over {}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, Full};

    #[expect(clippy::disallowed_methods, reason = "the test's own few bytes")]
    async fn read(bytes: &'static [u8]) -> (Result<Bytes, BodyError>, Arc<Received>) {
        let received = Arc::new(Received::default());
        let inner = Body::new(Full::new(Bytes::from_static(bytes)));
        let body = Limited::wrap(inner, 4, received.clone(), Telemetry::new());
        (body.collect().await.map(http_body_util::Collected::to_bytes), received)
    }

    #[tokio::test]
    async fn an_oversized_message_is_refused_with_both_sizes_and_the_setting() {
        let (outcome, received) = read(&[0, 0, 0, 0, 5, 1, 2, 3, 4, 5]).await;
        assert!(outcome.is_err());
        let fault = received.fault().unwrap();
        assert_eq!(fault.code(), Code::ResourceExhausted);
        for part in ["5 bytes", "4 bytes", "message_size_bytes_max"] {
            assert!(fault.message().contains(part), "{fault}");
        }
    }

    #[tokio::test]
    async fn a_truncated_message_is_a_fault_and_a_whole_one_passes() {
        let (outcome, received) = read(&[0, 0, 0, 0, 3, 1]).await;
        assert!(outcome.is_err());
        assert_eq!(received.fault().unwrap().code(), Code::Internal);
        let (outcome, received) = read(&[0, 0, 0, 0, 1, 7]).await;
        assert_eq!(&outcome.unwrap()[..], &[0, 0, 0, 0, 1, 7]);
        assert_eq!((received.fault(), received.totals()), (None, (1, 6)));
    }
}

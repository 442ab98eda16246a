//! The inbound body, bounded and counted, and its messages uncompressed.

mod decompressed;
mod encoding;

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use highball_core::{Body, BodyError, ByteSize, Code, Envelopes, Status};
use highball_net::{TooMuchUnfinished, Unfinished};
use highball_telemetry::{Event, Limit, Telemetry};
use http_body::{Frame, SizeHint};

use decompressed::Decompressed;
pub(crate) use encoding::{Bounds, Encoding, refused};

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
    /// The bits that the flag of a message may have.
    flags: u8,
    received: Arc<Received>,
    unfinished: Unfinished,
    telemetry: Telemetry,
}

impl Limited {
    /// Compressed messages are bounded as they come and once more as they become; the service gets them uncompressed.
    pub(crate) fn wrap(
        inner: Body,
        encoding: Encoding,
        bounds: Bounds,
        received: Arc<Received>,
        telemetry: Telemetry,
    ) -> Body {
        let walker = Envelopes::new(bounds.size_bytes_max);
        let flags = u8::from(encoding != Encoding::Identity);
        let limited = Self { inner, walker, flags, received, unfinished: Unfinished::of_stream(), telemetry };
        match encoding {
            Encoding::Identity => Body::of(limited),
            _ => Body::new(Decompressed::new(limited, encoding, bounds)),
        }
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
        })?;
        if let Err(TooMuchUnfinished { size_bytes_max }) =
            self.unfinished.set(self.walker.unfinished_size_bytes())
        {
            self.telemetry.report(&Event::LimitHit { limit: Limit::UnfinishedSize });
            let size = ByteSize(size_bytes_max);
            return Err(self.fault(Status::new(
                Code::ResourceExhausted,
                format!("more than {size} of unfinished messages on one connection (connection.unfinished_size_bytes_max)"),
            )));
        }
        match self.walker.flags() & !self.flags {
            0 => Ok(()),
            // grpc doc/compression.md: without an encoding nothing can be compressed.
            1 => Err(self.fault(Status::new(
                Code::Internal,
                "a request message claims to be compressed, and grpc-encoding does not say how",
            ))),
            _ => {
                Err(self
                    .fault(Status::new(Code::Internal, "the flag of a request message is neither 0 nor 1")))
            }
        }
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
    use highball_core::envelope::seal;
    use http_body_util::{BodyExt as _, StreamBody};
    use std::io::Write as _;

    #[expect(clippy::disallowed_methods, reason = "the test's own few bytes")]
    async fn decoded(encoding: Encoding, pieces: &[&[u8]]) -> (Result<Bytes, BodyError>, Arc<Received>) {
        let received = Arc::new(Received::default());
        let frames: Vec<_> = pieces
            .iter()
            .map(|piece| Ok::<_, BodyError>(Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        let inner = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
        let bounds =
            Bounds { size_bytes_max: if encoding == Encoding::Identity { 4 } else { 40 }, ratio_max: 100 };
        let body = Limited::wrap(inner, encoding, bounds, received.clone(), Telemetry::new());
        (body.collect().await.map(http_body_util::Collected::to_bytes), received)
    }

    async fn read(bytes: &'static [u8]) -> (Result<Bytes, BodyError>, Arc<Received>) {
        decoded(Encoding::Identity, &[bytes]).await
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

    fn packed(message: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(message).unwrap();
        let mut sealed = seal(&encoder.finish().unwrap()).to_vec();
        sealed[0] = 1;
        sealed
    }

    #[tokio::test]
    async fn a_compressed_message_needs_an_encoding_and_a_flag_is_one_bit() {
        for (flag, encoding) in [(1, Encoding::Identity), (2, Encoding::Identity), (2, Encoding::Gzip)] {
            let (outcome, received) = decoded(encoding, &[&[flag, 0, 0, 0, 1, 7]]).await;
            assert!(outcome.is_err());
            assert_eq!(received.fault().unwrap().code(), Code::Internal, "{flag} {encoding:?}");
        }
    }

    #[tokio::test]
    async fn compressed_and_plain_messages_arrive_plain_however_the_stream_is_cut() {
        let sent = [packed(b"hello, hello"), seal(b"plain").to_vec(), seal(b"").to_vec(), packed(b"again")];
        let sent = sent.concat();
        let want: Vec<u8> = [&b"hello, hello"[..], b"plain", b"", b"again"]
            .iter()
            .flat_map(|message| seal(message))
            .collect();
        for cut in 1..sent.len() {
            let pieces: Vec<&[u8]> = sent.chunks(cut).collect();
            let (outcome, received) = decoded(Encoding::Gzip, &pieces).await;
            assert_eq!(outcome.unwrap(), want, "cut at {cut}");
            assert_eq!((received.fault(), received.totals()), (None, (4, sent.len() as u64)));
        }
    }

    #[tokio::test]
    async fn a_message_that_becomes_too_large_is_a_fault_and_nothing_of_it_passes() {
        let sent = packed(&[7; 41]);
        for cut in [3, 12, sent.len()] {
            let pieces: Vec<&[u8]> = sent.chunks(cut).collect();
            let (outcome, received) = decoded(Encoding::Gzip, &pieces).await;
            assert!(outcome.is_err());
            let fault = received.fault().unwrap();
            assert_eq!(fault.code(), Code::ResourceExhausted);
            assert!(fault.message().contains("message_size_bytes_max"), "{fault}");
        }
    }
}

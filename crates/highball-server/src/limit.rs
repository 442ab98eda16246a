//! The inbound body, bounded and counted, and its messages uncompressed unless they are to stay as they are.

mod decompressed;
mod encoding;

use std::error::Error as _;
use std::fmt;
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use highball_core::{Body, BodyError, ByteSize, Code, Current, Envelopes, Status};
use highball_net::{TooMuchUnfinished, Unfinished};
use highball_telemetry::{Event, Limit};
use http_body::{Frame, SizeHint};

use crate::record::Call;
use decompressed::Decompressed;
pub(crate) use encoding::{Bounds, Encoding, refused};

/// What came in, and whether it broke a rule. Shared between the inbound body and the walk, which answers for it.
#[derive(Debug, Default)]
pub(crate) struct Received {
    messages: AtomicU64,
    bytes: AtomicU64,
    /// Boxed, because few have one.
    fault: OnceLock<Box<Status>>,
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
        self.fault.get().map(|fault| &**fault)
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
        self.fault.set(Box::new(status)).ok();
        self.walk.wake();
    }
}

/// What comes in.
pub(crate) trait Inner:
    http_body::Body<Data = Bytes, Error = BodyError> + Send + Unpin + 'static
{
}

impl<B: http_body::Body<Data = Bytes, Error = BodyError> + Send + Unpin + 'static> Inner for B {}

/// Passes the request on, message by message bounded, without buffering.
pub(crate) struct Limited<B> {
    /// `None` once the RPC has ended before it.
    inner: Option<B>,
    walker: Envelopes,
    /// The bits that the flag of a message may have.
    flags: u8,
    call: Current<Call>,
    unfinished: Unfinished,
}

impl<B: Inner> Limited<B> {
    /// Compressed messages are bounded as they come and once more as they become; the service gets them uncompressed, unless
    /// they are [`Encoding::Untouched`].
    pub(crate) fn wrap(inner: B, encoding: Encoding, bounds: Bounds, call: Current<Call>) -> Body {
        let walker = Envelopes::new(bounds.size_bytes_max);
        let flags = u8::from(encoding != Encoding::Identity);
        let limited = Self { inner: Some(inner), walker, flags, call, unfinished: Unfinished::of_stream() };
        match encoding {
            Encoding::Identity | Encoding::Untouched => Body::of(limited),
            _ => Body::new(Decompressed::new(limited, encoding, bounds)),
        }
    }

    fn received(&self) -> &Received {
        &self.call.observer().received
    }

    fn fault(&self, status: Status) -> BodyError {
        let error = BodyError::new(status.clone());
        // After it the body yields nothing more.
        self.received().set_fault(status);
        error
    }

    /// Lets go of the stream when the RPC has ended, so that the caller is told to stop sending.
    fn cut(&mut self) -> Option<BodyError> {
        if !self.received().over.load(Ordering::Acquire) {
            return None;
        }
        self.inner.take_if(|inner| !inner.is_end_stream()).map(|_| BodyError::new(Over))
    }

    fn walk(&mut self, data: &Bytes) -> Result<(), BodyError> {
        let outcome = self.walker.walk(data);
        let received = self.received();
        received.messages.store(self.walker.messages(), Ordering::Relaxed);
        received.bytes.store(self.walker.bytes(), Ordering::Relaxed);
        outcome.map_err(|oversized| {
            self.call.observer().report(&Event::LimitHit { limit: Limit::InboundMessageSize });
            self.fault(Status::new(
                Code::ResourceExhausted,
                format!("request {oversized} (message_size_bytes_max)"),
            ))
        })?;
        if let Err(TooMuchUnfinished { size_bytes_max }) =
            self.unfinished.set(self.walker.unfinished_size_bytes())
        {
            self.call.observer().report(&Event::LimitHit { limit: Limit::UnfinishedSize });
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

impl<B: Inner> http_body::Body for Limited<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.received().fault().is_some() {
            return Poll::Ready(None);
        }
        if let Some(over) = self.cut() {
            return Poll::Ready(Some(Err(over)));
        }
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let frame = match Pin::new(inner).poll_frame(cx) {
            Poll::Pending => {
                self.received().reader.register(cx.waker());
                // After that, so that an end meanwhile is not missed.
                return self.cut().map_or(Poll::Pending, |over| Poll::Ready(Some(Err(over))));
            }
            Poll::Ready(frame) => frame,
        };
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                // Whatever the service makes of it, nobody is there to hear: gRPC over HTTP/2, "Errors". Unless it came in
                // another dialect, whose translation says what is wrong with it.
                let translated = error.source().and_then(|cause| cause.downcast_ref::<Status>()).cloned();
                let gone = || Status::new(Code::Cancelled, "the caller went away");
                self.received().set_fault(translated.unwrap_or_else(gone));
                return Poll::Ready(Some(Err(error)));
            }
            None if self.walker.at_boundary() || self.received().over.load(Ordering::Acquire) => {
                return Poll::Ready(None);
            }
            None => {
                let status = Status::new(Code::Internal, "the request ended inside a message");
                return Poll::Ready(Some(Err(self.fault(status))));
            }
        };
        if let Some(data) = frame.data_ref()
            && let Err(error) = self.walk(data)
        {
            return Poll::Ready(Some(Err(error)));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        // Only a whole message may end the stream; otherwise the fault above must still be seen.
        self.inner.as_ref().is_none_or(B::is_end_stream) && self.walker.at_boundary()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map(B::size_hint).unwrap_or_default()
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
    use crate::Settings;
    use crate::methods::Methods;
    use highball_core::envelope::seal;
    use highball_core::{Caller, Connection, Dialect, Method, MethodKind, Peer, Rpc};
    use highball_telemetry::Telemetry;
    use http_body_util::{BodyExt as _, StreamBody};
    use std::io::Write as _;
    use std::sync::Arc;
    use tokio::time::Instant;

    fn call() -> Current<Call> {
        let methods = Methods::new(&[], &Settings::default(), &Telemetry::new()).unwrap();
        let rpc = Rpc {
            method: Method::parse(&"/a.v1.B/C".parse().unwrap()).unwrap(),
            kind: MethodKind::Unknown,
            dialect: Dialect::Grpc,
            deadline: None,
            caller: Caller::default(),
            started: Instant::now(),
            connection: Arc::new(Connection { id: 1, peer: Peer::Unix(None), caller: Caller::default() }),
        };
        let entry = methods.find(&rpc.method).clone();
        Current::new(rpc, None, Call { entry, received: Received::default() })
    }

    #[expect(clippy::disallowed_methods, reason = "the test's own few bytes")]
    async fn decoded(encoding: Encoding, pieces: &[&[u8]]) -> (Result<Bytes, BodyError>, Current<Call>) {
        let call = call();
        let frames: Vec<_> = pieces
            .iter()
            .map(|piece| Ok::<_, BodyError>(Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        let inner = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
        let bounds =
            Bounds { size_bytes_max: if encoding == Encoding::Identity { 4 } else { 40 }, ratio_max: 100 };
        let body = Limited::wrap(inner, encoding, bounds, call.clone());
        (body.collect().await.map(http_body_util::Collected::to_bytes), call)
    }

    async fn read(bytes: &'static [u8]) -> (Result<Bytes, BodyError>, Current<Call>) {
        decoded(Encoding::Identity, &[bytes]).await
    }

    #[tokio::test]
    async fn an_oversized_message_is_refused_with_both_sizes_and_the_setting() {
        let (outcome, call) = read(&[0, 0, 0, 0, 5, 1, 2, 3, 4, 5]).await;
        assert!(outcome.is_err());
        let fault = call.observer().received.fault().unwrap();
        assert_eq!(fault.code(), Code::ResourceExhausted);
        for part in ["5 bytes", "4 bytes", "message_size_bytes_max"] {
            assert!(fault.message().contains(part), "{fault}");
        }
    }

    #[tokio::test]
    async fn a_truncated_message_is_a_fault_and_a_whole_one_passes() {
        let (outcome, call) = read(&[0, 0, 0, 0, 3, 1]).await;
        assert!(outcome.is_err());
        assert_eq!(call.observer().received.fault().unwrap().code(), Code::Internal);
        let (outcome, call) = read(&[0, 0, 0, 0, 1, 7]).await;
        assert_eq!(&outcome.unwrap()[..], &[0, 0, 0, 0, 1, 7]);
        assert_eq!((call.observer().received.fault(), call.observer().received.totals()), (None, (1, 6)));
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
            let (outcome, call) = decoded(encoding, &[&[flag, 0, 0, 0, 1, 7]]).await;
            assert!(outcome.is_err());
            assert_eq!(
                call.observer().received.fault().unwrap().code(),
                Code::Internal,
                "{flag} {encoding:?}"
            );
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
            let (outcome, call) = decoded(Encoding::Gzip, &pieces).await;
            assert_eq!(outcome.unwrap(), want, "cut at {cut}");
            assert_eq!(
                (call.observer().received.fault(), call.observer().received.totals()),
                (None, (4, sent.len() as u64))
            );
        }
    }

    #[tokio::test]
    async fn a_message_that_becomes_too_large_is_a_fault_and_nothing_of_it_passes() {
        let sent = packed(&[7; 41]);
        for cut in [3, 12, sent.len()] {
            let pieces: Vec<&[u8]> = sent.chunks(cut).collect();
            let (outcome, call) = decoded(Encoding::Gzip, &pieces).await;
            assert!(outcome.is_err());
            let fault = call.observer().received.fault().unwrap();
            assert_eq!(fault.code(), Code::ResourceExhausted);
            assert!(fault.message().contains("message_size_bytes_max"), "{fault}");
        }
    }
}

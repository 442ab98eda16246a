//! A response body.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};

use super::error::{SendErrorKind, StreamError};
use super::pump::Pumped;

/// Data and trailers as they come. Dropping it before the end resets the stream with CANCEL.
///
/// The fields are dropped in this order: the sending half holds the place, which wants to be last.
#[derive(Debug)]
pub(super) struct Incoming {
    receive: RecvStream,
    request: Pumped,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Data,
    Trailers,
    Over,
}

impl Incoming {
    pub(super) fn new(receive: RecvStream, request: Pumped) -> Self {
        Self { receive, request, phase: Phase::Data }
    }

    fn end(&mut self) {
        self.phase = Phase::Over;
        self.request.response_ended();
    }

    fn fail(&mut self, error: h2::Error) -> StreamError {
        self.phase = Phase::Over;
        let id = self.receive.stream_id();
        match std::mem::replace(&mut self.request, Pumped::Over).shared() {
            Some(shared) => shared.explain(id, error),
            None => StreamError::new(SendErrorKind::Lost, error),
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let this = &mut *self;
        while this.phase == Phase::Data {
            match ready!(this.receive.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Fails for more than was received only.
                    this.receive.flow_control().release_capacity(data.len()).ok();
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(this.fail(error)))),
                None => this.phase = Phase::Trailers,
            }
        }
        if this.phase == Phase::Over {
            return Poll::Ready(None);
        }
        match ready!(this.receive.poll_trailers(cx)) {
            Ok(trailers) => {
                this.end();
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Err(error) => Poll::Ready(Some(Err(this.fail(error)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.phase == Phase::Over || self.receive.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() { SizeHint::with_exact(0) } else { SizeHint::default() }
    }
}

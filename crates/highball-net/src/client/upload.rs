//! A request body on its way to h2, a chunk at a time.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use highball_core::{Body, BodyError};
use http::HeaderMap;
use http_body::Body as _;

use super::wire::Wire;

/// A request body, and the stream it goes to.
///
/// Holds one chunk at most; what goes to h2 never exceeds the window it granted, so that h2 can always write it. The one
/// exception is the first chunk, see [`begin_eagerly`](Self::begin_eagerly).
#[derive(Debug)]
pub(super) struct Upload {
    body: Body,
    stream: SendStream<Bytes>,
    chunk: Bytes,
    /// What comes after the chunk.
    next: Next,
    /// h2 was handed something before it had window for it.
    was_eager: bool,
    /// h2 takes so much at once.
    reserve_max: usize,
}

#[derive(Debug)]
enum Next {
    /// More of the body.
    More,
    /// The end of the stream, with the last byte of the chunk.
    End,
    Trailers(HeaderMap),
    /// Nothing: all was handed to h2, or nobody wants it any more.
    Done,
}

impl Upload {
    /// `is_whole` when the stream was opened without a body to follow.
    pub(super) fn new(body: Body, stream: SendStream<Bytes>, is_whole: bool, reserve_max: usize) -> Self {
        let mut upload =
            Self { body, stream, chunk: Bytes::new(), next: Next::More, was_eager: false, reserve_max };
        if is_whole {
            upload.be_done();
        }
        upload
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.next, Next::Done)
    }

    /// Hands the first chunk to h2 at once, if it is there, small, and sure to find window: it then leaves in one write
    /// with the HEADERS. h2 grants nothing before these are on their way.
    ///
    /// # Errors
    /// Of the body.
    pub(super) fn begin_eagerly(&mut self, cx: &mut Context<'_>, wire: &Wire) -> Result<(), BodyError> {
        let waits = self.is_done() || self.poll_chunk(cx)?.is_pending();
        let size = self.chunk.len();
        if !waits && size > 0 && wire.takes_eager(size) {
            self.was_eager = true;
            self.hand_over(size);
        }
        Ok(())
    }

    /// Whether h2 may hold bytes that it can not write because the window went to others meanwhile.
    pub(super) fn may_be_stuck(&self, wire: &Wire) -> bool {
        self.was_eager && wire.is_tight()
    }

    /// The response has ended. What was not sent is not wanted (RFC 9113 section 8.1); whether h2 has nothing to write.
    pub(super) fn finish(&mut self, wire: &Wire) -> bool {
        let is_over = self.is_done() && !self.may_be_stuck(wire);
        if !is_over {
            self.reset(Reason::NO_ERROR);
        }
        is_over
    }

    /// Pumps until the body is over or nobody wants it any more.
    ///
    /// # Errors
    /// Of the body. The stream is then to be reset.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        while !self.is_done() {
            if self.chunk.is_empty() {
                ready!(self.poll_chunk(cx))?;
            }
            if self.chunk.is_empty() {
                self.hand_over(0);
                continue;
            }
            match ready!(self.poll_capacity(cx)) {
                Some(capacity) => self.hand_over(capacity),
                // The stream was reset, or h2 has ended: the receiving side knows more.
                None => self.be_done(),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Resolves when the peer has reset the stream.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_reset(cx).map(|_| ())
    }

    /// Resets the stream, unless h2 has nothing left to write for it.
    pub(super) fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
        self.be_done();
    }

    /// Whatever the request body holds is let go, although the stream may go on.
    fn be_done(&mut self) {
        self.next = Next::Done;
        self.chunk = Bytes::new();
        self.body = Body::empty();
    }

    /// Fills the chunk, or finds out that nothing but an end follows.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        while matches!(self.next, Next::More) {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
                self.next = Next::End;
                break;
            };
            match frame?.into_data() {
                Ok(data) => {
                    if self.body.is_end_stream() {
                        self.next = Next::End;
                    }
                    if !data.is_empty() {
                        self.chunk = data;
                        break;
                    }
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        self.next = Next::Trailers(trailers);
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_capacity(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        self.stream.reserve_capacity(self.chunk.len().min(self.reserve_max));
        match self.stream.capacity() {
            0 => self.stream.poll_capacity(cx).map(|capacity| capacity.and_then(Result::ok)),
            capacity => Poll::Ready(Some(capacity)),
        }
    }

    /// Hands so much of the chunk to h2, and what follows if that was all of it.
    fn hand_over(&mut self, capacity: usize) {
        let piece = self.chunk.split_to(capacity.min(self.chunk.len()));
        let is_last = self.chunk.is_empty();
        let ends = is_last && matches!(self.next, Next::End);
        let mut taken = Ok(());
        if !piece.is_empty() || ends {
            taken = self.stream.send_data(piece, ends);
        }
        let mut is_over = ends;
        if is_last && let Next::Trailers(trailers) = &mut self.next {
            let trailers = std::mem::take(trailers);
            taken = taken.and_then(|()| self.stream.send_trailers(trailers));
            is_over = true;
        }
        // h2 takes nothing for a stream that was reset: the receiving side knows more.
        if is_over || taken.is_err() {
            self.be_done();
        }
    }
}

//! Compressed messages on their way to a service that gets them uncompressed.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use highball_core::BodyError;
use highball_core::envelope::{PREFIX_SIZE_BYTES, seal};
use highball_telemetry::Event;
use http_body::{Frame, SizeHint};

use super::encoding::{Bounds, Encoding};
use super::{Inner, Limited};

/// Passes uncompressed messages on as they come, and gathers compressed ones until they are whole.
///
/// A decompressor lives for one message that is whole: a caller that takes its time costs the bytes it has sent and not a
/// window of 32 KiB for each of its streams.
pub(super) struct Decompressed<B> {
    inner: Limited<B>,
    encoding: Encoding,
    bounds: Bounds,
    /// What was read and not yet looked at.
    unread: Bytes,
    prefix: BytesMut,
    message: Message,
}

/// Where in the stream of messages the next byte belongs.
enum Message {
    Prefix,
    Plain { left: usize },
    Compressed { size: usize, gathered: BytesMut },
}

impl<B: Inner> Decompressed<B> {
    pub(super) fn new(inner: Limited<B>, encoding: Encoding, bounds: Bounds) -> Self {
        let (unread, prefix) = (Bytes::new(), BytesMut::new());
        Self { inner, encoding, bounds, unread, prefix, message: Message::Prefix }
    }

    /// Takes some of what is unread; the next bytes for the service, if that made some.
    fn step(&mut self) -> Result<Option<Bytes>, BodyError> {
        match &mut self.message {
            Message::Prefix => {
                let piece = take(&mut self.unread, PREFIX_SIZE_BYTES - self.prefix.len());
                self.prefix.extend_from_slice(&piece);
                if self.prefix.len() < PREFIX_SIZE_BYTES {
                    return Ok(None);
                }
                let prefix = self.prefix.split().freeze();
                Ok(self.begin(prefix))
            }
            Message::Plain { left } => {
                let piece = take(&mut self.unread, *left);
                *left -= piece.len();
                if *left == 0 {
                    self.message = Message::Prefix;
                }
                Ok(Some(piece))
            }
            Message::Compressed { size, gathered } => {
                let piece = take(&mut self.unread, *size - gathered.len());
                // Most messages come in one piece, which needs no copy.
                if gathered.is_empty() && piece.len() == *size {
                    self.message = Message::Prefix;
                    return self.inflate(&piece).map(Some);
                }
                gathered.extend_from_slice(&piece);
                if gathered.len() < *size {
                    return Ok(None);
                }
                let whole = gathered.split();
                self.message = Message::Prefix;
                self.inflate(&whole).map(Some)
            }
        }
    }

    /// A prefix is whole. An empty message has nothing that could follow.
    fn begin(&mut self, prefix: Bytes) -> Option<Bytes> {
        let [flag, a, b, c, d] = *prefix.first_chunk::<PREFIX_SIZE_BYTES>()?;
        let size = u32::from_be_bytes([a, b, c, d]) as usize;
        match (flag, size) {
            (0, 0) => Some(prefix),
            (0, left) => {
                self.message = Message::Plain { left };
                Some(prefix)
            }
            (_, 0) => Some(seal(&[])),
            (_, size) => {
                self.message = Message::Compressed { size, gathered: BytesMut::new() };
                None
            }
        }
    }

    fn inflate(&self, compressed: &[u8]) -> Result<Bytes, BodyError> {
        self.encoding.inflate(compressed, self.bounds).map_err(|refused| {
            if let Some(limit) = refused.limit() {
                self.inner.call.observer().report(&Event::LimitHit { limit });
            }
            self.inner.fault(refused.status())
        })
    }
}

fn take(bytes: &mut Bytes, most: usize) -> Bytes {
    bytes.split_to(most.min(bytes.remaining()))
}

impl<B: Inner> http_body::Body for Decompressed<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            while !self.unread.is_empty() {
                if let Some(data) = self.step().transpose() {
                    if data.is_err() {
                        self.unread.clear();
                    }
                    return Poll::Ready(Some(data.map(Frame::data)));
                }
            }
            match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.unread = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => return Poll::Ready(end),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        // The inner body ends at a boundary only, or with a fault that must still be seen.
        self.unread.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

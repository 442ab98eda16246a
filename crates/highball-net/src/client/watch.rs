//! The byte stream under h2, with an eye on its frames.
//!
//! Nothing is changed or held up. What is seen goes to [`Wire`](super::wire::Wire): until which stream HEADERS were written,
//! when something was last read, the peer's GOAWAY with its debug data, its limits.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::leaving::Leaving;
use super::shared::Shared;
use super::wire::Spoken;
use crate::Io;
use crate::h2::frames::{self, Frames, HEAD_SIZE, Head};

/// Bytes of a payload that are looked at: all SETTINGS that exist and many that do not, and this much of the debug data of
/// a GOAWAY.
const PAYLOAD_BYTES_MAX: usize = 1032;

/// What a client says before its first frame (RFC 9113 section 3.4).
const PREFACE_SIZE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

/// SETTINGS_MAX_CONCURRENT_STREAMS and SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113 section 6.5.2).
const MAX_CONCURRENT_STREAMS: u16 = 0x3;
const INITIAL_WINDOW_SIZE: u16 = 0x4;

/// Stream ids end at 2^31-1. From here on the connection is used up, with room for what is under way.
const LAST_STREAM: u32 = 0x7fff_0000;

/// The largest first frame that is still believed to be one: no peer may send more before we allow it.
const FIRST_FRAME_SIZE_MAX: u32 = 16 << 10;

pub(super) struct Watch {
    io: Box<dyn Io>,
    shared: Arc<Shared>,
    inbound: Frames,
    outbound: Frames,
    preface_left: usize,
    /// The header block that is being written.
    block: Option<u32>,
    /// The first bytes of the peer.
    start: Vec<u8>,
    payload: Payload,
}

/// The payload of an inbound frame that matters, as far as it has come.
#[derive(Default)]
struct Payload {
    kind: u8,
    wanted: usize,
    bytes: Vec<u8>,
}

impl Watch {
    pub(super) fn new(io: Box<dyn Io>, shared: Arc<Shared>) -> Self {
        Self {
            io,
            shared,
            inbound: Frames::default(),
            outbound: Frames::default(),
            preface_left: PREFACE_SIZE,
            block: None,
            start: Vec::new(),
            payload: Payload::default(),
        }
    }

    /// Looks at bytes from the peer. An error says that they are not HTTP/2.
    fn inspect(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.shared.wire.has_read();
        self.recognise(bytes)?;
        while !bytes.is_empty() {
            if self.payload.wanted > 0 && self.payload.is_complete_with(bytes) {
                self.understand();
            }
            let (head, rest) = self.inbound.next(bytes);
            bytes = rest;
            if let Some(head) = head {
                self.payload.expect(&head);
                if self.payload.wanted == 0 && head.kind == frames::SETTINGS {
                    // An acknowledgement, or nothing but defaults.
                    self.understand_settings(&head);
                }
            }
        }
        Ok(())
    }

    /// Finds out what the peer speaks. Its first frame must be SETTINGS (RFC 9113 section 3.4).
    fn recognise(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.start.len() == HEAD_SIZE {
            return Ok(());
        }
        let missing = HEAD_SIZE - self.start.len();
        self.start.extend(bytes.iter().take(missing));
        let spoken = match *self.start.as_slice() {
            // A record of TLS: its kind, and the version that all versions claim.
            [0x14..=0x17, 0x03, ..] => Spoken::Tls,
            [b'H', b'T', b'T', b'P', b'/', ..] => Spoken::Http1,
            [a, b, c, kind, flags, s0, s1, s2, s3] => {
                let size = u32::from_be_bytes([0, a, b, c]);
                let is_settings = kind == frames::SETTINGS && flags & 1 == 0 && [s0, s1, s2, s3] == [0; 4];
                if is_settings && size <= FIRST_FRAME_SIZE_MAX {
                    return Ok(());
                }
                Spoken::Other
            }
            _ => return Ok(()),
        };
        self.shared.wire.set_spoken(spoken);
        Err(io::Error::new(io::ErrorKind::InvalidData, "not HTTP/2"))
    }

    /// A payload that matters is there.
    fn understand(&mut self) {
        let wire = &self.shared.wire;
        match (self.payload.kind, self.payload.bytes.as_slice()) {
            (frames::SETTINGS, entries) => {
                for entry in entries.chunks_exact(6) {
                    let [i0, i1, v0, v1, v2, v3] = *entry else { continue };
                    let value = u32::from_be_bytes([v0, v1, v2, v3]);
                    match u16::from_be_bytes([i0, i1]) {
                        MAX_CONCURRENT_STREAMS => self.shared.places.set_limit(value),
                        INITIAL_WINDOW_SIZE => wire.set_stream_window(value),
                        _ => {}
                    }
                }
                wire.set_spoken(Spoken::Http2);
            }
            (frames::WINDOW_UPDATE, [a, b, c, d]) => {
                wire.grant_window(u32::from_be_bytes([*a, *b, *c, *d]) & 0x7fff_ffff);
            }
            (frames::GOAWAY, [l0, l1, l2, l3, c0, c1, c2, c3, debug @ ..]) => {
                wire.set_last_stream(u32::from_be_bytes([*l0, *l1, *l2, *l3]) & 0x7fff_ffff);
                let code = u32::from_be_bytes([*c0, *c1, *c2, *c3]);
                self.shared.leave(Leaving::GoAway { code, debug: Bytes::copy_from_slice(debug) });
            }
            _ => {}
        }
        self.payload.wanted = 0;
    }

    fn understand_settings(&self, head: &Head) {
        if !head.is_ack() {
            self.shared.wire.set_spoken(Spoken::Http2);
        }
    }

    /// Looks at bytes of ours that were written.
    fn follow(&mut self, bytes: &[u8]) {
        let (preface, mut bytes) = bytes.split_at(self.preface_left.min(bytes.len()));
        self.preface_left -= preface.len();
        while !bytes.is_empty() {
            let (head, rest) = self.outbound.next(bytes);
            bytes = rest;
            let Some(head) = head else { break };
            // A head says that the frame before it is complete.
            self.block_is_written();
            match head.kind {
                frames::HEADERS | frames::CONTINUATION if head.ends_headers() => {
                    self.block = Some(head.stream);
                }
                frames::DATA => self.shared.wire.spend_window(head.size),
                _ => {}
            }
        }
        if self.outbound.at_boundary() {
            self.block_is_written();
        }
    }

    fn block_is_written(&mut self) {
        if let Some(stream) = self.block.take() {
            self.shared.wire.set_sent(stream);
            if stream >= LAST_STREAM {
                self.shared.leave(Leaving::Closed);
            }
        }
    }
}

impl Payload {
    fn expect(&mut self, head: &Head) {
        let matters = match head.kind {
            frames::SETTINGS => !head.is_ack(),
            frames::WINDOW_UPDATE => head.stream == 0,
            frames::GOAWAY => true,
            _ => false,
        };
        let size = usize::try_from(head.size).unwrap_or(usize::MAX);
        self.wanted = if matters { size.min(PAYLOAD_BYTES_MAX) } else { 0 };
        self.kind = head.kind;
        self.bytes.clear();
    }

    /// Takes what belongs to it from the front of `bytes`; whether that was all.
    fn is_complete_with(&mut self, bytes: &[u8]) -> bool {
        let missing = self.wanted - self.bytes.len();
        self.bytes.extend(bytes.iter().take(missing));
        self.bytes.len() == self.wanted
    }
}

impl AsyncRead for Watch {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let read = buf.filled().get(before..).unwrap_or_default();
        // Nothing at all is the end.
        if !read.is_empty() {
            self.inspect(read)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl Watch {
    fn note(&self, is_pending: bool) {
        self.shared.wire.set_blocked(is_pending);
    }
}

impl AsyncWrite for Watch {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.note(written.is_pending());
        let written = ready!(written)?;
        self.follow(bytes.get(..written).unwrap_or_default());
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.note(written.is_pending());
        let written = ready!(written)?;
        let mut left = written;
        for slice in slices {
            let piece = slice.get(..left.min(slice.len())).unwrap_or_default();
            left -= piece.len();
            self.follow(piece);
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.note(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;

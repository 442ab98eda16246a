//! The byte stream under h2, with a watch on it.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::control::{Control, Opening};
use super::frames::{self, Frames};
use super::rules::{Abuse, Rules, Watch};
use crate::Io;

/// What a client of HTTP/2 says first (RFC 9113 §3.4); its SETTINGS follow.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// ENHANCE_YOUR_CALM (RFC 9113 §7).
const ENHANCE_YOUR_CALM: u32 = 0xb;
/// Reset codes that do not mean that the client broke the protocol: NO_ERROR, REFUSED_STREAM, CANCEL.
const BLAMELESS: [u32; 3] = [0x0, 0x7, 0x8];

/// After our last GOAWAY, the peer's bytes are read and dropped for this long: closing on unread bytes makes the kernel
/// send a reset, which can overtake the GOAWAY.
const LINGER: Duration = Duration::from_secs(1);

/// How long a peer may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    pub(crate) preface: Duration,
    pub(crate) header_block: Duration,
    pub(crate) write_stall: Duration,
}

/// A byte stream that ends itself when the peer misbehaves.
pub(crate) struct Sentinel {
    io: Box<dyn Io>,
    control: Control,
    timeouts: Timeouts,
    opened: Instant,
    inbound: Frames,
    outbound: Frames,
    /// Frames of our own that are on their way; the next frame waits for them.
    pending: Vec<u8>,
    due: Timer,
    stalled: Timer,
    ending: Option<Ending>,
}

struct Ending {
    goaway: Vec<u8>,
    closed: bool,
    until: Timer,
}

/// A timer that is set, moved and cleared, and costs nothing while it is not set.
#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    fn set(&mut self, at: Option<Instant>) {
        match (at, &mut self.0) {
            (None, timer) => *timer = None,
            (Some(at), Some(timer)) if timer.deadline() == at => {}
            (Some(at), Some(timer)) => timer.as_mut().reset(at),
            (Some(at), timer) => *timer = Some(Box::pin(sleep_until(at))),
        }
    }

    fn is_set(&self) -> bool {
        self.0.is_some()
    }

    fn fired(&mut self, cx: &mut Context<'_>) -> bool {
        self.0.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready())
    }
}

impl Sentinel {
    pub(crate) fn new(io: Box<dyn Io>, rules: Rules, timeouts: Timeouts) -> (Self, Control) {
        let opened = Instant::now();
        let watch = Watch::new(rules, opened);
        let control = Control::new(watch, opened);
        let mut sentinel = Self {
            io,
            control: control.clone(),
            timeouts,
            opened,
            inbound: Frames::default(),
            outbound: Frames::default(),
            pending: Vec::new(),
            due: Timer::default(),
            stalled: Timer::default(),
            ending: None,
        };
        sentinel.due.set(Some(opened + timeouts.preface));
        (sentinel, control)
    }

    /// Walks bytes from the peer and sets the timer for what must come next. Returns where the answer to our PING stands:
    /// h2, which did not ask, must not see it.
    fn inspect(&mut self, all: &[u8]) -> Result<Option<Range<usize>>, Abuse> {
        let (mut bytes, mut answer) = (all, None);
        let mut shared = self.control.lock();
        if let Opening::Preface(matched) = shared.opening {
            let (piece, rest) = bytes.split_at(bytes.len().min(PREFACE.len() - matched));
            let matched = matched + piece.len();
            shared.opening = match PREFACE.get(..matched) {
                Some(expected) if expected.ends_with(piece) && matched == PREFACE.len() => Opening::Settings,
                Some(expected) if expected.ends_with(piece) => Opening::Preface(matched),
                _ => Opening::Other,
            };
            bytes = rest;
        }
        let now = Instant::now();
        shared.heard = now;
        while !bytes.is_empty() && matches!(shared.opening, Opening::Settings | Opening::Http2) {
            let (head, rest) = self.inbound.next(bytes);
            bytes = rest;
            if let Some(head) = head {
                if shared.is_answer(&head, bytes) {
                    // One that comes in pieces is left to h2, which ignores it with a warning.
                    let start = (all.len() - bytes.len()).checked_sub(frames::HEAD_SIZE);
                    answer = start.map(|start| start..start + frames::HEAD_SIZE + frames::PING_SIZE);
                }
                // Whatever comes first: h2 answers a first frame that is not SETTINGS.
                shared.opening = Opening::Http2;
                shared.watch.inbound(&head, now)?;
            }
        }
        let due = match shared.opening {
            Opening::Preface(_) | Opening::Settings => Some(self.opened + self.timeouts.preface),
            Opening::Http2 => {
                shared.watch.header_block_since().map(|since| since + self.timeouts.header_block)
            }
            Opening::Other => None,
        };
        self.due.set(due);
        Ok(answer)
    }

    /// Walks bytes of ours that are on their way.
    fn follow(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Abuse> {
        let mut shared = self.control.lock();
        if shared.opening != Opening::Http2 {
            return Ok(());
        }
        // These bytes are written: all of them count, or the next boundary is not where it seems.
        let mut outcome = Ok(());
        while !bytes.is_empty() {
            let (head, rest) = self.outbound.next(bytes);
            bytes = rest;
            let Some(head) = head else { continue };
            let was_open = shared.watch.outbound(&head, now);
            let code = rest.first_chunk::<4>().map(|code| u32::from_be_bytes(*code));
            if head.kind == frames::RST_STREAM && code.is_some_and(|code| !BLAMELESS.contains(&code)) {
                outcome = outcome.and(shared.watch.provoked(was_open, now));
            }
        }
        outcome
    }

    fn end(&mut self, abuse: Abuse) {
        let mut shared = self.control.lock();
        shared.abuse.get_or_insert(abuse);
        let last_stream = shared.watch.last_stream();
        let speaks_h2 = shared.opening == Opening::Http2;
        drop(shared);
        let goaway =
            if speaks_h2 { frames::goaway(last_stream, ENHANCE_YOUR_CALM, abuse.name()) } else { Vec::new() };
        let mut until = Timer::default();
        until.set(Some(Instant::now() + LINGER));
        self.ending.get_or_insert(Ending { goaway, closed: false, until });
    }

    /// Sends the GOAWAY at a frame boundary, closes our side, and drops what the peer still sends; then fails the read.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { io, ending: Some(ending), outbound, .. } = self else { return Poll::Pending };
        let over = || Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionAborted)));
        if ending.until.fired(cx) {
            return over();
        }
        if !ending.closed {
            if !outbound.at_boundary() {
                return Poll::Pending;
            }
            ready!(write_all(io, &mut ending.goaway, cx))?;
            ready!(Pin::new(&mut *io).poll_flush(cx))?;
            ready!(Pin::new(&mut *io).poll_shutdown(cx))?;
            ending.closed = true;
        }
        let mut scratch = [0; 4096];
        loop {
            let mut unread = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut *io).poll_read(cx, &mut unread))?;
            if unread.filled().is_empty() {
                return over();
            }
        }
    }

    /// What a write may do while the connection ends: finish the frame that is under way, then nothing. Bytes after that
    /// are taken and dropped, because an error here would close the connection before the GOAWAY is out.
    fn poll_last_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let rest = self.outbound.until_boundary().min(bytes.len());
        cx.waker().wake_by_ref();
        if rest == 0 {
            return Poll::Ready(Ok(bytes.len()));
        }
        let (piece, _) = bytes.split_at(rest);
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, piece))?;
        // Only the frame counts here; the connection already ends for a reason.
        self.follow(bytes.get(..written).unwrap_or_default(), Instant::now()).ok();
        Poll::Ready(Ok(written))
    }

    /// Writes frames of our own that are due, if the stream is between two frames.
    fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outbound.at_boundary() {
            if self.pending.is_empty() {
                self.pending = self.control.lock().own_frames();
            }
            ready!(write_all(&mut self.io, &mut self.pending, cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Watches over a write: one that makes no progress for too long ends the connection.
    fn watch_write(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled.set(None);
        } else {
            if !self.stalled.is_set() {
                self.stalled.set(Some(Instant::now() + self.timeouts.write_stall));
            }
            if self.stalled.fired(cx) {
                self.control.lock().abuse.get_or_insert(Abuse::WriteStall);
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        written
    }
}

/// Writes and removes from the front of `bytes` until none is left.
fn write_all(io: &mut Box<dyn Io>, bytes: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    while !bytes.is_empty() {
        match ready!(Pin::new(&mut *io).poll_write(cx, bytes))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            written => drop(bytes.drain(..written)),
        }
    }
    Poll::Ready(Ok(()))
}

/// Takes `range`, counted from `start`, out of what was read.
fn cut(buf: &mut ReadBuf<'_>, start: usize, range: Range<usize>) {
    let end = buf.filled().len();
    buf.filled_mut().copy_within(start + range.end..end, start + range.start);
    buf.set_filled(end - range.len());
}

impl AsyncRead for Sentinel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ending.is_some() {
            return self.poll_end(cx);
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        let outcome = match &read {
            Poll::Ready(Err(_)) => Ok(None),
            Poll::Ready(Ok(())) => self.inspect(buf.filled().get(before..).unwrap_or_default()),
            Poll::Pending if self.due.fired(cx) => {
                let in_block = self.control.lock().opening == Opening::Http2;
                Err(if in_block { Abuse::HeaderTimeout } else { Abuse::PrefaceTimeout })
            }
            Poll::Pending => Ok(None),
        };
        match outcome {
            Ok(None) => read,
            Ok(Some(answer)) => {
                cut(buf, before, answer);
                // Nothing at all would be taken for the end of the stream.
                if buf.filled().len() == before { self.poll_read(cx, buf) } else { read }
            }
            Err(abuse) => {
                buf.set_filled(before);
                self.end(abuse);
                self.poll_end(cx)
            }
        }
    }
}

impl AsyncWrite for Sentinel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored_inner(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored_inner(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ending.is_none() {
            ready!(self.poll_own(cx))?;
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Sentinel {
    fn poll_write_vectored_inner(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.ending.is_some() {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return first.map_or(Poll::Ready(Ok(0)), |slice| self.poll_last_write(cx, slice));
        }
        ready!(self.poll_own(cx))?;
        let written = match slices {
            [one] => Pin::new(&mut self.io).poll_write(cx, one),
            many => Pin::new(&mut self.io).poll_write_vectored(cx, many),
        };
        let mut left = ready!(self.watch_write(cx, written))?;
        let (total, now) = (left, Instant::now());
        for slice in slices {
            let piece = slice.get(..left.min(slice.len())).unwrap_or_default();
            left -= piece.len();
            if let Err(abuse) = self.follow(piece, now) {
                self.end(abuse);
                cx.waker().wake_by_ref();
            }
        }
        Poll::Ready(Ok(total))
    }
}

#[cfg(test)]
#[path = "sentinel_tests.rs"]
mod tests;

//! What was seen on the byte stream, for those who are not on it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// What the peer speaks, as far as its first bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    Nothing = 0,
    /// Its first SETTINGS are complete.
    Http2 = 1,
    Tls = 2,
    Http1 = 3,
    Other = 4,
}

/// Bytes of a request body that go to h2 before it granted capacity, so that a small request leaves in one write with its
/// HEADERS: h2 grants nothing until these are on their way.
pub(super) const EAGER_BYTES_MAX: usize = 16 << 10;

/// Window of a connection and of a stream until something else is said (RFC 9113 section 6.9.2).
const WINDOW_DEFAULT: u32 = 65_535;

/// Written by the driver's task alone, read by all.
#[derive(Debug)]
pub(super) struct Wire {
    began: Instant,
    /// Microseconds from `began` to the last byte that was read.
    read_at: AtomicU64,
    /// How often something was read. Two reads may fall on the same time.
    reads: AtomicU64,
    spoken: AtomicU8,
    /// The highest stream whose HEADERS were written completely.
    sent: AtomicU32,
    /// The last stream of the peer's GOAWAY; the highest number before one.
    last_stream: AtomicU32,
    /// Whether the last write found no room.
    blocked: AtomicBool,
    /// Bytes of DATA the connection may still carry to the peer.
    window: AtomicI64,
    /// What the peer's SETTINGS give each stream.
    stream_window: AtomicU32,
    /// Whether it ever took some of that back.
    took_back: AtomicBool,
}

impl Wire {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            read_at: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            spoken: AtomicU8::new(Spoken::Nothing as u8),
            sent: AtomicU32::new(0),
            last_stream: AtomicU32::new(u32::MAX),
            blocked: AtomicBool::new(false),
            window: AtomicI64::new(i64::from(WINDOW_DEFAULT)),
            stream_window: AtomicU32::new(WINDOW_DEFAULT),
            took_back: AtomicBool::new(false),
        }
    }

    pub(super) fn has_read(&self) {
        let since = self.began.elapsed().as_micros();
        self.read_at.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.reads.store(self.reads() + 1, Ordering::Relaxed);
    }

    pub(super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// When the last byte was read; when the connection began, before the first.
    pub(super) fn last_read(&self) -> Instant {
        self.began + Duration::from_micros(self.read_at.load(Ordering::Relaxed))
    }

    pub(super) fn set_spoken(&self, spoken: Spoken) {
        self.spoken.store(spoken as u8, Ordering::Release);
    }

    pub(super) fn spoken(&self) -> Spoken {
        match self.spoken.load(Ordering::Acquire) {
            1 => Spoken::Http2,
            2 => Spoken::Tls,
            3 => Spoken::Http1,
            4 => Spoken::Other,
            _ => Spoken::Nothing,
        }
    }

    pub(super) fn set_sent(&self, stream: u32) {
        // Trailers come later for a lower stream.
        if stream > self.sent.load(Ordering::Relaxed) {
            self.sent.store(stream, Ordering::Release);
        }
    }

    pub(super) fn was_sent(&self, stream: u32) -> bool {
        stream <= self.sent.load(Ordering::Acquire)
    }

    pub(super) fn set_last_stream(&self, stream: u32) {
        // A peer must not raise it (RFC 9113 section 6.8).
        if stream < self.last_stream.load(Ordering::Relaxed) {
            self.last_stream.store(stream, Ordering::Release);
        }
    }

    /// Streams whose HEADERS were written, less those that the peer's GOAWAY says it did not look at.
    pub(super) fn streams_taken(&self) -> u32 {
        let last = self.sent.load(Ordering::Acquire).min(self.last_stream.load(Ordering::Acquire));
        // Ours have odd numbers.
        last.div_ceil(2)
    }

    pub(super) fn was_refused(&self, stream: u32) -> bool {
        stream > self.last_stream.load(Ordering::Acquire)
    }

    pub(super) fn set_blocked(&self, blocked: bool) {
        if self.blocked.load(Ordering::Relaxed) != blocked {
            self.blocked.store(blocked, Ordering::Relaxed);
        }
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    pub(super) fn spend_window(&self, bytes: u32) {
        // One writer.
        self.window.store(self.window.load(Ordering::Relaxed) - i64::from(bytes), Ordering::Relaxed);
    }

    pub(super) fn grant_window(&self, bytes: u32) {
        self.window.store(self.window.load(Ordering::Relaxed) + i64::from(bytes), Ordering::Relaxed);
    }

    pub(super) fn set_stream_window(&self, bytes: u32) {
        let before = self.stream_window.swap(bytes, Ordering::Relaxed);
        // What it says first is not less than anything it promised.
        if bytes < before && self.spoken() == Spoken::Http2 {
            self.took_back.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a first chunk of this size will certainly find window.
    pub(super) fn takes_eager(&self, bytes: usize) -> bool {
        bytes <= EAGER_BYTES_MAX
            && !self.is_tight()
            && self.stream_window.load(Ordering::Relaxed) as usize >= EAGER_BYTES_MAX
    }

    /// Whether what was handed to h2 eagerly may be waiting for window.
    pub(super) fn is_tight(&self) -> bool {
        self.window.load(Ordering::Relaxed) < EAGER_BYTES_MAX as i64 || self.took_back.load(Ordering::Relaxed)
    }
}

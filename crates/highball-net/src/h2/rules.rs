//! Whether the peer behaves: pings, floods, and headers that never end.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::frames::{self, Head};

/// What a client may do on one connection. The defaults suit every client we know and stop every flood we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Shortest time between two keepalive PINGs of a client. Default 5 s: clients are told 10 s, and half is tolerated
    /// because clocks and networks jitter (gRFC A9, PERMIT_KEEPALIVE_TIME).
    pub ping_interval_min: Duration,
    /// Whether a client may send PINGs while it has no stream open. Default yes; otherwise one in two hours is allowed
    /// (gRFC A9, PERMIT_KEEPALIVE_WITHOUT_CALLS).
    pub ping_without_streams: bool,
    /// PINGs that come too early and are forgiven. Default 2 (gRFC A9, MAX_PING_STRIKES). Sending HEADERS or DATA to the
    /// client forgives all.
    pub ping_strikes_max: u32,
    /// RST_STREAM frames of the client: a burst of 200, then 100 a second (CVE-2023-44487, CVE-2019-9514).
    pub resets: Bucket,
    /// Resets the client provokes from us by breaking the protocol: a burst of 100, then 10 a second (CVE-2025-8671).
    pub provoked_resets: Bucket,
    /// Frames on streams that we ended a while ago, each of which we answer with a reset: a burst of 2,000, then 1,000 a
    /// second. A client that had not heard of the end yet sends some of them in good faith.
    pub late_frames: Bucket,
    /// SETTINGS frames: a burst of 20, then 2 a second (CVE-2019-9515).
    pub settings: Bucket,
    /// PRIORITY frames: a burst of 1,000, then 100 a second (CVE-2019-9513).
    pub priorities: Bucket,
    /// DATA frames without content that do not end their stream: a burst of 100, then 10 a second (CVE-2019-9518).
    pub empty_data: Bucket,
    /// Frames of types nobody defined, and acknowledgements nobody asked for: a burst of 100, then 10 a second.
    pub strays: Bucket,
    /// WINDOW_UPDATE frames beyond ten for each DATA frame we sent and two for each stream: 1,000 (CVE-2019-9511).
    pub window_updates_surplus_max: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            ping_interval_min: Duration::from_secs(5),
            ping_without_streams: true,
            ping_strikes_max: 2,
            resets: Bucket { burst: 200, per_second: 100 },
            provoked_resets: Bucket { burst: 100, per_second: 10 },
            late_frames: Bucket { burst: 2000, per_second: 1000 },
            settings: Bucket { burst: 20, per_second: 2 },
            priorities: Bucket { burst: 1000, per_second: 100 },
            empty_data: Bucket { burst: 100, per_second: 10 },
            strays: Bucket { burst: 100, per_second: 10 },
            window_updates_surplus_max: 1000,
        }
    }
}

/// How many events are fine at once, and how many more each second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// At once.
    pub burst: u32,
    /// Added each second, up to the burst.
    pub per_second: u32,
}

/// What a peer did that no well-behaved peer does. The name is the debug data of the GOAWAY it gets, and the metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Abuse {
    /// PINGs more often than allowed, three times.
    TooManyPings,
    /// RST_STREAM flood.
    TooManyResets,
    /// Protocol errors that make us reset streams, over and over.
    ProvokedResets,
    /// SETTINGS flood.
    TooManySettings,
    /// PRIORITY flood.
    TooManyPriorities,
    /// DATA frames that carry nothing.
    EmptyData,
    /// Unknown frames or unasked acknowledgements.
    StrayFrames,
    /// WINDOW_UPDATE flood.
    TooManyWindowUpdates,
    /// No whole preface with SETTINGS in time.
    PrefaceTimeout,
    /// A header block that was begun and not ended in time.
    HeaderTimeout,
    /// The peer took none of our bytes for too long.
    WriteStall,
    /// h2 itself asked the peer to calm down.
    Calmed,
}

impl Abuse {
    /// Every kind, for documentation and tests.
    pub const ALL: [Self; 12] = [
        Self::TooManyPings,
        Self::TooManyResets,
        Self::ProvokedResets,
        Self::TooManySettings,
        Self::TooManyPriorities,
        Self::EmptyData,
        Self::StrayFrames,
        Self::TooManyWindowUpdates,
        Self::PrefaceTimeout,
        Self::HeaderTimeout,
        Self::WriteStall,
        Self::Calmed,
    ];

    /// `too_many_pings` and so on. That one is the text clients look for (gRFC A8).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TooManyPings => "too_many_pings",
            Self::TooManyResets => "too_many_resets",
            Self::ProvokedResets => "provoked_resets",
            Self::TooManySettings => "too_many_settings",
            Self::TooManyPriorities => "too_many_priorities",
            Self::EmptyData => "empty_data",
            Self::StrayFrames => "stray_frames",
            Self::TooManyWindowUpdates => "too_many_window_updates",
            Self::PrefaceTimeout => "preface_timeout",
            Self::HeaderTimeout => "header_timeout",
            Self::WriteStall => "write_stall",
            Self::Calmed => "calmed",
        }
    }
}

/// The state of one connection under [`Rules`]. Pure: it sees heads and the time, and answers.
#[derive(Debug)]
pub(crate) struct Watch {
    rules: Rules,
    /// Streams the client opened and we have not ended. The client cannot make it grow: h2 refuses streams beyond
    /// SETTINGS_MAX_CONCURRENT_STREAMS, and a refusal is a reset, which ends the stream here.
    open: BTreeSet<u32>,
    last_stream: u32,
    idle_since: Instant,
    /// The header block that is being received; nothing else may come before its end (RFC 9113 §6.10).
    header_block_since: Option<Instant>,
    last_ping: Option<Instant>,
    strikes: u32,
    pings_sent: u64,
    settings_sent: u64,
    data_sent: u64,
    streams_opened: u64,
    window_updates: u64,
    resets: Level,
    provoked_resets: Level,
    late_frames: Level,
    settings: Level,
    priorities: Level,
    empty_data: Level,
    strays: Level,
}

/// How full a [`Bucket`] is.
#[derive(Debug)]
struct Level {
    used: f64,
    at: Instant,
}

impl Level {
    fn new(at: Instant) -> Self {
        Self { used: 0.0, at }
    }

    /// Adds one event; whether the bucket overflows.
    fn overflows(&mut self, bucket: Bucket, now: Instant) -> bool {
        let leaked = now.saturating_duration_since(self.at).as_secs_f64() * f64::from(bucket.per_second);
        self.used = (self.used - leaked).max(0.0) + 1.0;
        self.at = now;
        self.used > f64::from(bucket.burst)
    }
}

impl Watch {
    pub(crate) fn new(rules: Rules, now: Instant) -> Self {
        Self {
            rules,
            open: BTreeSet::new(),
            last_stream: 0,
            idle_since: now,
            header_block_since: None,
            last_ping: None,
            strikes: 0,
            pings_sent: 0,
            settings_sent: 0,
            data_sent: 0,
            streams_opened: 0,
            window_updates: 0,
            resets: Level::new(now),
            provoked_resets: Level::new(now),
            late_frames: Level::new(now),
            settings: Level::new(now),
            priorities: Level::new(now),
            empty_data: Level::new(now),
            strays: Level::new(now),
        }
    }

    /// We sent a PING of our own, which h2 knows nothing of.
    pub(crate) fn asked(&mut self) {
        self.pings_sent += 1;
    }

    /// The highest stream the client opened.
    pub(crate) fn last_stream(&self) -> u32 {
        self.last_stream
    }

    /// Since when no stream is open; `None` while one is.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        self.open.is_empty().then_some(self.idle_since)
    }

    /// Since when a header block is unfinished.
    pub(crate) fn header_block_since(&self) -> Option<Instant> {
        self.header_block_since
    }

    /// A frame from the client.
    pub(crate) fn inbound(&mut self, head: &Head, now: Instant) -> Result<(), Abuse> {
        if matches!(head.kind, frames::HEADERS | frames::CONTINUATION) {
            self.header_block(head, now);
        }
        let overflow = match head.kind {
            frames::DATA => {
                let empty = head.size == 0 && !head.ends_stream();
                (empty && self.empty_data.overflows(self.rules.empty_data, now)).then_some(Abuse::EmptyData)
            }
            frames::PRIORITY => {
                self.priorities.overflows(self.rules.priorities, now).then_some(Abuse::TooManyPriorities)
            }
            frames::RST_STREAM => {
                self.close(head.stream, now);
                self.resets.overflows(self.rules.resets, now).then_some(Abuse::TooManyResets)
            }
            frames::SETTINGS if head.is_ack() => self.answer(now, |watch| &mut watch.settings_sent),
            frames::SETTINGS => {
                self.settings.overflows(self.rules.settings, now).then_some(Abuse::TooManySettings)
            }
            frames::PING if head.is_ack() => self.answer(now, |watch| &mut watch.pings_sent),
            frames::PING => self.ping(now),
            frames::WINDOW_UPDATE => self.window_update(),
            frames::HEADERS | frames::GOAWAY | frames::CONTINUATION => None,
            _ => self.stray(now),
        };
        overflow.map_or(Ok(()), Err)
    }

    /// A frame of ours; whether it ended a stream that was open.
    pub(crate) fn outbound(&mut self, head: &Head, now: Instant) -> bool {
        match head.kind {
            frames::DATA | frames::HEADERS => {
                // gRFC A9: any sign that the client is being served resets the strikes.
                self.strikes = 0;
                self.last_ping = None;
                self.data_sent += u64::from(head.kind == frames::DATA);
            }
            frames::SETTINGS if !head.is_ack() => self.settings_sent += 1,
            frames::PING if !head.is_ack() => self.pings_sent += 1,
            _ => {}
        }
        if head.ends_stream() || head.kind == frames::RST_STREAM {
            return self.close(head.stream, now);
        }
        false
    }

    /// We reset a stream because the client broke the protocol on it. On a stream that we had already ended, it may just
    /// not have heard.
    pub(crate) fn provoked(&mut self, was_open: bool, now: Instant) -> Result<(), Abuse> {
        let overflow = if was_open {
            self.provoked_resets.overflows(self.rules.provoked_resets, now)
        } else {
            self.late_frames.overflows(self.rules.late_frames, now)
        };
        if overflow { Err(Abuse::ProvokedResets) } else { Ok(()) }
    }

    fn header_block(&mut self, head: &Head, now: Instant) {
        if head.kind == frames::HEADERS && head.stream > self.last_stream {
            self.last_stream = head.stream;
            self.streams_opened += 1;
            self.open.insert(head.stream);
        }
        self.header_block_since = match self.header_block_since {
            _ if head.ends_headers() => None,
            Some(since) => Some(since),
            None => Some(now),
        };
    }

    /// Whether the stream was open.
    fn close(&mut self, stream: u32, now: Instant) -> bool {
        let was_open = self.open.remove(&stream);
        if was_open && self.open.is_empty() {
            self.idle_since = now;
        }
        was_open
    }

    /// gRFC A9, "Server Enforcement". A forgiven client, or one that has just been served, has no last ping.
    fn ping(&mut self, now: Instant) -> Option<Abuse> {
        const WITHOUT_STREAMS: Duration = Duration::from_secs(2 * 3600);
        let unwatched = self.open.is_empty() && !self.rules.ping_without_streams;
        let interval = if unwatched { WITHOUT_STREAMS } else { self.rules.ping_interval_min };
        match self.last_ping {
            Some(last) if now < last + interval => self.strikes += 1,
            _ => self.last_ping = Some(now),
        }
        (self.strikes > self.rules.ping_strikes_max).then_some(Abuse::TooManyPings)
    }

    /// An acknowledgement: fine as long as we asked.
    fn answer(&mut self, now: Instant, asked: fn(&mut Self) -> &mut u64) -> Option<Abuse> {
        let asked = asked(self);
        if *asked > 0 {
            *asked -= 1;
            return None;
        }
        self.stray(now)
    }

    fn stray(&mut self, now: Instant) -> Option<Abuse> {
        self.strays.overflows(self.rules.strays, now).then_some(Abuse::StrayFrames)
    }

    fn window_update(&mut self) -> Option<Abuse> {
        self.window_updates += 1;
        let earned = 10 * self.data_sent + 2 * self.streams_opened + self.rules.window_updates_surplus_max;
        (self.window_updates > earned).then_some(Abuse::TooManyWindowUpdates)
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;

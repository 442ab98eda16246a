//! What a connection may cost, and how it is kept alive.

use std::time::Duration;

/// The shortest [`Settings::keepalive_time`]: shorter ones are raised to it (gRFC A8).
pub const KEEPALIVE_TIME_MIN: Duration = Duration::from_secs(10);

/// Bounds of a connection.
///
/// Windows are fixed. h2 peers that measure the bandwidth-delay product do it with PINGs, which some servers count as abuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of one response that may wait to be read. Default 1 MiB: 20 MiB a second for one stream at 50 ms.
    pub stream_window_bytes: u32,
    /// Bytes of all responses of the connection that may wait to be read. Default 16 MiB: so many streams may stand still
    /// at full window before they hold up the others.
    pub connection_window_bytes: u32,
    /// What unread DATA frames below 256 bytes may cost in bookkeeping, on all streams, as h2 counts it: 256 bytes less the
    /// payload for each. Beyond, the connection ends, and with it all of its streams. Default 32 MiB: one stream that stands
    /// still at full window with messages of ten bytes.
    pub small_frames_bytes_max: usize,
    /// Size of a response head or trailers, as RFC 9113 section 6.5.2 counts it. Default 16 KiB. Longer ones reset the
    /// stream with PROTOCOL_ERROR.
    pub header_list_size_bytes_max: u32,
    /// Bytes of one request that wait for the socket, beside the chunk its body gave last. Default 256 KiB.
    pub send_buffer_size_bytes_max: usize,
    /// Streams at once, if the peer allows more. Default 1,000.
    pub concurrent_streams_max: usize,
    /// Silence after which the peer is asked for a sign of life, measured from the last byte that was read (gRFC A8).
    /// Default 30 s; at least [`KEEPALIVE_TIME_MIN`]; `None` asks never. Servers may end connections that ask too often:
    /// GOAWAY with `too_many_pings`, see [`Leaving::is_too_many_pings`](super::Leaving::is_too_many_pings).
    pub keepalive_time: Option<Duration>,
    /// Time for that sign; any byte is one. Default 10 s, then the connection is cut.
    pub keepalive_timeout: Duration,
    /// Whether to ask while no stream is open. Default false: most servers forbid it. A stream that begins after a longer
    /// silence asks first.
    pub keepalive_without_calls: bool,
    /// Time for the peer's first SETTINGS. Default 10 s. A server that accepts and says nothing is not there.
    pub settings_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            stream_window_bytes: 1 << 20,
            connection_window_bytes: 16 << 20,
            small_frames_bytes_max: 32 << 20,
            header_list_size_bytes_max: 16 << 10,
            send_buffer_size_bytes_max: 256 << 10,
            concurrent_streams_max: 1000,
            keepalive_time: Some(Duration::from_secs(30)),
            keepalive_timeout: Duration::from_secs(10),
            keepalive_without_calls: false,
            settings_timeout: Duration::from_secs(10),
        }
    }
}

/// Streams that we reset and remember, and for how long: what the peer sent before it heard of it is dropped in silence.
/// A frame for a stream that is forgotten costs a reset of [`LOCAL_RESETS_MAX`]. Half a kilobyte each.
const RESET_STREAMS_MAX: usize = 4096;
const RESET_STREAM_MEMORY: Duration = Duration::from_secs(5);

/// Resets we may be made to send in the life of a connection, after which it ends: without a bound, a peer that sends and
/// does not read makes us store them.
const LOCAL_RESETS_MAX: usize = 4096;

/// HTTP/2 cannot say more.
const WINDOW_MAX: u32 = (1 << 31) - 1;

impl Settings {
    pub(super) fn builder(&self) -> h2::client::Builder {
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(self.stream_window_bytes.min(WINDOW_MAX))
            .initial_connection_window_size(self.connection_window_bytes.min(WINDOW_MAX))
            .max_header_list_size(self.header_list_size_bytes_max)
            .max_send_buffer_size(self.send_buffer_size_bytes_max.min(WINDOW_MAX as usize))
            .initial_max_send_streams(self.concurrent_streams_max)
            .max_concurrent_reset_streams(RESET_STREAMS_MAX)
            .reset_stream_duration(RESET_STREAM_MEMORY)
            .max_local_error_reset_streams(Some(LOCAL_RESETS_MAX))
            .data_frame_budget(self.small_frames_bytes_max)
            .enable_push(false);
        builder
    }
}

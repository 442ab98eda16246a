//! Limits and times of a channel.

use std::time::Duration;

use highball_core::BackoffSettings;
use highball_net::client;

/// What a channel does unless told otherwise. The service config of what is called may say more, per method.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// Whether calls wait for a ready endpoint instead of failing when there is none (gRPC doc/wait-for-ready.md). The
    /// service config and the request come first. Default no.
    pub wait_for_ready: bool,
    /// Size of one response message; what is larger ends the call RESOURCE_EXHAUSTED. Default 4 MiB.
    pub response_size_bytes_max: usize,
    /// Size of one request message. Default 4 MiB.
    pub request_size_bytes_max: usize,
    /// Bytes of one request that are kept for another attempt. Default 256 KiB; what is larger is sent once.
    pub replay_bytes_max: usize,
    /// Bytes of all requests of the channel that are kept. Default 16 MiB.
    pub replay_bytes_total_max: usize,
    /// Calls that may wait for an endpoint at once. Default 10,000; one more fails RESOURCE_EXHAUSTED.
    pub waiting_calls_max: usize,
    /// Time for one address: connect, TLS and HTTP/2 settings. Default 20 s (gRPC doc/connection-backoff.md).
    pub connect_timeout: Duration,
    /// After how long the next address is tried beside the one before. Default 250 ms (RFC 8305 §5).
    pub attempt_delay: Duration,
    /// Between attempts to connect. Default 1 s, times 1.6, at most 120 s, ±20 %.
    pub backoff: BackoffSettings,
    /// Time without calls after which the channel lets go of its connections. Default 30 min (gRFC A62).
    pub idle_timeout: Duration,
    /// Connections to one endpoint, when streams find no place on those there are (gRFC A105), unless the service config
    /// allows more. Default 1; at most 10.
    pub connections_per_endpoint_max: usize,
    /// Whether endpoints are asked for their health (gRFC A17) although the service config does not say so. Policies that
    /// choose among endpoints only. Default yes. Where nobody asked for it, one that does not answer within a second is used
    /// without, and so is one that keeps its health to itself.
    pub health: bool,
    /// Calls in flight at one endpoint; a full endpoint is not picked. Default 1,024, Envoy's `max_requests`.
    pub endpoint_calls_max: usize,
    /// HTTP/2 of each connection.
    pub connection: client::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            wait_for_ready: false,
            response_size_bytes_max: 4 << 20,
            request_size_bytes_max: 4 << 20,
            replay_bytes_max: 256 << 10,
            replay_bytes_total_max: 16 << 20,
            waiting_calls_max: 10_000,
            connect_timeout: Duration::from_secs(20),
            attempt_delay: Duration::from_millis(250),
            backoff: BackoffSettings::default(),
            idle_timeout: Duration::from_secs(30 * 60),
            connections_per_endpoint_max: 1,
            health: true,
            endpoint_calls_max: 1024,
            connection: client::Settings::default(),
        }
    }
}

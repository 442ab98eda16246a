//! What a server allows, with the defaults this project stands for.

use std::fmt;
use std::time::Duration;

use crate::admit::AdaptiveConcurrency;
use crate::checklist::Profile;
use crate::method_limits::MethodSettings;
use crate::rate::{FailedTokens, Rates};

/// The limits of one server. [`Default`] is the only place where defaults are written down.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Largest message, each way, without its five-byte prefix. Default 4 MiB, as every gRPC implementation.
    /// A larger one is RESOURCE_EXHAUSTED, refused before it is buffered. A compressed request is bounded as it comes and
    /// as it is decompressed.
    pub message_size_bytes_max: usize,
    /// Most bytes a request message may become for each of its compressed bytes, once it is larger than 512 KiB; below
    /// that any factor is allowed. Default 100, as Envoy's decompressor. A denser one is RESOURCE_EXHAUSTED.
    pub decompression_ratio_max: u32,
    /// Whether the service gets compressed requests uncompressed. Default yes. A proxy says no: it passes messages on as they
    /// come, with the `grpc-encoding` that the caller chose, whatever that is. `message_size_bytes_max` then bounds them
    /// as they come, and what is behind the proxy bounds what they become. Health and reflection of this server get
    /// theirs uncompressed in any case.
    pub decompress: bool,
    /// RPCs this process works on at once; one more is RESOURCE_EXHAUSTED at once, nothing queues. Default 10,000.
    /// Health checks are not counted: a full server is not a dead one.
    pub concurrent_rpcs_max: usize,
    /// Lets the number of unary RPCs at once follow what the service can bear, below `concurrent_rpcs_max`. Default `None`:
    /// a limit that moves by itself refuses RPCs for reasons that latencies give, so it is a choice to make with an eye on
    /// its metrics. Services whose latency does not come from load - a lock, a batch, a method that waits on purpose -
    /// are served worse with it.
    pub adaptive_concurrency: Option<AdaptiveConcurrency>,
    /// How often one caller may call; `None`, the default, for as often as it likes. Beyond it RPCs are
    /// RESOURCE_EXHAUSTED with the time to wait. Health checks are not counted.
    pub rates: Option<Rates>,
    /// How often one address may show tokens that are refused; `None` for as often as it likes. Default a burst of 100 and 50
    /// a second. Without effect where tokens are not verified.
    pub failed_tokens: Option<FailedTokens>,
    /// Connections of all clients together; one more is closed at once. Default 10,000.
    pub connections_max: usize,
    /// Connections of one address; one more is closed at once. Default 1,000. Unix sockets have no address.
    pub connections_per_peer_max: usize,
    /// Deadline of a unary RPC whose caller set none. Default 30 s. Streams have none unless their caller sets one.
    pub deadline_default: Duration,
    /// Longest deadline a caller of a unary RPC may ask for. Default 5 min.
    pub deadline_cap: Duration,
    /// Silence in both directions after which a stream is ended UNAVAILABLE, so that a forgotten one does not hold its
    /// place for ever. Default 5 min. Streams that are quiet by nature get their own in `methods`.
    pub stream_idle: Duration,
    /// What is different for some methods. Default nothing.
    pub methods: Vec<MethodSettings>,
    /// How long readiness says no before anything is refused, so that load balancers see it. Default 2 s.
    pub lame_duck: Duration,
    /// How long RPCs may take to finish after that, before they are cut. Default 30 s.
    pub drain_timeout: Duration,
    /// Whether clients may read the descriptors (`grpc.reflection.v1` and `v1alpha`). Default off: it is a map of the
    /// service for whoever can connect.
    pub reflection: bool,
    /// How strict a start is. Default [`Profile::Development`].
    pub profile: Profile,
    /// Names of open boxes that a start in [`Profile::Production`] allows, such as `tls` behind a proxy. Default none.
    pub open_boxes_allowed: Vec<String>,
    /// Limits of each connection.
    pub connection: highball_net::http::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            message_size_bytes_max: 4 << 20,
            decompression_ratio_max: 100,
            decompress: true,
            concurrent_rpcs_max: 10_000,
            adaptive_concurrency: None,
            rates: None,
            failed_tokens: Some(FailedTokens::default()),
            connections_max: 10_000,
            connections_per_peer_max: 1000,
            deadline_default: Duration::from_secs(30),
            deadline_cap: Duration::from_secs(300),
            stream_idle: Duration::from_secs(300),
            methods: Vec::new(),
            lame_duck: Duration::from_secs(2),
            drain_timeout: Duration::from_secs(30),
            reflection: false,
            profile: Profile::default(),
            open_boxes_allowed: Vec::new(),
            connection: highball_net::http::Settings::default(),
        }
    }
}

impl Settings {
    /// Finds what cannot work, all of it at once.
    ///
    /// # Errors
    /// [`SettingsError`] with a sentence per problem, each naming the setting and the fix.
    pub fn check(&self) -> Result<(), SettingsError> {
        let mut problems = Vec::new();
        for (name, value) in [
            ("message_size_bytes_max", self.message_size_bytes_max),
            ("decompression_ratio_max", self.decompression_ratio_max as usize),
            ("concurrent_rpcs_max", self.concurrent_rpcs_max),
            ("connections_max", self.connections_max),
            ("connections_per_peer_max", self.connections_per_peer_max),
            ("connection.concurrent_streams_max", self.connection.concurrent_streams_max as usize),
            ("connection.header_list_size_bytes_max", self.connection.header_list_size_bytes_max as usize),
            ("connection.send_buffer_size_bytes_max", self.connection.send_buffer_size_bytes_max),
            ("connection.buffered_size_bytes_max", self.connection.buffered_size_bytes_max),
        ] {
            if value == 0 {
                problems.push(format!("{name} is 0; set it to at least 1"));
            }
        }
        if self.message_size_bytes_max > u32::MAX as usize {
            problems.push(
                "message_size_bytes_max is larger than gRPC's 4 GiB prefix can say; lower it".to_owned(),
            );
        }
        problems.extend(self.adaptive_concurrency.iter().flat_map(AdaptiveConcurrency::problems));
        // RFC 9113 §6.9.2: a connection begins with 65,535 bytes, and a window ends at 2^31-1.
        if !(65_535..=i32::MAX as u32).contains(&self.connection.receive_buffer_size_bytes_max) {
            problems.push(
                "connection.receive_buffer_size_bytes_max must be between 65535 and 2147483647".to_owned(),
            );
        }
        problems.extend(self.rates.iter().flat_map(Rates::problems));
        problems.extend(self.failed_tokens.iter().flat_map(FailedTokens::problems));
        if self.deadline_default.is_zero() {
            problems.push(
                "deadline_default is 0, so every RPC would fail at once; set it to 30s or more".to_owned(),
            );
        }
        if self.deadline_default > self.deadline_cap {
            let (default, cap) = (self.deadline_default, self.deadline_cap);
            problems
                .push(format!("deadline_default {default:?} exceeds deadline_cap {cap:?}; raise the cap"));
        }
        SettingsError::unless_empty(problems)
    }
}

/// Settings that cannot work together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError(Vec<String>);

impl SettingsError {
    pub(crate) fn unless_empty(problems: Vec<String>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self(problems)) }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid settings: {}", self.0.join("; "))
    }
}

impl std::error::Error for SettingsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_reported_at_once() {
        let broken = Settings {
            message_size_bytes_max: 0,
            concurrent_rpcs_max: 0,
            deadline_default: Duration::from_secs(600),
            ..Settings::default()
        };
        let text = broken.check().unwrap_err().to_string();
        for name in ["message_size_bytes_max", "concurrent_rpcs_max", "deadline_cap"] {
            assert!(text.contains(name), "{text}");
        }
        assert_eq!(Settings::default().check(), Ok(()));
    }
}

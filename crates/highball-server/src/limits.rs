//! Every limit of a server in one table: for the start banner, the documentation, and whoever asks what is in force.

use highball_core::ByteSize;

use crate::Settings;
use crate::admit::Shares;

/// One limit in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitInForce {
    /// What is limited.
    pub what: &'static str,
    /// The setting or settings, as fields of [`Settings`].
    pub setting: &'static str,
    /// The value in force.
    pub value: String,
    /// The metric that counts it.
    pub metric: &'static str,
    /// What happens at the bound.
    pub at_the_bound: &'static str,
}

const fn limit(
    what: &'static str,
    setting: &'static str,
    metric: &'static str,
    at_the_bound: &'static str,
) -> LimitInForce {
    LimitInForce { what, setting, value: String::new(), metric, at_the_bound }
}

/// The table, without the values.
const TABLE: [LimitInForce; 27] = [
    limit(
        "message size, each way",
        "message_size_bytes_max",
        "limit_hits_total{limit=\"inbound_message_size\"}, decompressed_message_size, outbound_message_size",
        "RESOURCE_EXHAUSTED naming the sizes, before the message is buffered or decompressed further",
    ),
    limit(
        "growth of a compressed message beyond 512 KiB",
        "decompression_ratio_max",
        "limit_hits_total{limit=\"decompression_ratio\"}",
        "RESOURCE_EXHAUSTED naming the size and the factor",
    ),
    limit(
        "concurrent RPCs",
        "concurrent_rpcs_max",
        "limit_hits_total{limit=\"concurrent_rpcs\"}",
        "RESOURCE_EXHAUSTED at once with RetryInfo and grpc-retry-pushback-ms; health checks are not counted",
    ),
    limit(
        "unary RPCs, adaptive",
        "adaptive_concurrency",
        "limit_hits_total{limit=\"adaptive_concurrency\"}, concurrency_limit, concurrency_in_flight",
        "RESOURCE_EXHAUSTED at once with RetryInfo and grpc-retry-pushback-ms; streams are not counted",
    ),
    limit(
        "sheddable/normal/critical share",
        "methods.priority",
        "limit_hits_total of the limit that is shared",
        "as at the limit, for the methods of that priority",
    ),
    limit(
        "rate of a caller",
        "rates",
        "limit_hits_total{limit=\"rate\"}",
        "RESOURCE_EXHAUSTED with RetryInfo and grpc-retry-pushback-ms",
    ),
    limit(
        "refused tokens of one address",
        "failed_tokens",
        "limit_hits_total{limit=\"failed_tokens\"}, auth_denials_total",
        "RESOURCE_EXHAUSTED with the time to wait, without a look at tokens that are not remembered as good",
    ),
    limit("connections", "connections_max", "limit_hits_total{limit=\"connections\"}", "closed at once"),
    limit(
        "connections of one address",
        "connections_per_peer_max",
        "limit_hits_total{limit=\"connections_per_peer\"}",
        "closed at once",
    ),
    limit(
        "streams per connection",
        "connection.concurrent_streams_max",
        "-",
        "announced in SETTINGS; one more is REFUSED_STREAM",
    ),
    limit("header list", "connection.header_list_size_bytes_max", "-", "the request is refused"),
    limit(
        "response waiting for its reader",
        "connection.send_buffer_size_bytes_max",
        "-",
        "the handler waits",
    ),
    limit(
        "responses of a connection waiting for its reader",
        "connection.buffered_size_bytes_max",
        "limit_hits_total{limit=\"buffered_size\"}",
        "no further message is made; closed when nothing goes out for write_stall",
    ),
    limit(
        "requests of a connection waiting to be read",
        "connection.receive_buffer_size_bytes_max",
        "-",
        "the client waits for the window",
    ),
    limit(
        "messages of a connection that are not whole yet",
        "connection.unfinished_size_bytes_max",
        "limit_hits_total{limit=\"unfinished_size\"}",
        "RESOURCE_EXHAUSTED for the stream that goes beyond",
    ),
    limit(
        "reader that takes nothing",
        "connection.write_stall",
        "limit_hits_total{limit=\"write_stall\"}",
        "the stream is reset, or the connection closed",
    ),
    limit(
        "TLS handshake",
        "connection.handshake_timeout",
        "grpc_server_tls_handshakes_total{result=\"HANDSHAKE_TIMEOUT\"}",
        "closed",
    ),
    limit("preface", "connection.preface_timeout", "h2_abuse_total{kind=\"preface_timeout\"}", "closed"),
    limit(
        "header block",
        "connection.header_timeout",
        "h2_abuse_total{kind=\"header_timeout\"}",
        "GOAWAY ENHANCE_YOUR_CALM",
    ),
    limit(
        "client pings, at most every",
        "connection.rules.ping_interval_min",
        "h2_abuse_total{kind=\"too_many_pings\"}",
        "the third too early: GOAWAY too_many_pings",
    ),
    limit("idle connection", "connection.idle_max", "-", "GOAWAY max_idle"),
    limit("age of a connection, ±10 %", "connection.age_max", "-", "GOAWAY max_age; calls finish"),
    limit("grace after that", "connection.age_grace", "-", "UNAVAILABLE trailers, then closed"),
    limit(
        "keepalive, time / timeout",
        "connection.keepalive_time, keepalive_timeout",
        "-",
        "PING; closed without an answer",
    ),
    limit(
        "unary deadline, default / cap",
        "deadline_default, deadline_cap",
        "grpc_requests_total{code=\"DEADLINE_EXCEEDED\"}",
        "DEADLINE_EXCEEDED saying who set it",
    ),
    limit(
        "silent stream",
        "stream_idle",
        "grpc_requests_total{code=\"UNAVAILABLE\"}",
        "UNAVAILABLE naming the setting",
    ),
    limit(
        "lame duck / drain",
        "lame_duck, drain_timeout",
        "-",
        "UNAVAILABLE trailers, then closed; exit code 1",
    ),
];

impl Settings {
    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> Vec<LimitInForce> {
        let size = |bytes: usize| ByteSize(bytes).to_string();
        let connection = &self.connection;
        let rate = self.rates.as_ref().map(|rates| format!("{}/s, burst {}", rates.per_second, rates.burst));
        let failed = self.failed_tokens.as_ref();
        let failed = failed.map(|failed| format!("{}/s, burst {}", failed.per_second, failed.burst));
        let adaptive = self
            .adaptive_concurrency
            .as_ref()
            .map(|own| format!("{} to {}, {} at the start", own.limit_min, own.limit_max, own.limit_initial));
        let growth = match self.decompress {
            true => format!("{} times", self.decompression_ratio_max),
            false => "not decompressed".to_owned(),
        };
        let values = [
            size(self.message_size_bytes_max),
            growth,
            self.concurrent_rpcs_max.to_string(),
            adaptive.unwrap_or_else(|| "off".to_owned()),
            Shares::new(self).to_string(),
            rate.unwrap_or_else(|| "not limited".to_owned()),
            failed.unwrap_or_else(|| "not limited".to_owned()),
            self.connections_max.to_string(),
            self.connections_per_peer_max.to_string(),
            connection.concurrent_streams_max.to_string(),
            size(connection.header_list_size_bytes_max as usize),
            size(connection.send_buffer_size_bytes_max),
            size(connection.buffered_size_bytes_max),
            size(connection.receive_buffer_size_bytes_max as usize),
            size(connection.unfinished_size_bytes_max),
            format!("{:?}", connection.write_stall),
            format!("{:?}", connection.handshake_timeout),
            format!("{:?}", connection.preface_timeout),
            format!("{:?}", connection.header_timeout),
            format!("{:?}", connection.rules.ping_interval_min),
            format!("{:?}", connection.idle_max),
            format!("{:?}", connection.age_max),
            format!("{:?}", connection.age_grace),
            format!("{:?} / {:?}", connection.keepalive_time, connection.keepalive_timeout),
            format!("{:?} / {:?}", self.deadline_default, self.deadline_cap),
            format!("{:?}", self.stream_idle),
            format!("{:?} / {:?}", self.lame_duck, self.drain_timeout),
        ];
        TABLE.into_iter().zip(values).map(|(limit, value)| LimitInForce { value, ..limit }).collect()
    }
}

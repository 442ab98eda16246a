//! The only speller of metric names. Counters get `_total` when they are rendered; the unit is part of the name.

/// Finished RPCs by method and code: `grpc_requests_total{method,code}`.
pub const REQUESTS: &str = "grpc_requests";
/// Time from the request's headers to the end of the response: `grpc_request_duration_seconds{method}`.
pub const REQUEST_DURATION: &str = "grpc_request_duration_seconds";
/// RPCs begun and not ended: `grpc_active_requests{method}`.
pub const ACTIVE_REQUESTS: &str = "grpc_active_requests";
/// The same duration in OpenTelemetry's vocabulary (`rpc.server.call.duration`).
pub const SERVER_CALL_DURATION: &str = "rpc_server_call_duration_seconds";
/// Panics caught in handlers and response bodies, by method.
pub const PANICS: &str = "grpc_handler_panics";
/// Refusals by a limit, by the setting that caused them.
pub const LIMIT_HITS: &str = "limit_hits";
/// Requests that never became an RPC (wrong content type, HTTP method or path), by HTTP status.
pub const REFUSED_REQUESTS: &str = "refused_requests";
/// Connections ended because the client misbehaved, by what it did: `h2_abuse_total{kind}`.
pub const ABUSE: &str = "h2_abuse";
/// RPCs denied to their caller, by reason: `auth_denials_total{reason}`.
pub const DENIALS: &str = "auth_denials";
/// Connections of proxies without a PROXY header that could be used, by reason: `proxy_headers_refused_total{reason}`.
pub const PROXY_HEADERS_REFUSED: &str = "proxy_headers_refused";
/// TLS handshakes by result (gRFC A118): `grpc_server_tls_handshakes_total{result}`.
pub const TLS_HANDSHAKES: &str = "grpc_server_tls_handshakes";
/// When the certificate of a listener expires, in seconds since 1970: `tls_certificate_expiry_timestamp_seconds{listener}`.
pub const TLS_CERTIFICATE_EXPIRY: &str = "tls_certificate_expiry_timestamp_seconds";
/// Reloads of TLS files that changed, by outcome: `tls_reloads_total{result}`.
pub const TLS_RELOADS: &str = "tls_reloads";
/// Connections accepted.
pub const CONNECTIONS: &str = "connections";
/// Connections open now.
pub const CONNECTIONS_OPEN: &str = "connections_open";
/// Failures to accept a connection, such as running out of file descriptors.
pub const ACCEPT_FAILURES: &str = "accept_failures";
/// Log lines dropped because standard output did not keep up.
pub const LOG_LINES_DROPPED: &str = "log_lines_dropped_total";

/// The label of every method the descriptors do not list.
pub const OTHER_METHOD: &str = "_OTHER";

/// Upper bounds in seconds of [`REQUEST_DURATION`]: the defaults of the Prometheus clients.
pub const REQUEST_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Upper bounds in seconds of [`SERVER_CALL_DURATION`]: OpenTelemetry's advice for RPC durations.
pub const CALL_BUCKETS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

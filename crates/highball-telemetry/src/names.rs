//! The only speller of metric names. Counters get `_total` when they are rendered; the unit is part of the name.

/// Finished RPCs by method and code: `grpc_requests_total{method,code}`.
pub const REQUESTS: &str = "grpc_requests";
/// Time from the request's headers to the end of the response: `grpc_request_duration_seconds{method}`.
pub const REQUEST_DURATION: &str = "grpc_request_duration_seconds";
/// RPCs begun and not ended: `grpc_active_requests{method}`.
pub const ACTIVE_REQUESTS: &str = "grpc_active_requests";
/// The same duration in OpenTelemetry's vocabulary (`rpc.server.call.duration`).
pub const SERVER_CALL_DURATION: &str = "rpc_server_call_duration_seconds";
/// Time spent on RPCs for which nobody waited any more: `grpc_wasted_work_seconds{method,after}`. `after` is `deadline` or
/// `cancellation`. Counted are polls of handlers and response bodies that ran past the deadline, and detached work that
/// holds a [`Work`](highball_core::current::Work). Time on the clock: work shared by several RPCs counts for each.
pub const WASTED_WORK: &str = "grpc_wasted_work_seconds";
/// Panics caught in handlers and response bodies, by method.
pub const PANICS: &str = "grpc_handler_panics";
/// Refusals by a limit, by the setting that caused them.
pub const LIMIT_HITS: &str = "limit_hits";
/// RPCs that may be worked on at once, as of now: `concurrency_limit{limit}`, by the setting that says so.
pub const CONCURRENCY_LIMIT: &str = "concurrency_limit";
/// RPCs worked on, of those that limit counts: `concurrency_in_flight{limit}`.
pub const CONCURRENCY_IN_FLIGHT: &str = "concurrency_in_flight";
/// Latency of a method without load, as last measured: `concurrency_baseline_seconds{method}`.
pub const CONCURRENCY_BASELINE: &str = "concurrency_baseline_seconds";
/// Latency of the last window over latency without load: 1 is a server at ease, 2 one where RPCs wait as long as they work.
pub const CONCURRENCY_LATENCY_RATIO: &str = "concurrency_latency_ratio";
/// Times the limit was halved for a moment to measure latency without load: `concurrency_probes_total{result}`.
pub const CONCURRENCY_PROBES: &str = "concurrency_probes";
/// Requests that never became an RPC (wrong content type, HTTP method or path), by HTTP status.
pub const REFUSED_REQUESTS: &str = "refused_requests";
/// Connections ended because the client misbehaved, by what it did: `h2_abuse_total{kind}`.
pub const ABUSE: &str = "h2_abuse";
/// RPCs denied to their caller, by reason: `auth_denials_total{reason}`.
pub const DENIALS: &str = "auth_denials";
/// Reads of the keys of tokens, by outcome: `jwks_refreshes_total{result}`.
pub const JWKS_REFRESHES: &str = "jwks_refreshes";
/// Time since the keys of tokens were last read. Beyond `token.jwks.stale_max` no token is accepted.
pub const JWKS_AGE: &str = "jwks_age_seconds";
/// Tokens that were remembered, and needed no signature check.
pub const TOKEN_CACHE_HITS: &str = "token_cache_hits";
/// Tokens whose signature was checked.
pub const TOKEN_CACHE_MISSES: &str = "token_cache_misses";
/// Remembered tokens driven out by others at the bound.
pub const TOKEN_CACHE_EVICTIONS: &str = "token_cache_evictions";
/// Tokens remembered now.
pub const TOKEN_CACHE_ENTRIES: &str = "token_cache_entries";
/// Connections of proxies without a PROXY header that could be used, by reason: `proxy_headers_refused_total{reason}`.
pub const PROXY_HEADERS_REFUSED: &str = "proxy_headers_refused";
/// TLS handshakes by result (gRFC A118): `grpc_server_tls_handshakes_total{result}`.
pub const TLS_HANDSHAKES: &str = "grpc_server_tls_handshakes";
/// When a certificate of a listener expires, in seconds since 1970, by the first name it is for:
/// `tls_certificate_expiry_timestamp_seconds{listener,certificate}`.
pub const TLS_CERTIFICATE_EXPIRY: &str = "tls_certificate_expiry_timestamp_seconds";
/// Reloads of TLS files that changed, by outcome: `tls_reloads_total{result}`.
pub const TLS_RELOADS: &str = "tls_reloads";
/// Connections accepted.
pub const CONNECTIONS: &str = "connections";
/// Connections open now.
pub const CONNECTIONS_OPEN: &str = "connections_open";
/// Of these, the connections of each worker thread: `worker_connections_open{worker}`; absent without workers.
pub const WORKER_CONNECTIONS_OPEN: &str = "worker_connections_open";
/// Failures to accept a connection, such as running out of file descriptors.
pub const ACCEPT_FAILURES: &str = "accept_failures";
/// Upgrades of the running process, by what became of them: `handovers_total{result}`. `passed`: a successor took over;
/// `taken`: this process took over; `abandoned`: likewise, and the predecessor died on the way; otherwise why it failed.
pub const HANDOVERS: &str = "handovers";
/// Log lines dropped because standard output did not keep up.
pub const LOG_LINES_DROPPED: &str = "log_lines_dropped_total";

/// Duration of outbound RPCs in OpenTelemetry's vocabulary (`rpc.client.call.duration`); `server_address` is the target.
pub const CLIENT_CALL_DURATION: &str = "rpc_client_call_duration_seconds";
/// Attempts after the first, by target and why: `channel_retries_total{target,result}`.
pub const CHANNEL_RETRIES: &str = "channel_retries";
/// Attempts to connect: `channel_connects_total{target,result}`.
pub const CHANNEL_CONNECTS: &str = "channel_connects";
/// Connections that took no more calls: `channel_disconnects_total{target}`.
pub const CHANNEL_DISCONNECTS: &str = "channel_disconnects";
/// Resolutions of a target: `channel_resolutions_total{target,result}`.
pub const CHANNEL_RESOLUTIONS: &str = "channel_resolutions";
/// Endpoints a target has at present: `channel_endpoints{target}`.
pub const CHANNEL_ENDPOINTS: &str = "channel_endpoints";
/// What outlier detection did: `channel_ejections_total{target,result}`.
pub const CHANNEL_EJECTIONS: &str = "channel_ejections";
/// Reloads of a channel's TLS files that changed: `channel_tls_reloads_total{target,result}`.
pub const CHANNEL_TLS_RELOADS: &str = "channel_tls_reloads";
/// Calls that failed because their credentials were not to be had: `channel_credentials_failed_total{target}`.
pub const CHANNEL_CREDENTIALS_FAILED: &str = "channel_credentials_failed";
/// Renewals of the credentials of calls: `channel_credentials_renewals_total{target,result}`.
pub const CHANNEL_CREDENTIALS_RENEWALS: &str = "channel_credentials_renewals";
/// Streams of load reports out of band that ended, by status: `channel_load_report_ends_total{target,result}`.
pub const CHANNEL_LOAD_REPORT_ENDS: &str = "channel_load_report_ends";
/// TLS handshakes of channels by target and result (gRFC A118): `grpc_client_tls_handshakes_total{target,result}`.
pub const CLIENT_TLS_HANDSHAKES: &str = "grpc_client_tls_handshakes";
/// Service configs that could not be read: `channel_configs_refused_total{target}`.
pub const CHANNEL_CONFIGS_REFUSED: &str = "channel_configs_refused";

/// RPCs of an edge by the way they took: `edge_routed_total{route,cluster}`.
pub const EDGE_ROUTED: &str = "edge_routed";
/// RPCs of an edge that no route matched.
pub const EDGE_UNROUTED: &str = "edge_unrouted";
/// Copies for a mirror that were not made, because too many were under way: `edge_mirrors_skipped_total{route}`.
pub const EDGE_MIRRORS_SKIPPED: &str = "edge_mirrors_skipped";
/// Copies for a mirror that were given up, because it did not take the request in time: `edge_mirrors_given_up_total{route}`.
pub const EDGE_MIRRORS_GIVEN_UP: &str = "edge_mirrors_given_up";
/// Reloads of an edge's file, by outcome: `edge_reloads_total{result}`.
pub const EDGE_RELOADS: &str = "edge_reloads";
/// Clusters in the file that is in force.
pub const EDGE_CLUSTERS: &str = "edge_clusters";
/// Routes in the file that is in force.
pub const EDGE_ROUTES: &str = "edge_routes";

/// The label of every method the descriptors do not list.
pub const OTHER_METHOD: &str = "_OTHER";

/// Upper bounds in seconds of [`REQUEST_DURATION`]: the defaults of the Prometheus clients.
pub const REQUEST_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Upper bounds in seconds of [`WASTED_WORK`]: a poll should take microseconds, a blocking call takes seconds.
pub const WASTE_BUCKETS: [f64; 8] = [0.0001, 0.001, 0.01, 0.05, 0.25, 1.0, 5.0, 30.0];
/// Upper bounds in seconds of [`SERVER_CALL_DURATION`]: OpenTelemetry's advice for RPC durations.
pub const CALL_BUCKETS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

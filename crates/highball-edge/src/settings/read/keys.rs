//! Every key that a file may have. What is not here is unknown.

/// The keys of one table.
#[derive(Debug)]
pub(super) struct Keys {
    /// What messages call the table.
    pub(super) what: &'static str,
    pub(super) known: &'static [&'static str],
}

macro_rules! keys {
    ($($name:ident: $what:literal = [$($key:literal),* $(,)?];)*) => {
        $(pub(super) const $name: Keys = Keys { what: $what, known: &[$($key),*] };)*

        /// All tables, for the test that the reference has them.
        #[cfg(test)]
        pub(super) const ALL: &[&Keys] = &[$(&$name),*];
    };
}

keys! {
    FILE: "the file" = [
        "workers", "admin", "health", "trusted_hops", "descriptors", "profile", "open_boxes_allowed", "listeners",
        "clusters", "routes", "limits",
    ];
    LISTENER: "a listener" = ["address", "tls", "proxy_protocol"];
    TLS: "tls of a listener" = [
        "certificate", "key", "pairs", "strict_names", "client_ca", "client_auth", "crl",
    ];
    PAIR: "an entry of pairs" = ["certificate", "key", "names"];
    CLUSTER: "a cluster" = [
        "target", "policy", "hash_header", "outlier", "subset", "slow_start", "health", "tls", "authority",
        "calls_per_endpoint_max", "connections_per_endpoint_max", "waiting_max", "connect_timeout", "keepalive_time",
        "keepalive_timeout", "response_size_max", "replay_size_max", "retry_tokens",
    ];
    POLICY: "policy" = [
        "round_robin", "pick_first", "least_request", "ring_hash", "weighted_round_robin", "peak_ewma",
    ];
    ROUND_ROBIN: "round_robin" = [];
    PICK_FIRST: "pick_first" = ["shuffle"];
    LEAST_REQUEST: "least_request" = ["choice_count"];
    RING_HASH: "ring_hash" = ["header", "ring_size_min", "ring_size_max"];
    WEIGHTED_ROUND_ROBIN: "weighted_round_robin" = [
        "blackout_period", "weight_expiration_period", "weight_update_period", "error_utilization_penalty",
        "metric_names", "oob_load_report", "oob_reporting_period",
    ];
    PEAK_EWMA: "peak_ewma" = ["decay", "default_rtt"];
    OUTLIER: "outlier" = [
        "consecutive_failures", "interval", "base_ejection_time", "max_ejection_time", "max_ejection_percent",
        "success_rate", "failure_percentage",
    ];
    SUCCESS_RATE: "success_rate" = [
        "stdev_factor", "enforcement_percentage", "minimum_hosts", "request_volume",
    ];
    FAILURE_PERCENTAGE: "failure_percentage" = [
        "threshold", "enforcement_percentage", "minimum_hosts", "request_volume",
    ];
    SLOW_START: "slow_start" = ["window", "aggression", "min_weight_percent"];
    UPSTREAM_TLS: "tls of a cluster" = ["ca", "certificate", "key", "server_name"];
    ROUTE: "a route" = [
        "name", "host", "hosts", "path", "prefix", "service", "method", "headers", "cluster", "split", "mirror",
        "deadline", "stream_idle", "retry", "hedge", "rate", "request_headers", "response_headers", "fault",
    ];
    VALUE_MATCH: "a header condition" = ["exact", "prefix", "regex", "present"];
    MIRROR: "mirror" = ["cluster", "percent", "calls_max"];
    RETRY: "retry" = ["attempts", "codes", "backoff", "backoff_max", "per_attempt_timeout"];
    HEDGE: "hedge" = ["attempts", "delay", "codes", "per_attempt_timeout"];
    RATE: "rate" = ["per_second", "burst", "per"];
    REWRITE: "a header rewrite" = ["remove", "set", "add"];
    FAULT: "fault" = ["delay", "delay_percent", "abort", "abort_percent"];
    LIMITS: "limits" = [
        "message_size_max", "concurrent_rpcs_max", "connections_max",
        "connections_per_peer_max", "deadline_default", "deadline_cap", "stream_idle", "lame_duck", "drain_timeout",
        "concurrent_streams_max", "header_list_size_max", "send_buffer_size_max", "buffered_size_max",
        "receive_buffer_size_max", "unfinished_size_max", "handshake_timeout", "preface_timeout", "header_timeout",
        "write_stall", "connection_idle", "connection_age", "connection_age_grace", "keepalive_time",
        "keepalive_timeout",
    ];
}

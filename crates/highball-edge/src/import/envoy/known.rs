//! Fields that need no translation, and what to do instead of those that have none.

/// Names, and what is said of each of them.
type Words = &'static [(&'static [&'static str], &'static str)];

/// What to say of a field that nothing else looked at: whether it is needless, and why or what to do.
pub(super) fn advice(path: &str) -> (bool, &'static str) {
    let name = snake(path.rsplit('.').next().unwrap_or(path));
    let find =
        |words: Words| words.iter().find(|(names, _)| names.contains(&name.as_str())).map(|(_, text)| *text);
    if let Some(why) = find(NEEDLESS) {
        return (true, why);
    }
    let is_statistic =
        ["success_rate_", "failure_percentage_", "enforcing_"].iter().any(|start| name.starts_with(start));
    let statistic = is_statistic.then_some("set success_rate or failure_percentage in `outlier` (gRFC A50)");
    (false, find(MISSING).or(statistic).unwrap_or("nothing here corresponds to it"))
}

/// A name in the other spelling of protobuf's JSON.
fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// Why nothing is lost.
const NEEDLESS: Words = &[
    (
        &[
            "node",
            "stats_config",
            "stats_sinks",
            "stats_flush_interval",
            "stat_prefix",
            "alt_stat_name",
            "access_log",
            "access_log_path",
            "cluster_name",
            "track_timeout_budgets",
            "track_cluster_stats",
            "decorator",
        ],
        "every RPC has a log line, metrics and a trace without being asked for",
    ),
    (
        &[
            "layered_runtime",
            "flags_path",
            "use_tcp_for_dns_lookups",
            "enable_dispatcher_stats",
            "default_config_source",
        ],
        "of Envoy's own process",
    ),
    (
        &[
            "generate_request_id",
            "always_set_request_id_in_response",
            "preserve_external_request_id",
            "server_name",
            "add_user_agent",
            "via",
            "proxy_100_continue",
            "normalize_path",
            "merge_slashes",
            "path_with_escaped_slashes_action",
            "strip_any_host_port",
            "strip_matching_host_port",
            "skip_xff_append",
            "use_remote_address",
            "internal_address_config",
            "forward_client_cert_details",
            "set_current_client_cert_details",
        ],
        "x-forwarded-for and identity headers are made here, hosts are compared without port",
    ),
    (
        &[
            "drain_timeout",
            "drain_type",
            "delayed_close_timeout",
            "drain_timeout_ms",
            "per_connection_buffer_limit_bytes",
            "tcp_backlog_size",
            "enable_reuse_port",
            "reuse_port",
            "transparent",
            "freebind",
            "socket_options",
            "max_connection_duration",
            "max_requests_per_connection",
            "initial_stream_window_size",
            "initial_connection_window_size",
            "max_request_headers_kb",
            "max_headers_count",
            "headers_with_underscores_action",
            "hpack_table_size",
            "max_outbound_frames",
            "max_outbound_control_frames",
            "max_consecutive_inbound_frames_with_empty_payload",
            "max_inbound_priority_frames_per_stream",
            "allow_connect",
            "override_stream_error_on_invalid_http_message",
            "http_protocol_options",
            "preconnect_policy",
            "dns_refresh_rate",
            "dns_failure_refresh_rate",
            "respect_dns_ttl",
            "dns_lookup_family",
            "dns_resolvers",
            "typed_dns_resolver_config",
            "wait_for_warm_on_init",
            "cleanup_interval",
            "ignore_health_on_host_removal",
            "close_connections_on_host_health_failure",
            "ignore_new_hosts_until_first_hc",
            "close_connections_on_host_set_change",
        ],
        "there is a default for it; see [limits]",
    ),
    (
        &[
            "tls_params",
            "alpn_protocols",
            "session_ticket_keys",
            "max_session_keys",
            "allow_renegotiation",
            "enforce_rsa_key_usage",
        ],
        "TLS 1.2 and 1.3 with the safe cipher suites, and ALPN h2",
    ),
    (
        &[
            "interval_jitter",
            "interval_jitter_percent",
            "no_traffic_interval",
            "unhealthy_interval",
            "unhealthy_edge_interval",
            "healthy_edge_interval",
            "initial_jitter",
            "reuse_connection",
            "always_log_health_check_failures",
            "event_log_path",
        ],
        "health is watched, not polled",
    ),
    (
        &["host_selection_retry_max_attempts", "retry_host_predicate"],
        "another attempt goes to another backend where there is one",
    ),
    (&["http2_protocol_options", "max_concurrent_streams"], "HTTP/2 is spoken"),
    (&["validate_clusters"], "a route to a cluster that is not there is a problem"),
];

/// What to do instead.
const MISSING: Words = &[
    (
        &[
            "dynamic_resources",
            "lds_config",
            "cds_config",
            "ads_config",
            "rds",
            "scoped_routes",
            "eds_cluster_config",
        ],
        "nothing is fetched from a control plane: give the routes and clusters in the file, and change it at run time",
    ),
    (
        &[
            "secrets",
            "tls_certificate_sds_secret_configs",
            "validation_context_sds_secret_config",
            "combined_validation_context",
        ],
        "certificates are files: certificate, key, ca; they are read again when they change",
    ),
    (&["http_filters", "typed_per_filter_config"], "there is no such filter here"),
    (&["rate_limits", "rate_limit_service"], "rates are counted here: set `rate` of a route"),
    (&["redirect", "direct_response"], "gRPC has no redirects and no pages"),
    (&["cors", "cors_policy"], "browsers need gRPC-Web, which is not translated here yet"),
    (&["tracing"], "traces follow the traceparent header; there is nothing to set here"),
    (&["overload_manager"], "see the limits of [limits]: they hold always"),
    (&["upgrade_configs"], "there are no WebSockets here"),
    (&["local_reply_config"], "failures are answered with a gRPC status"),
    (&["hedge_policy"], "set `hedge` of the route"),
    (&["inline_string", "inline_bytes"], "write it into a file"),
    (&["tcp_keepalive"], "HTTP/2 pings do it: keepalive_time of the cluster"),
    (&["retry_priority", "priority"], "give priorities in a file:/// target"),
    (&["subset_lb_config", "lb_subset_config"], "make a cluster of each subset"),
    (&["request_headers_timeout"], "see header_timeout in [limits]"),
    (&["<<"], "merge keys are not read: write the fields out"),
];

//! Directives that need no translation, and what to do instead of those that have none.

/// What to say of a directive that nothing else dealt with.
pub(super) enum Advice {
    /// Nothing is lost without it.
    Needless(&'static str),
    /// Something is.
    Missing(&'static str),
}

/// Names, and what is said of each of them.
type Words = &'static [(&'static [&'static str], &'static str)];

/// By its name.
pub(super) fn advice(name: &str) -> Advice {
    let find = |words: Words| words.iter().find(|(names, _)| names.contains(&name)).map(|(_, text)| *text);
    match (find(NEEDLESS), find(MISSING)) {
        (Some(why), _) => Advice::Needless(why),
        (None, instead) => Advice::Missing(instead.unwrap_or("nothing here corresponds to it")),
    }
}

/// Why nothing is lost.
const NEEDLESS: Words = &[
    (
        &[
            "user",
            "pid",
            "daemon",
            "events",
            "worker_connections",
            "worker_rlimit_nofile",
            "worker_cpu_affinity",
            "worker_priority",
            "multi_accept",
            "use",
            "load_module",
            "thread_pool",
            "worker_shutdown_timeout",
            "pcre_jit",
            "lock_file",
        ],
        "of nginx's own process",
    ),
    (
        &[
            "sendfile",
            "tcp_nopush",
            "tcp_nodelay",
            "aio",
            "directio",
            "default_type",
            "types",
            "types_hash_max_size",
            "types_hash_bucket_size",
            "server_names_hash_bucket_size",
            "server_names_hash_max_size",
            "variables_hash_max_size",
            "variables_hash_bucket_size",
            "map_hash_bucket_size",
            "map_hash_max_size",
            "server_tokens",
            "charset",
            "etag",
            "index",
            "autoindex",
            "open_file_cache",
            "output_buffers",
            "postpone_output",
            "reset_timedout_connection",
            "server_name_in_redirect",
            "port_in_redirect",
            "absolute_redirect",
            "merge_slashes",
            "underscores_in_headers",
            "ignore_invalid_headers",
        ],
        "it has no part in gRPC here",
    ),
    (
        &["access_log", "error_log", "log_format", "log_not_found", "log_subrequest", "open_log_file_cache"],
        "every RPC has a line in the log and a metric without being asked for",
    ),
    (
        &[
            "gzip",
            "gzip_types",
            "gzip_vary",
            "gzip_proxied",
            "gzip_comp_level",
            "gzip_min_length",
            "gzip_disable",
            "gzip_http_version",
            "gzip_buffers",
        ],
        "gRPC compresses its messages itself, and they pass as they are",
    ),
    (
        &[
            "proxy_buffering",
            "proxy_request_buffering",
            "grpc_buffer_size",
            "client_body_buffer_size",
            "client_header_buffer_size",
            "large_client_header_buffers",
            "http2_chunk_size",
            "http2_body_preread_size",
            "http2_recv_buffer_size",
            "proxy_http_version",
        ],
        "buffers are bounded in [limits]",
    ),
    (
        &[
            "keepalive_timeout",
            "keepalive_time",
            "http2_idle_timeout",
            "keepalive_disable",
            "lingering_close",
            "lingering_time",
            "lingering_timeout",
        ],
        "idle connections are closed after 5 minutes and old ones after 30, each announced by GOAWAY; see [limits]",
    ),
    (
        &[
            "client_header_timeout",
            "http2_recv_timeout",
            "http2_max_field_size",
            "http2_max_header_size",
            "http2_max_requests",
        ],
        "each connection has limits of its own; see [limits]",
    ),
    (
        &[
            "ssl_protocols",
            "ssl_ciphers",
            "ssl_prefer_server_ciphers",
            "ssl_session_cache",
            "ssl_session_timeout",
            "ssl_session_tickets",
            "ssl_session_ticket_key",
            "ssl_dhparam",
            "ssl_ecdh_curve",
            "ssl_buffer_size",
            "ssl_conf_command",
            "ssl_early_data",
            "ssl_verify_depth",
            "ssl_reject_handshake",
        ],
        "TLS 1.2 and 1.3 with the safe cipher suites only, and nothing to choose",
    ),
    (
        &[
            "grpc_ssl_protocols",
            "grpc_ssl_ciphers",
            "grpc_ssl_session_reuse",
            "grpc_ssl_verify_depth",
            "grpc_ssl_conf_command",
            "grpc_socket_keepalive",
            "grpc_pass_header",
            "grpc_ignore_headers",
            "grpc_ssl_server_name",
        ],
        "it is so here",
    ),
    (
        &["grpc_intercept_errors", "recursive_error_pages", "error_page", "internal"],
        "failures are answered with a gRPC status; pages are not needed for it",
    ),
    (&["zone", "keepalive", "keepalive_requests", "ntlm"], "connections to backends carry many calls each"),
    (&["resolver", "resolver_timeout"], "names are asked of the system's resolver, again and again"),
    (
        &[
            "limit_req_status",
            "limit_req_log_level",
            "limit_req_dry_run",
            "limit_conn_log_level",
            "limit_conn_status",
        ],
        "who is over the rate is answered RESOURCE_EXHAUSTED with the time to wait",
    ),
];

/// What to do instead.
const MISSING: Words = &[
    (&["include"], "it is not read: give its text in the same input"),
    (&["stream", "mail"], "only the http block is translated"),
    (&["allow", "deny"], "give rules for callers where the service is, or a firewall in front"),
    (
        &["auth_basic", "auth_basic_user_file", "auth_jwt", "auth_jwt_key_file", "auth_request"],
        "callers are checked by the service, with `highball-auth`",
    ),
    (
        &["limit_conn", "limit_conn_zone"],
        "see connections_per_peer_max in [limits], and calls_per_endpoint_max of a cluster",
    ),
    (
        &["rewrite", "if", "set", "return", "try_files", "break"],
        "routes match paths and headers and nothing else: write a route for each case",
    ),
    (
        &["proxy_pass", "fastcgi_pass", "uwsgi_pass", "root", "alias", "stub_status"],
        "it is not gRPC: serve it from another port or another proxy",
    ),
    (
        &["ssl_stapling", "ssl_stapling_verify", "ssl_trusted_certificate", "ssl_ocsp"],
        "no OCSP answers are sent: leave it out",
    ),
    (&["ssl_password_file", "grpc_ssl_password_file"], "keys are read without a password: decrypt them"),
    (&["grpc_bind"], "the system chooses the address to call from"),
    (
        &["set_real_ip_from", "real_ip_header", "real_ip_recursive"],
        "say with `trusted_hops` how many proxies are in front, or name them in `proxy_protocol` of the listener",
    ),
    (
        &["sub_filter", "js_import", "js_set", "perl", "lua_package_path", "access_by_lua_block"],
        "there are no scripts here",
    ),
    (&["grpc_next_upstream_timeout"], "set a `deadline` on the route"),
    (&["grpc_ssl_crl"], "revocation lists are not used for backends"),
    (
        &["send_timeout", "client_body_timeout"],
        "a client that takes nothing is closed after `write_stall` of [limits]; a stream may be silent for `stream_idle`",
    ),
];

//! `clusters`.

use std::time::Duration;

use super::{Making, endpoints, tls, type_of};
use crate::import::names::cluster_name;
use crate::import::report::Report;
use crate::import::toml::{Table, Value};
use crate::import::values::{DURATION_MAX, Outlier, duration};
use crate::import::yaml::Node;

/// Translates a cluster.
pub(super) fn cluster(cluster: &Node, making: &mut Making) {
    let name = cluster.at("name").text().unwrap_or_default().to_owned();
    let kind = cluster.at("type").text().unwrap_or("STATIC").to_owned();
    if matches!(kind.as_str(), "EDS" | "ORIGINAL_DST") || cluster.has("cluster_type") {
        cluster.settle();
        let instead =
            "left out: name its backends, with dns:/// or with file:///, which is followed as it changes";
        making.report.not_supported(cluster.line, format!("cluster {name} of type {kind}"), instead);
        return;
    }
    let Some(target) = endpoints::target(cluster, &kind, making) else {
        let instead = "left out: no endpoint is left in its load_assignment";
        making.report.not_supported(cluster.line, format!("cluster {name}"), instead);
        return;
    };
    let mut table = Table::noted(format!("envoy: cluster {name}, line {}", cluster.line));
    table.set("target", target);
    policy(cluster, &kind, &mut table, &mut making.report);
    if let Some(tls) = tls::upstream(cluster, making) {
        table.set("tls", tls);
    }
    http2(cluster, &name, &mut table, &mut making.report);
    health(cluster, &mut table, &mut making.report);
    outlier(cluster, &mut table, &mut making.report);
    breakers(cluster, &mut table, &mut making.report);
    if let Some(time) = time(cluster, "connect_timeout").filter(|time| *time != Duration::from_secs(5)) {
        table.set("connect_timeout", time);
    }
    panic_threshold(cluster, &mut making.report);
    making.report.translated(cluster.line, format!("cluster {name}"), "");
    let own = cluster_name(&name, &making.file);
    making.file.clusters.push((own.clone(), table));
    making.clusters.insert(name, own);
}

/// Gives clusters with a hash ring the header that their routes hash.
pub(super) fn hash_headers(clusters: &[Node], making: &mut Making) {
    for item in clusters {
        let name = item.at("name").text().unwrap_or_default();
        let is_ring = matches!(item.at("lb_policy").text(), Some("RING_HASH" | "MAGLEV"));
        let Some(own) = making.clusters.get(name) else { continue };
        let header =
            making.hashed.iter().find(|(_, cluster)| cluster == own).map(|(header, _)| header.clone());
        let Some(table) = making.file.cluster(own) else { continue };
        match (is_ring, header) {
            (true, Some(header)) => match table.get("policy").cloned() {
                Some(Value::Map(mut entries)) => {
                    if let Some((_, Value::Map(ring))) = entries.first_mut() {
                        ring.insert(0, ("header".to_owned(), header.into()));
                    }
                    table.set("policy", Value::Map(entries));
                }
                _ => {
                    table.remove("policy");
                    table.set("hash_header", header);
                }
            },
            (true, None) => {
                let why = "no route to it has a hash_policy with a header, so each call goes to a random backend: \
                    round_robin here";
                table.remove("policy");
                making.report.mistake(item.at("lb_policy").line, format!("lb_policy of {name}"), why);
            }
            (false, Some(header)) => {
                let why = format!(
                    "a route hashes {header}, and lb_policy is neither RING_HASH nor MAGLEV: it has no effect"
                );
                making.report.mistake(item.line, format!("cluster {name}"), why);
            }
            (false, None) => {}
        }
    }
}

fn time(node: &Node, name: &str) -> Option<Duration> {
    let time = duration(node.get(name)?.text()?)?;
    (!time.is_zero()).then_some(time.min(DURATION_MAX))
}

fn count(node: &Node, name: &str) -> Option<u64> {
    node.get(name)?.parse::<u64>().filter(|count| *count <= u32::MAX.into())
}

fn policy(cluster: &Node, kind: &str, table: &mut Table, report: &mut Report) {
    let policy = cluster.at("lb_policy");
    let (name, line) = (policy.text().unwrap_or("ROUND_ROBIN"), policy.line.max(cluster.line));
    let what = format!("lb_policy {name}");
    match name {
        "ROUND_ROBIN" if policy.is_null() => {}
        "ROUND_ROBIN" => report.translated(line, &what, ""),
        "LEAST_REQUEST" => {
            match count(cluster.at("least_request_lb_config"), "choice_count") {
                Some(choices) if choices != 2 => {
                    let choices = Value::map([("choice_count", Value::Whole(choices.clamp(2, 10)))]);
                    table.set("policy", Value::map([("least_request", choices)]));
                }
                _ => table.set("policy", "least_request"),
            }
            report.translated(line, &what, "");
        }
        "RING_HASH" | "MAGLEV" => {
            let ring = cluster.at("ring_hash_lb_config");
            let mut sizes = Value::Map(Vec::new());
            for (key, name) in
                [("ring_size_min", "minimum_ring_size"), ("ring_size_max", "maximum_ring_size")]
            {
                if let Some(size) = count(ring, name).filter(|size| *size > 0) {
                    sizes.push(key, size.min(4096));
                }
            }
            if sizes != Value::Map(Vec::new()) {
                table.set("policy", Value::map([("ring_hash", sizes)]));
            }
            let how = "a ring of at most 4,096 points with XXH64: keys move to other backends once";
            report.approximated(line, &what, how);
        }
        "RANDOM" => report.approximated(line, &what, "round_robin, which spreads calls more evenly"),
        _ => report.not_supported(line, &what, "set `policy` of the cluster; round_robin until then"),
    }
    if kind == "LOGICAL_DNS" {
        let how = "all addresses of the name are used, not one at a time";
        report.approximated(cluster.at("type").line, "type LOGICAL_DNS", how);
    }
    let slow = ["round_robin_lb_config", "least_request_lb_config"]
        .iter()
        .find_map(|config| cluster.get(config)?.get("slow_start_config"));
    if let Some(window) = slow.and_then(|slow| time(slow, "slow_start_window"))
        && !matches!(name, "RING_HASH" | "MAGLEV")
    {
        table.set("slow_start", window);
        report.translated(line, "slow_start_config", "");
    }
}

/// Whether the backends are spoken to in HTTP/2, and how they are kept alive.
fn http2(cluster: &Node, name: &str, table: &mut Table, report: &mut Report) {
    let mut options = cluster.get("http2_protocol_options");
    let mut speaks = cluster.has("http2_protocol_options");
    for (key, line, extension) in cluster.at("typed_extension_protocol_options").fields() {
        if type_of(extension) != "HttpProtocolOptions" {
            report.not_supported(line, key, "nothing here corresponds to it");
            extension.settle();
            continue;
        }
        for way in ["explicit_http_config", "auto_config", "use_downstream_protocol_config"] {
            let config = extension.at(way);
            speaks |= config.has("http2_protocol_options")
                || extension.has(way) && way == "use_downstream_protocol_config";
            options = config.get("http2_protocol_options").or(options);
        }
    }
    if !speaks {
        let why = "no http2_protocol_options, here or in typed_extension_protocol_options: Envoy speaks HTTP/1.1 to these \
                   backends, and gRPC fails; here it is HTTP/2";
        report.mistake(cluster.line, format!("cluster {name}"), why);
    }
    if let Some(keepalive) = options.and_then(|options| options.get("connection_keepalive")) {
        if let Some(time) = time(keepalive, "interval").filter(|time| *time != Duration::from_secs(30)) {
            table.set("keepalive_time", time.max(Duration::from_secs(10)));
        }
        if let Some(time) = time(keepalive, "timeout").filter(|time| *time != Duration::from_secs(10)) {
            table.set("keepalive_timeout", time);
        }
        let how = "backends are asked while they are silent, not at each interval, and at most every 10 s";
        report.approximated(keepalive.line, "connection_keepalive", how);
    }
}

fn health(cluster: &Node, table: &mut Table, report: &mut Report) {
    let mut checks = cluster.at("health_checks").items().iter();
    let Some(check) = checks.next() else { return };
    for other in checks {
        other.settle();
        report.not_supported(other.line, "a second health check", "one is enough: left out");
    }
    for polled in ["interval", "timeout", "unhealthy_threshold", "healthy_threshold"] {
        check.at(polled).settle();
    }
    if let Some(grpc) =
        check.get("grpc_health_check").or_else(|| check.has("grpc_health_check").then_some(check))
    {
        table.set("health", grpc.at("service_name").text().unwrap_or_default());
        grpc.at("authority").settle();
        let how = "backends are watched (gRFC A17), so a change is known at once; intervals and thresholds have no use";
        report.approximated(check.line, "grpc_health_check", how);
        return;
    }
    check.settle();
    let instead = "backends that serve grpc.health.v1 are watched; a connection that cannot be made counts for the others";
    report.not_supported(check.line, "a health check that is not gRPC's", instead);
}

fn outlier(cluster: &Node, table: &mut Table, report: &mut Report) {
    let Some(detection) = cluster.get("outlier_detection") else { return };
    let number = |name: &str| count(detection, name).and_then(|count| u32::try_from(count).ok());
    let (errors, gateway) = (number("consecutive_5xx"), number("consecutive_gateway_failure"));
    for name in ["consecutive_local_origin_failure", "split_external_local_origin_errors"] {
        // A connection that cannot be made is no outlier here: it is not ready.
        detection.at(name).settle();
    }
    let enforced = |name: &str, default: u32| number(name).unwrap_or(default) > 0;
    let by_errors = enforced("enforcing_consecutive_5xx", 100) && errors != Some(0);
    let by_gateway = enforced("enforcing_consecutive_gateway_failure", 0) && gateway != Some(0);
    let by_rate = enforced("enforcing_success_rate", 100);
    let consecutive = match (by_errors, by_gateway) {
        (true, _) => errors.unwrap_or(5),
        (false, true) => gateway.unwrap_or(5),
        (false, false) => 0,
    };
    let what = "outlier_detection";
    if number("max_ejection_percent") == Some(0) || (consecutive == 0 && !by_rate) {
        let why = "it never takes a backend out, as its numbers are: here five failures in a row do";
        report.mistake(detection.line, what, why);
    } else if by_gateway && !by_errors {
        let why = "gateway failures are UNAVAILABLE and DEADLINE_EXCEEDED only: INTERNAL, UNKNOWN and DATA_LOSS never trip it; \
                   here they count too";
        report.mistake(detection.line, what, why);
    }
    if gateway.is_some() && !by_gateway {
        let why = "without enforcing_consecutive_gateway_failure, 0 by default, it takes no backend out";
        report.mistake(detection.line, "consecutive_gateway_failure", why);
    }
    Outlier {
        consecutive: Some(consecutive),
        interval: time(detection, "interval"),
        base: time(detection, "base_ejection_time"),
        longest: time(detection, "max_ejection_time"),
        percent: Some(number("max_ejection_percent").unwrap_or(10)).filter(|percent| *percent > 0),
    }
    .write(table);
    let how = "failures are gRPC statuses: UNAVAILABLE, INTERNAL, UNKNOWN, DATA_LOSS; the last backend that is ready stays, as \
               there is no panic threshold";
    report.approximated(detection.line, what, how);
}

fn breakers(cluster: &Node, table: &mut Table, report: &mut Report) {
    let Some(breakers) = cluster.get("circuit_breakers") else { return };
    let mut thresholds = breakers.at("thresholds").items().iter();
    let default =
        thresholds.find(|item| item.at("priority").text().is_none_or(|priority| priority == "DEFAULT"));
    let Some(threshold) = default else { return };
    if let Some(calls) = count(threshold, "max_requests").filter(|calls| *calls > 0 && *calls != 1024) {
        table.set("calls_per_endpoint_max", calls);
    }
    if let Some(calls) = count(threshold, "max_pending_requests").filter(|calls| *calls > 0 && *calls != 1024)
    {
        table.set("waiting_max", calls);
    }
    for (name, how) in [
        ("max_requests", "it is for each backend here, and for the whole cluster in Envoy"),
        ("max_pending_requests", "it is for each worker"),
        ("max_connections", "left out: one connection for each worker and backend carries many calls"),
        ("max_retries", "left out: retries stop while most calls fail, by retry_tokens (gRFC A6)"),
        ("retry_budget", "left out: retries stop while most calls fail, by retry_tokens (gRFC A6)"),
        ("track_remaining", "metrics tell it"),
    ] {
        if let Some(found) = threshold.get(name) {
            found.settle();
            report.approximated(found.line, name, how);
        }
    }
}

fn panic_threshold(cluster: &Node, report: &mut Report) {
    let Some(common) = cluster.get("common_lb_config") else { return };
    if let Some(panic) = common.get("healthy_panic_threshold") {
        panic.settle();
        let how =
            "there is no panic threshold: backends that are known to be down are not called because many are";
        report.approximated(panic.line, "healthy_panic_threshold", how);
    }
}

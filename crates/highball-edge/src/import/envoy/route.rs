//! `routes` of a virtual host.

use std::time::Duration;

use super::{Making, filters, matches, percentage, type_of};
use crate::import::names::send_to;
use crate::import::report::Report;
use crate::import::toml::{Table, Value};
use crate::import::values::{DURATION_MAX, Retry, code, duration};
use crate::import::yaml::Node;

/// Of Envoy, where nothing is said.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);

/// Of the server, beyond which a deadline is cut.
const DEADLINE_CAP: Duration = Duration::from_secs(300);

/// What stands around a route.
pub(super) struct Outer<'a> {
    pub(super) name: &'a str,
    pub(super) host: &'a Node,
    pub(super) config: &'a Node,
}

/// Translates a route; `None` when it is left out.
pub(super) fn route(route: &Node, outer: &Outer<'_>, making: &mut Making) -> Option<Table> {
    let name = route.at("name").text().unwrap_or_default();
    let what = if name.is_empty() { format!("route of {}", outer.name) } else { format!("route {name}") };
    let mut table = Table::noted(format!("envoy: {what}, line {}", route.line));
    if let Err(why) = matches::conditions(route.at("match"), &mut table) {
        route.settle();
        making.report.not_supported(
            route.line,
            what,
            format!("left out, so that its calls take the routes after it: {why}"),
        );
        return None;
    }
    let Some(action) = route.get("route") else {
        route.settle();
        let instead = "left out: gRPC has no redirects and no pages, only calls that go to a cluster";
        making.report.not_supported(route.line, what, instead);
        return None;
    };
    let to = destinations(action, making);
    if to.is_empty() {
        route.settle();
        let instead = "left out: none of its clusters is in the file";
        making.report.not_supported(route.line, what, instead);
        return None;
    }
    send_to(&mut table, &to);
    hash(action, &to, making);
    mirror(action, &mut table, making);
    timeouts(route, action, &mut table, &mut making.report);
    let retry = [action, outer.host, outer.config].into_iter().find_map(|level| level.get("retry_policy"));
    if let Some(policy) = retry {
        retries(policy, &mut table, &mut making.report);
    }
    rewrites(action, &to, making);
    filters_of(route, outer, &mut table, making);
    making.report.translated(route.line, what, "");
    Some(table)
}

/// Clusters that are in the file, and their weights.
fn destinations(action: &Node, making: &mut Making) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    if let Some(cluster) = action.get("cluster") {
        found.push((cluster, 1));
    }
    let weighted = action.at("weighted_clusters");
    weighted.at("total_weight").settle();
    for entry in weighted.at("clusters").items() {
        let weight = entry.get("weight").and_then(Node::parse).unwrap_or(0);
        found.extend(entry.get("name").map(|name| (name, weight)));
    }
    if let Some(header) = action.get("cluster_header") {
        let instead = "write a route for each value of the header";
        making.report.not_supported(header.line, "cluster_header", instead);
    }
    let mut to = Vec::new();
    for (cluster, weight) in found {
        let name = cluster.text().unwrap_or_default();
        if let Some(own) = making.clusters.get(name) {
            to.push((own.clone(), weight));
        } else {
            let why = "no cluster of this name was translated: calls to it would fail";
            making.report.mistake(cluster.line, format!("cluster {name}"), why);
        }
    }
    if to.len() > 1 && to.iter().all(|(_, weight)| *weight == 0) {
        making.report.mistake(weighted.line, "weighted_clusters", "all weights are 0: all are alike here");
    }
    to
}

fn hash(action: &Node, to: &[(String, u32)], making: &mut Making) {
    let mut is_first = true;
    for policy in action.at("hash_policy").items() {
        let header = policy.at("header").at("header_name").text().map(str::to_ascii_lowercase);
        policy.settle();
        match header.filter(|name| crate::import::names::is_header(name) && !name.ends_with("-bin")) {
            Some(header) if is_first => {
                making.report.translated(
                    policy.line,
                    format!("hash_policy {header}"),
                    "hash_header of the cluster",
                );
                making.hashed.extend(to.iter().map(|(cluster, _)| (header.clone(), cluster.clone())));
                is_first = false;
            }
            _ => {
                let instead = "a cluster hashes one header, hash_header: left out";
                making.report.not_supported(policy.line, "hash_policy", instead);
            }
        }
    }
}

fn mirror(action: &Node, table: &mut Table, making: &mut Making) {
    let mut policies = action.at("request_mirror_policies").items().iter();
    let Some(policy) = policies.next() else { return };
    for other in policies {
        other.settle();
        making.report.not_supported(other.line, "a second mirror", "a route has one: left out");
    }
    let cluster = policy.at("cluster").text().unwrap_or_default();
    let Some(cluster) = making.clusters.get(cluster).map(String::as_str) else {
        policy.settle();
        making.report.mistake(
            policy.line,
            format!("mirror to {cluster}"),
            "no cluster of this name was translated",
        );
        return;
    };
    let fraction = policy.at("runtime_fraction");
    let percent = fraction.get("default_value").and_then(percentage);
    fraction.settle();
    match percent {
        Some(percent) if percent < 100.0 => {
            table.set("mirror", Value::map([("cluster", cluster.into()), ("percent", percent.into())]));
        }
        _ => table.set("mirror", cluster),
    }
    making.report.translated(
        policy.line,
        format!("mirror to {cluster}"),
        "at most 100 copies are in flight for each worker",
    );
}

fn timeouts(route: &Node, action: &Node, table: &mut Table, report: &mut Report) {
    let time =
        |node: Option<&Node>| node.and_then(|node| duration(node.text()?)).map(|time| time.min(DURATION_MAX));
    let timeout = action.get("timeout");
    let cut = "Envoy counts it from the end of the request, for streams too, and cuts them; here `deadline` is for \
        unary methods, \
               which the `descriptors` of the file tell, and streams end by their caller's deadline or by stream_idle";
    match (timeout, time(timeout)) {
        (Some(node), Some(time)) if time.is_zero() => {
            report.translated(node.line, "timeout 0s", "no deadline of its own")
        }
        (Some(node), Some(time)) => {
            table.set("deadline", time);
            report.mistake(node.line, format!("timeout {}", node.text().unwrap_or_default()), cut);
            if time > DEADLINE_CAP {
                report.approximated(node.line, "timeout", "deadline_cap in [limits] is 5 minutes: raise it");
            }
        }
        (Some(node), None) => report.not_supported(node.line, "timeout", "this is no time: set `deadline`"),
        (None, _) => {
            table.set_noted("deadline", TIMEOUT_DEFAULT, "Envoy's default");
            report.mistake(route.line, "no timeout, so 15 s, Envoy's default", cut);
        }
    }
    if let Some(idle) = action.get("idle_timeout")
        && let Some(time) = time(Some(idle))
    {
        table.set("stream_idle", time);
        report.translated(idle.line, "idle_timeout", "silence of both sides");
    }
    let most = action.at("max_stream_duration");
    if let Some(node) = most.get("max_stream_duration") {
        let why = "it ends every stream at that age, however busy: left out; streams end by their caller's deadline";
        report.mistake(node.line, "max_stream_duration", why);
    }
    for name in ["grpc_timeout_header_max", "grpc_timeout_header_offset"] {
        if let Some(node) = most.get(name) {
            let note = "the caller's grpc-timeout always counts; the smaller of it and `deadline` is sent on";
            report.translated(node.line, name, note);
        }
    }
    for name in ["max_grpc_timeout", "grpc_timeout_offset"] {
        if let Some(node) = action.get(name) {
            report.translated(node.line, name, "the caller's grpc-timeout always counts");
        }
    }
}

fn retries(policy: &Node, table: &mut Table, report: &mut Report) {
    let time = |node: Option<&Node>| node.and_then(|node| duration(node.text()?));
    let mut retry = Retry {
        again: policy.get("num_retries").and_then(Node::parse).unwrap_or(1),
        per_try: time(policy.get("per_try_timeout")),
        ..Retry::default()
    };
    let backoff = policy.at("retry_back_off");
    (retry.initial_backoff, retry.max_backoff) =
        (time(backoff.get("base_interval")), time(backoff.get("max_interval")));
    let on = policy.at("retry_on");
    for word in on.text().unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty()) {
        retry_on(word, on.line, &mut retry, report);
    }
    for name in ["retriable_status_codes", "retriable_headers", "retriable_request_headers"] {
        if let Some(node) = policy.get(name) {
            node.settle();
            report.mistake(
                node.line,
                name,
                "it has no meaning for gRPC, whose failures are not HTTP statuses: left out",
            );
        }
    }
    if let Some(node) = policy.get("rate_limited_retry_back_off") {
        node.settle();
        report.translated(
            node.line,
            "rate_limited_retry_back_off",
            "grpc-retry-pushback-ms is followed (gRFC A6)",
        );
    }
    for name in ["host_selection_retry_max_attempts", "retry_host_predicate"] {
        policy.at(name).settle();
    }
    retry.write(table, policy.line, "retry_policy", report);
}

/// A word of `retry_on`; Istio has the same.
pub(in crate::import) fn retry_on(word: &str, line: usize, retry: &mut Retry, report: &mut Report) {
    let what = format!("retry_on {word}");
    match word {
        "cancelled" | "deadline-exceeded" | "internal" | "resource-exhausted" | "unavailable" => {
            retry.codes.extend(code(word))
        }
        "connect-failure" | "refused-stream" | "reset-before-request" => {
            report.translated(line, what, "what never reached a backend is always sent again");
        }
        "reset" | "http3-post-connect-failure" => {
            retry.codes.extend(code("unavailable"));
            report.approximated(
                line,
                what,
                "a reset after the request was sent counts when its code means UNAVAILABLE",
            );
        }
        _ => {
            let why = "it has no meaning for gRPC, whose failures travel with HTTP 200: it never retried one; left out";
            report.mistake(line, what, why);
        }
    }
}

fn rewrites(action: &Node, to: &[(String, u32)], making: &mut Making) {
    if let Some(host) = action.get("host_rewrite_literal").or_else(|| action.get("host_rewrite")) {
        let text = host.text().unwrap_or_default();
        if text.parse::<http::uri::Authority>().is_ok() {
            for (cluster, _) in to {
                if let Some(table) = making.file.cluster(cluster) {
                    table.set("authority", text);
                }
            }
            let how = "`authority` of the cluster, so of all routes to it";
            making.report.approximated(host.line, "host_rewrite_literal", how);
        } else {
            making.report.not_supported(host.line, "host_rewrite_literal", "set `authority` of the cluster");
        }
    }
    for name in ["auto_host_rewrite", "host_rewrite_header", "append_x_forwarded_host"] {
        if let Some(node) = action.get(name).filter(|node| node.text() != Some("false")) {
            making.report.not_supported(
                node.line,
                name,
                "backends see the caller's authority, or `authority` of the cluster",
            );
        }
    }
    for name in ["prefix_rewrite", "regex_rewrite", "path_rewrite_policy"] {
        if let Some(node) = action.get(name) {
            node.settle();
            making.report.not_supported(
                node.line,
                name,
                "the path of a gRPC request is its method: it is not rewritten",
            );
        }
    }
}

/// Faults and rates, of the route or of the listener.
fn filters_of(route: &Node, outer: &Outer<'_>, table: &mut Table, making: &mut Making) {
    let (mut fault, mut rate) = (making.fault.clone(), making.rate.clone());
    for level in [outer.config, outer.host, route] {
        for (key, line, config) in level.at("typed_per_filter_config").fields() {
            match type_of(config) {
                "HTTPFault" => fault = filters::fault(config, making).or(fault),
                "LocalRateLimit" => rate = filters::rate(config, making).or(rate),
                _ => {
                    config.settle();
                    making.report.not_supported(line, key, "there is no such filter here");
                }
            }
        }
    }
    if let Some(rate) = rate {
        table.set("rate", rate);
    }
    if let Some(fault) = fault {
        table.set("fault", fault);
    }
}

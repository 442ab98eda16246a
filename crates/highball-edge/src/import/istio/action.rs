//! What an http route does beside choosing a destination.

use std::time::Duration;

use highball_core::Code;

use super::Making;
use crate::import::envoy::retry_on;
use crate::import::names::{is_header_value, is_rewritable};
use crate::import::report::Report;
use crate::import::toml::{Table, Value};
use crate::import::values::{DURATION_MAX, Retry, code, code_of_http, duration};
use crate::import::yaml::Node;

/// Of the server, beyond which a deadline is cut.
const DEADLINE_CAP: Duration = Duration::from_secs(300);

/// What Istio retries after, where nothing is said.
const RETRY_ON_DEFAULT: &str = "connect-failure,refused-stream,unavailable,cancelled";

/// Sets the rest of a route.
pub(super) fn action(http: &Node, to: &[(String, u32)], route: &mut Table, making: &mut Making<'_>) {
    timeout(http, route, &mut making.report);
    if let Some(retries) = http.get("retries") {
        self::retries(retries, route, &mut making.report);
    }
    if let Some(fault) = http.get("fault") {
        self::fault(fault, route, &mut making.report);
    }
    if let Some(node) = http.get("headers") {
        for side in ["request", "response"] {
            headers(node.at(side), side, route, &mut making.report);
        }
    }
    rewrite(http, to, making);
}

fn timeout(http: &Node, route: &mut Table, report: &mut Report) {
    let Some(node) = http.get("timeout") else { return };
    match node.text().and_then(duration) {
        Some(time) if time.is_zero() => report.translated(node.line, "timeout 0s", "no deadline of its own"),
        Some(time) => {
            route.set("deadline", time.min(DURATION_MAX));
            let why = "it cuts streams too, counted from the end of the request; here `deadline` is for unary methods, which the \
                       `descriptors` of the file tell, and streams end by their caller's deadline or by stream_idle";
            report.mistake(node.line, format!("timeout {}", node.text().unwrap_or_default()), why);
            if time > DEADLINE_CAP {
                report.approximated(node.line, "timeout", "deadline_cap in [limits] is 5 minutes: raise it");
            }
        }
        None => report.not_supported(node.line, "timeout", "this is no time: set `deadline`"),
    }
}

fn retries(node: &Node, route: &mut Table, report: &mut Report) {
    let mut retry = Retry {
        again: node.get("attempts").and_then(Node::parse).unwrap_or(2),
        per_try: node.get("perTryTimeout").and_then(|time| duration(time.text()?)),
        initial_backoff: node.get("backoff").and_then(|time| duration(time.text()?)),
        ..Retry::default()
    };
    let on = node.get("retryOn");
    let words = on.and_then(Node::text).unwrap_or(RETRY_ON_DEFAULT);
    let words = if retry.again == 0 { "" } else { words };
    for word in words.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        retry_on(word, on.map_or(node.line, |on| on.line), &mut retry, report);
    }
    retry.write(route, node.line, "retries", report);
}

fn fault(node: &Node, route: &mut Table, report: &mut Report) {
    let mut fault = Value::Map(Vec::new());
    if let Some(delay) = node.get("delay") {
        let time =
            delay.get("fixedDelay").and_then(|time| duration(time.text()?)).filter(|time| !time.is_zero());
        match time {
            Some(time) => {
                fault.push("delay", time.min(DURATION_MAX));
                percent(&mut fault, "delay_percent", delay);
                report.translated(delay.line, "fault delay", "");
            }
            None => report.not_supported(delay.line, "fault delay", "only fixed delays"),
        }
    }
    if let Some(abort) = node.get("abort") {
        let grpc = abort.get("grpcStatus").and_then(|status| code(status.text()?));
        let http = abort.get("httpStatus").and_then(Node::parse).and_then(code_of_http);
        match grpc.or(http).filter(|code| *code != Code::Ok) {
            Some(code) => {
                fault.push("abort", code.name());
                percent(&mut fault, "abort_percent", abort);
                if grpc.is_some() {
                    report.translated(abort.line, "fault abort", "");
                } else {
                    let how = format!("{}, which is what gRPC callers make of that HTTP status", code.name());
                    report.approximated(abort.line, "fault abort", how);
                }
            }
            None => report.not_supported(abort.line, "fault abort", "it names no status that is a failure"),
        }
    }
    if fault != Value::Map(Vec::new()) {
        route.set("fault", fault);
    }
}

/// A percentage that is not 100.
fn percent(fault: &mut Value, key: &str, node: &Node) {
    let percent =
        node.at("percentage").get("value").or_else(|| node.get("percent")).and_then(Node::parse::<f64>);
    if let Some(percent) = percent.filter(|percent| (0.0..100.0).contains(percent)) {
        fault.push(key, percent);
    }
}

fn headers(node: &Node, side: &str, route: &mut Table, report: &mut Report) {
    let mut rewrite = Vec::new();
    let mut remove: Vec<Value> = Vec::new();
    for name in node.at("remove").items() {
        let text = name.text().unwrap_or_default().to_ascii_lowercase();
        if !is_rewritable(&text) {
            report.not_supported(
                name.line,
                format!("remove {side} header {text}"),
                "this header belongs to the protocol",
            );
        } else if !remove.contains(&Value::from(text.as_str())) {
            report.translated(name.line, format!("remove {side} header {text}"), "");
            remove.push(text.into());
        }
    }
    if !remove.is_empty() {
        rewrite.push(("remove".to_owned(), Value::List(remove)));
    }
    for verb in ["set", "add"] {
        let mut pairs: Vec<(String, Value)> = Vec::new();
        for (name, line, value) in node.at(verb).fields() {
            let (name, value) = (name.to_ascii_lowercase(), value.text().unwrap_or_default());
            let what = format!("{verb} {side} header {name}: {value}");
            if value.contains('%') {
                report.not_supported(line, what, "headers are set to texts only, not to variables: left out");
            } else if !is_rewritable(&name)
                || !is_header_value(&name, value)
                || pairs.iter().any(|(known, _)| *known == name)
            {
                report.not_supported(line, what, "this header cannot be set: left out");
            } else {
                report.translated(line, what, "");
                pairs.push((name, value.into()));
            }
        }
        if !pairs.is_empty() {
            rewrite.push((verb.to_owned(), Value::Map(pairs)));
        }
    }
    if !rewrite.is_empty() {
        route.set(&format!("{side}_headers"), Value::Map(rewrite));
    }
}

fn rewrite(http: &Node, to: &[(String, u32)], making: &mut Making<'_>) {
    let Some(rewrite) = http.get("rewrite") else { return };
    if let Some(authority) = rewrite.get("authority") {
        let text = authority.text().unwrap_or_default();
        if text.parse::<http::uri::Authority>().is_ok() {
            for (cluster, _) in to {
                if let Some(table) = making.file.cluster(cluster) {
                    table.set("authority", text);
                }
            }
            let how = "`authority` of the cluster, so of all routes to it";
            making.report.approximated(authority.line, "rewrite authority", how);
        } else {
            making.report.not_supported(
                authority.line,
                "rewrite authority",
                "set `authority` of the cluster",
            );
        }
    }
    for name in ["uri", "uriRegexRewrite"] {
        if let Some(node) = rewrite.get(name) {
            node.settle();
            let instead = "the path of a gRPC request is its method: it is not rewritten";
            making.report.not_supported(node.line, format!("rewrite {name}"), instead);
        }
    }
}

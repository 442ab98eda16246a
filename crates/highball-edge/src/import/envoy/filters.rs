//! `http_filters`.

use std::time::Duration;

use highball_core::Code;

use super::{Making, percentage, type_of};
use crate::import::toml::Value;
use crate::import::values::{DURATION_MAX, code_of_http, duration};
use crate::import::yaml::Node;

/// Takes what a connection manager's filters say of its routes.
pub(super) fn filters(filters: &[Node], making: &mut Making) {
    (making.fault, making.rate) = (None, None);
    for filter in filters {
        let config = filter.at("typed_config");
        let kind = type_of(config).to_owned();
        let name = filter.at("name").text().unwrap_or_default();
        let name = name.rsplit('.').next().unwrap_or(name).to_owned();
        match if kind.is_empty() { name.as_str() } else { kind.as_str() } {
            "HTTPFault" | "fault" => making.fault = fault(config, making),
            "LocalRateLimit" | "local_ratelimit" => making.rate = rate(config, making),
            _ => {
                filter.settle();
                let (needless, what) = known(&name);
                if needless {
                    making.report.translated(
                        filter.line,
                        format!("filter {name}"),
                        format!("not needed: {what}"),
                    );
                } else {
                    making.report.not_supported(filter.line, format!("filter {name}"), what);
                }
            }
        }
    }
}

/// Whether a filter is needless, and why or what to do instead.
fn known(name: &str) -> (bool, &'static str) {
    match name {
        "router" => (true, "routing is what an edge does"),
        "grpc_stats" => (true, "every method has metrics"),
        "health_check" => {
            (true, "/livez and /readyz are on the admin port, and grpc.health.v1 on every listener")
        }
        "grpc_web" => (false, "gRPC-Web is not translated by the edge yet: keep a proxy that does in front"),
        "grpc_json_transcoder"
        | "grpc_http1_bridge"
        | "grpc_http1_reverse_bridge"
        | "connect_grpc_bridge" => {
            (false, "the edge carries gRPC only, yet: keep a proxy that translates in front")
        }
        "jwt_authn" | "ext_authz" | "rbac" | "oauth2" | "basic_auth" => (
            false,
            "callers are checked by the service, with `highball-auth`; the edge passes their credentials on",
        ),
        "ratelimit" => (false, "rates are counted here, without a service: set `rate` of a route"),
        "cors" => (false, "browsers need gRPC-Web, which is not translated here yet"),
        "compressor" | "decompressor" | "gzip" => {
            (true, "gRPC compresses its messages itself, and they pass as they are")
        }
        "buffer" | "file_system_buffer" => (false, "nothing is buffered: it would hold streams up"),
        "adaptive_concurrency" | "admission_control" => {
            (false, "see calls_per_endpoint_max of a cluster and concurrent_rpcs_max in [limits]")
        }
        "lua" | "wasm" | "ext_proc" | "golang" => (false, "there are no scripts and no plug-ins here"),
        _ => (false, "there is no such filter here"),
    }
}

/// `fault` of routes.
pub(super) fn fault(config: &Node, making: &mut Making) -> Option<Value> {
    config.at("@type").settle();
    let mut fault = Value::Map(Vec::new());
    let report = &mut making.report;
    if let Some(delay) = config.get("delay") {
        let time = delay
            .get("fixed_delay")
            .and_then(|time| duration(time.text()?))
            .filter(|time| *time > Duration::ZERO);
        if let Some(time) = time {
            fault.push("delay", time.min(DURATION_MAX));
            push_percent(&mut fault, "delay_percent", delay);
            report.translated(delay.line, "fault delay", "");
        } else {
            report.not_supported(
                delay.line,
                "fault delay",
                "only fixed delays: callers cannot ask for faults here",
            );
        }
        delay.settle();
    }
    if let Some(abort) = config.get("abort") {
        let grpc =
            abort.get("grpc_status").and_then(Node::parse::<usize>).and_then(|n| Code::ALL.get(n).copied());
        let http = abort.get("http_status").and_then(Node::parse).and_then(code_of_http);
        match grpc.or(http).filter(|code| *code != Code::Ok) {
            Some(code) => {
                fault.push("abort", code.name());
                push_percent(&mut fault, "abort_percent", abort);
                if grpc.is_some() {
                    report.translated(abort.line, "fault abort", "");
                } else {
                    let how = format!("{}, which is what gRPC callers make of that HTTP status", code.name());
                    report.approximated(abort.line, "fault abort", how);
                }
            }
            None => report.not_supported(
                abort.line,
                "fault abort",
                "only fixed codes: callers cannot ask for faults here",
            ),
        }
        abort.settle();
    }
    (fault != Value::Map(Vec::new())).then_some(fault)
}

/// A percentage that is not 100. Envoy's, when it is not said, is 0.
fn push_percent(fault: &mut Value, key: &str, node: &Node) {
    let percent = node.get("percentage").and_then(percentage).unwrap_or(0.0);
    if (percent - 100.0).abs() > f64::EPSILON {
        fault.push(key, percent);
    }
}

/// `rate` of routes.
pub(super) fn rate(config: &Node, making: &mut Making) -> Option<Value> {
    let bucket = config.get("token_bucket");
    let rate = bucket.and_then(|bucket| {
        let number = |name: &str| bucket.get(name).and_then(Node::parse::<u32>);
        let (most, fill) = (number("max_tokens")?, number("tokens_per_fill").unwrap_or(1));
        let interval = duration(bucket.get("fill_interval")?.text()?)?.as_secs_f64();
        let per_second = f64::from(fill) / interval;
        (per_second.is_finite() && per_second > 0.0 && most > 0)
            .then(|| Value::map([("per_second", per_second.into()), ("burst", Value::Whole(most.into()))]))
    });
    config.settle();
    let line = config.line;
    match rate {
        Some(rate) => {
            let how = "for each caller on its own; Envoy's bucket is for all callers together: concurrent_rpcs_max in [limits] \
                       bounds them all";
            making.report.approximated(line, "local_ratelimit", how);
            Some(rate)
        }
        None => {
            making.report.not_supported(
                line,
                "local_ratelimit",
                "it has no token_bucket: set `rate` of a route",
            );
            None
        }
    }
}

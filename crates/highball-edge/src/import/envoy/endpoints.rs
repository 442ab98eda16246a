//! `load_assignment`: which backends.

use super::Making;
use crate::import::names::{host_port, is_literal};
use crate::import::yaml::Node;

/// The target of a cluster.
pub(super) fn target(cluster: &Node, kind: &str, making: &mut Making) -> Option<String> {
    let assignment = cluster.at("load_assignment");
    let (mut hosts, mut sockets, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    for locality in assignment.at("endpoints").items() {
        locality_note(locality, making);
        if locality.get("priority").and_then(Node::parse::<u32>).unwrap_or(0) > 0 {
            locality.settle();
            let instead = "left out: list all endpoints in a file, target = \"file:///PATH\", with priority=1 for these";
            making.report.not_supported(locality.line, "endpoints with a priority", instead);
            continue;
        }
        for item in locality.at("lb_endpoints").items() {
            let address = item.at("endpoint").at("address");
            item.at("endpoint").at("hostname").settle();
            if matches!(item.at("health_status").text(), Some("UNHEALTHY" | "DRAINING" | "TIMEOUT")) {
                making.report.translated(item.line, "an endpoint that is not healthy", "left out");
                item.settle();
                continue;
            }
            weights.push(item.get("load_balancing_weight").and_then(Node::parse::<u32>).unwrap_or(1));
            let socket = address.at("socket_address");
            let port = socket.at("port_value").text().unwrap_or_default();
            socket.at("protocol").settle();
            match (address.at("pipe").at("path").text(), socket.at("address").text()) {
                (Some(path), _) => sockets.push(path.to_owned()),
                (None, Some(host)) => match host_port(&bracketed(host, port), 0) {
                    Some(host) => hosts.push(host),
                    None => making.report.not_supported(
                        item.line,
                        format!("{host}:{port}"),
                        "this is no address: left out",
                    ),
                },
                (None, None) => {
                    making.report.not_supported(item.line, "an endpoint without address", "left out")
                }
            }
        }
    }
    let first = weights.first().copied().unwrap_or(1);
    if weights.iter().any(|weight| *weight != first) {
        let instead = "a static target has no weights: list the endpoints in a file, target = \"file:///PATH\", with lines such \
                       as 10.0.0.1:50051 weight=2";
        making.report.not_supported(assignment.line, "load_balancing_weight", instead);
    }
    choose(&hosts, &sockets, kind, assignment.line, making)
}

fn locality_note(locality: &Node, making: &mut Making) {
    let named = locality.get("locality").is_some();
    let weight = locality.get("load_balancing_weight").is_some();
    locality.at("locality").settle();
    if named || weight {
        let instead = "all endpoints are one group here: list them in a file, target = \"file:///PATH\", with locality=NAME";
        making.report.not_supported(locality.line, "localities", instead);
    }
}

fn choose(
    hosts: &[String],
    sockets: &[String],
    kind: &str,
    line: usize,
    making: &mut Making,
) -> Option<String> {
    match (hosts, sockets) {
        ([], [path]) => Some(format!("unix:{path}")),
        ([host], []) if !is_literal(host) => {
            if kind == "STATIC" {
                making.report.mistake(
                    line,
                    "type STATIC",
                    "a STATIC cluster takes addresses, and this is a name",
                );
            }
            Some(format!("dns:///{host}"))
        }
        ([_, ..], []) => Some(format!("static:///{}", hosts.join(","))),
        ([], []) => None,
        _ => {
            let instead = "several Unix sockets are listed in a file: target = \"file:///PATH\" with a line unix:PATH for each";
            making.report.not_supported(line, "load_assignment", instead);
            (!hosts.is_empty())
                .then(|| format!("static:///{}", hosts.join(",")))
                .or_else(|| Some(format!("unix:{}", sockets.first()?)))
        }
    }
}

fn bracketed(host: &str, port: &str) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

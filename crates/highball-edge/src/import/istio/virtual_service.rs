//! `VirtualService`, which is our routes.

use super::manifest::{Host, Manifest};
use super::{Making, action, cluster, matches};
use crate::import::names::{Site, send_to};
use crate::import::toml::{Table, Value};
use crate::import::yaml::Node;

/// Translates the http routes of a service.
pub(super) fn virtual_service<'a>(manifest: &Manifest<'a>, sites: &mut Vec<Site>, making: &mut Making<'a>) {
    let spec = manifest.spec;
    let what = format!("VirtualService {}", manifest.name);
    gateways(spec, making);
    let Some(hosts) = hosts(manifest, &what, making) else {
        spec.settle();
        return;
    };
    let mut site = Site { line: manifest.node.line, hosts, ..Site::default() };
    let mut is_first = true;
    for http in spec.at("http").items() {
        if site.complete {
            let why = "an earlier route without conditions takes everything: it is never used, and left out";
            making.report.mistake(http.line, format!("route of {what}"), why);
            http.settle();
            continue;
        }
        for route in routes(http, manifest, making) {
            let conditions = ["path", "prefix", "service", "method", "headers", "host"];
            site.complete |= conditions.iter().all(|key| !route.has(key));
            if let Some(Value::Text(host)) = route.get("host")
                && !is_among(host, &site.hosts)
            {
                let why =
                    format!("its authority {host} is none of the hosts: it is never used, and left out");
                making.report.mistake(http.line, format!("route of {what}"), why);
                continue;
            }
            site.routes.push(route);
        }
        is_first = false;
    }
    if is_first {
        making.report.not_supported(manifest.node.line, &what, "it has no http routes");
    }
    making.report.translated(manifest.node.line, what, "");
    sites.push(site);
}

/// Whether a host is one of these, or below one; an empty list is for any.
fn is_among(host: &str, hosts: &[String]) -> bool {
    let covers =
        |known: &String| known == host || known.strip_prefix('*').is_some_and(|end| host.ends_with(end));
    hosts.is_empty() || hosts.iter().any(covers)
}

fn gateways(spec: &Node, making: &mut Making<'_>) {
    let gateways = spec.at("gateways");
    gateways.settle();
    let count = gateways.items().len();
    if count > 1 {
        let how = "routes are for all listeners of the edge";
        making.report.approximated(gateways.line, "gateways", how);
    }
}

/// Hosts, in all their spellings; an empty list for any, `None` when none can be said.
fn hosts(manifest: &Manifest<'_>, what: &str, making: &mut Making<'_>) -> Option<Vec<String>> {
    let mut hosts: Vec<String> = Vec::new();
    let listed = manifest.spec.at("hosts");
    let mut is_open = listed.items().is_empty();
    for node in listed.items() {
        let text = node.text().unwrap_or_default();
        if text == "*" {
            is_open = true;
            continue;
        }
        let Some(host) = Host::read(text, manifest.namespace) else {
            making.report.not_supported(
                node.line,
                format!("host {text}"),
                "a host is a name, or *. and a name",
            );
            continue;
        };
        making.routed.push(host.full());
        for spelling in host.spellings() {
            if !hosts.contains(&spelling) {
                hosts.push(spelling);
            }
        }
        if matches!(host, Host::Kubernetes { .. }) {
            let how = "callers of the edge must use one of these names as the authority, or add the one they use to `hosts`";
            making.report.approximated(node.line, format!("host {text}"), how);
        }
    }
    if is_open {
        return Some(Vec::new());
    }
    if hosts.is_empty() {
        making.report.not_supported(manifest.node.line, what, "left out: none of its hosts can be said");
        return None;
    }
    Some(hosts)
}

/// The routes of an entry of `http`: one for each of its matches.
fn routes(http: &Node, manifest: &Manifest<'_>, making: &mut Making<'_>) -> Vec<Table> {
    let name = http.at("name").text().unwrap_or_default();
    let what = format!("route {name} of VirtualService {}", manifest.name).replace("  ", " ");
    for name in ["redirect", "directResponse", "delegate"] {
        if let Some(found) = http.get(name) {
            http.settle();
            let instead =
                "left out: gRPC has no redirects and no pages, and routes of others are not followed";
            making.report.not_supported(found.line, format!("{what}: {name}"), instead);
            return Vec::new();
        }
    }
    let mut settings = Table::default();
    let to = destinations(http, manifest, making);
    if to.is_empty() {
        http.settle();
        making.report.not_supported(http.line, what, "left out: it goes nowhere that is known here");
        return Vec::new();
    }
    send_to(&mut settings, &to);
    mirror(http, manifest, &mut settings, making);
    action::action(http, &to, &mut settings, making);
    let mut routes = Vec::new();
    let matches = http.at("match").items();
    let comment = |line: usize| Table::noted(format!("istio: {what}, line {line}"));
    if matches.is_empty() {
        let mut route = comment(http.line);
        route.extend(&settings);
        routes.push(route);
    }
    for node in matches {
        let mut route = comment(node.line);
        match matches::conditions(node, &mut route) {
            Ok(()) => {
                route.extend(&settings);
                routes.push(route);
            }
            Err(matches::Problem::Never(why)) => {
                node.settle();
                making.report.mistake(node.line, format!("match of {what}"), format!("{why}: left out"));
            }
            Err(matches::Problem::Unknown(why)) => {
                node.settle();
                making.report.not_supported(
                    node.line,
                    format!("match of {what}"),
                    format!("its route is left out, so that its calls take the routes after it: {why}"),
                );
            }
        }
    }
    making.report.translated(http.line, what, "");
    routes
}

/// Clusters and their weights.
fn destinations(http: &Node, manifest: &Manifest<'_>, making: &mut Making<'_>) -> Vec<(String, u32)> {
    let list = http.at("route").items();
    let weights: Vec<Option<u32>> =
        list.iter().map(|entry| entry.get("weight").and_then(Node::parse)).collect();
    let sum: u64 = weights.iter().map(|weight| u64::from(weight.unwrap_or(0))).sum();
    let said = weights.iter().any(Option::is_some);
    if list.len() > 1 && sum != 100 || list.len() == 1 && said && sum != 100 {
        let why = if said {
            format!("the weights sum to {sum}, not to 100: they are shares of {sum} here")
        } else {
            "several destinations without weights: all are alike here".to_owned()
        };
        making.report.mistake(http.at("route").line, "weights", why);
    }
    let mut to = Vec::new();
    for (entry, weight) in list.iter().zip(weights) {
        if let Some(headers) = entry.get("headers") {
            headers.settle();
            let instead = "headers are changed by a route, not by a destination: write a route for it";
            making.report.not_supported(headers.line, "headers of a destination", instead);
        }
        if weight == Some(0) && list.len() > 1 && sum > 0 {
            entry.settle();
            making.report.translated(entry.line, "a destination of weight 0", "left out");
            continue;
        }
        if let Some(name) = destination(entry.at("destination"), manifest, making) {
            to.push((name, weight.unwrap_or(u32::from(!said))));
        }
    }
    to
}

/// The cluster of a destination.
fn destination(node: &Node, manifest: &Manifest<'_>, making: &mut Making<'_>) -> Option<String> {
    let text = node.at("host").text().unwrap_or_default();
    let port = node.at("port").get("number").and_then(Node::parse::<u16>).filter(|port| *port > 0);
    let subset = node.at("subset").text().unwrap_or_default();
    let Some(host) = Host::read(text, manifest.namespace).filter(|_| !text.starts_with('*')) else {
        making.report.not_supported(
            node.line,
            format!("destination {text}"),
            "left out: its host is no name",
        );
        return None;
    };
    cluster::cluster(&host, subset, port, node.line, making)
}

fn mirror(http: &Node, manifest: &Manifest<'_>, settings: &mut Table, making: &mut Making<'_>) {
    let list = http.at("mirrors").items();
    if let Some(second) = list.get(1) {
        list.iter().skip(1).for_each(Node::settle);
        making.report.not_supported(second.line, "a second mirror", "a route has one: left out");
    }
    let first = list.first();
    let Some(node) = http.get("mirror").or_else(|| first?.get("destination")) else { return };
    let percent = first
        .and_then(|first| first.at("percentage").get("value"))
        .or_else(|| http.at("mirrorPercentage").get("value"))
        .or_else(|| http.get("mirrorPercent"))
        .and_then(Node::parse::<f64>)
        .filter(|percent| (0.0..100.0).contains(percent));
    let Some(cluster) = destination(node, manifest, making) else { return };
    match percent {
        Some(percent) => {
            settings.set("mirror", Value::map([("cluster", cluster.into()), ("percent", percent.into())]))
        }
        None => settings.set("mirror", cluster),
    }
    making.report.translated(node.line, "mirror", "at most 100 copies are in flight for each worker");
}

//! Static Envoy configurations, v3.

mod cluster;
mod endpoints;
mod filters;
mod headers;
mod known;
mod listener;
mod matches;
mod route;
mod tls;
mod virtual_host;

use std::collections::HashMap;

pub(super) use self::route::retry_on;
use super::report::Report;
use super::toml::File;
use super::yaml::{Node, tail};
use super::{ImportError, Imported, names};

/// What is being made, and what is said of it.
#[derive(Debug, Default)]
struct Making {
    file: File,
    report: Report,
    /// What clusters of the source are called here.
    clusters: HashMap<String, String>,
    /// The headers that routes hash by, and by which cluster.
    hashed: Vec<(String, String)>,
    /// Faults of the listener's filter, for routes without their own.
    fault: Option<super::toml::Value>,
    rate: Option<super::toml::Value>,
}

/// Translates a text.
pub(super) fn translate(text: &str) -> Result<Imported, ImportError> {
    let documents = Node::read(text)?;
    let mut making = Making::default();
    making.file.top.comment("Translated from Envoy. Read the report before using it.");
    for document in &documents {
        bootstrap(document, &mut making);
    }
    let Making { file, mut report, .. } = making;
    if file.routes.is_empty() {
        report.not_supported(
            1,
            "the text",
            "no route of an HTTP connection manager was translated, so the file has no routes",
        );
    }
    for document in &documents {
        document.leftovers("", &mut |line, path| match known::advice(path) {
            (true, why) => report.translated(line, tail(path), format!("not needed: {why}")),
            (false, instead) => report.not_supported(line, tail(path), instead),
        });
    }
    Ok(Imported::new(file, report))
}

fn bootstrap(document: &Node, making: &mut Making) {
    let resources = document.get("static_resources").unwrap_or(document);
    if let Some(address) = document.at("admin").at("address").get("socket_address") {
        if let Some(address) = listener::socket_address(address) {
            making.file.top.set("admin", address.as_str());
            let how = "/livez, /readyz, /metrics and /edge are there, and nothing else";
            making.report.approximated(document.at("admin").line, "admin", how);
        }
        document.at("admin").settle();
    }
    for item in resources.at("clusters").items() {
        cluster::cluster(item, making);
    }
    let mut sites = Vec::new();
    for item in resources.at("listeners").items() {
        listener::listener(item, &mut sites, making);
    }
    cluster::hash_headers(resources.at("clusters").items(), making);
    names::place(sites, &mut making.file, &mut making.report);
}

/// The type of a `typed_config`, the last part of its URL.
fn type_of(config: &Node) -> &str {
    config.at("@type").text().and_then(|url| url.rsplit(['.', '/']).next()).unwrap_or_default()
}

/// A percentage: `numerator` of `denominator`, or `value`.
fn percentage(node: &Node) -> Option<f64> {
    if let Some(value) = node.get("value") {
        return value.parse::<f64>().filter(|percent| (0.0..=100.0).contains(percent));
    }
    let numerator: f64 = node.get("numerator")?.parse()?;
    let factor = match node.get("denominator").and_then(Node::text).unwrap_or("HUNDRED") {
        "TEN_THOUSAND" => 1e2,
        "MILLION" => 1e4,
        _ => 1.0,
    };
    Some(numerator / factor).filter(|percent| (0.0..=100.0).contains(percent))
}

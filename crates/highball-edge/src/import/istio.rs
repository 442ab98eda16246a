//! Istio manifests: `VirtualService` and `DestinationRule`, with the `Service` and `Gateway` they name.

mod action;
mod cluster;
mod gateway;
mod manifest;
mod matches;
mod policy;
mod virtual_service;

use std::collections::HashMap;

use self::manifest::{Host, Rule, Service};
use super::report::Report;
use super::toml::{File, Table};
use super::yaml::{Node, tail};
use super::{ImportError, Imported, names};

/// What is being made, what is known, and what is said of it.
#[derive(Debug, Default)]
struct Making<'a> {
    file: File,
    report: Report,
    services: Vec<Service<'a>>,
    rules: Vec<Rule<'a>>,
    /// Clusters by host, subset and port.
    clusters: HashMap<(String, String, u16), String>,
    /// Hosts that routes are for.
    routed: Vec<String>,
}

/// Translates a text.
pub(super) fn translate(text: &str) -> Result<Imported, ImportError> {
    let documents = Node::read(text)?;
    let manifests = manifest::all(&documents);
    let mut making = Making::default();
    making.file.top.comment("Translated from Istio. Read the report before using it.");
    for manifest in &manifests {
        manifest.settle();
        match manifest.kind {
            "Service" => making.services.push(Service::of(manifest)),
            "DestinationRule" => making.rules.push(Rule::of(manifest)),
            "Gateway" => gateway::gateway(manifest, &mut making),
            "VirtualService" => {}
            kind => {
                manifest.spec.settle();
                manifest.node.settle();
                let (needless, what) = other_kind(kind);
                if needless {
                    making.report.translated(manifest.node.line, kind, format!("not needed: {what}"));
                } else {
                    making.report.not_supported(
                        manifest.node.line,
                        format!("{kind} {}", manifest.name),
                        what,
                    );
                }
            }
        }
    }
    let mut sites = Vec::new();
    for manifest in manifests.iter().filter(|manifest| manifest.kind == "VirtualService") {
        virtual_service::virtual_service(manifest, &mut sites, &mut making);
    }
    unrouted(&mut sites, &mut making);
    names::place(sites, &mut making.file, &mut making.report);
    listener(&mut making);
    let Making { file, mut report, .. } = making;
    if file.routes.is_empty() {
        report.not_supported(
            1,
            "the text",
            "no VirtualService and no DestinationRule was translated, so the file has no routes",
        );
    }
    for document in &documents {
        document.leftovers("", &mut |line, path| {
            report.not_supported(line, tail(path), advice(path));
        });
    }
    Ok(Imported::new(file, report))
}

/// Rules for hosts that no `VirtualService` is for: calls to the host go there.
fn unrouted(sites: &mut Vec<names::Site>, making: &mut Making<'_>) {
    for index in 0..making.rules.len() {
        let rule = making.rules[index].clone();
        rule.check(&mut making.report);
        let host = rule.host.full();
        for subset in &rule.subsets {
            if !making.clusters.keys().any(|(known, name, _)| *known == host && name == subset.name) {
                subset.policy.settle();
                making.report.translated(
                    subset.line,
                    format!("subset {}", subset.name),
                    "left out: no route goes there",
                );
            }
        }
        // A route to the host says how it is called; another one would go past its conditions.
        if making.routed.contains(&host) || making.clusters.keys().any(|(known, ..)| *known == host) {
            rule.policy.settle();
            continue;
        }
        let Some(cluster) = cluster::cluster(&rule.host, "", None, rule.line, making) else { continue };
        let mut route = Table::noted(format!("istio: DestinationRule {}, line {}", rule.name, rule.line));
        route.set("cluster", cluster);
        let hosts = rule.host.spellings();
        sites.push(names::Site { line: rule.line, hosts, routes: vec![route], complete: true });
    }
}

/// A listener, when no `Gateway` gave one.
fn listener(making: &mut Making<'_>) {
    if !making.file.listeners.is_empty() || making.file.routes.is_empty() {
        return;
    }
    let mut table = Table::noted("istio: no Gateway; choose an address, and TLS where others can reach it");
    table.set("address", "127.0.0.1:8080");
    making.file.listeners.push(table);
    let how = "no Gateway manifest says where to listen: 127.0.0.1:8080 in plaintext; callers must call the edge instead of the \
               Service";
    making.report.approximated(1, "listener", how);
}

/// Whether a manifest of another kind is needless, and why or what to do instead.
fn other_kind(kind: &str) -> (bool, &'static str) {
    match kind {
        "Deployment"
        | "StatefulSet"
        | "DaemonSet"
        | "Namespace"
        | "ConfigMap"
        | "Secret"
        | "ServiceAccount"
        | "HorizontalPodAutoscaler"
        | "PodDisruptionBudget"
        | "" => (true, "it stays as it is"),
        "Telemetry" | "ProxyConfig" => {
            (true, "every RPC has a log line, metrics and a trace without being asked for")
        }
        "PeerAuthentication" => {
            (false, "set client_ca in tls of the listener to ask callers for certificates")
        }
        "RequestAuthentication" | "AuthorizationPolicy" => (
            false,
            "callers are checked by the service, with `highball-auth`; the edge passes their credentials on",
        ),
        "ServiceEntry" => (false, "name the host in the target of a cluster"),
        "EnvoyFilter" | "WasmPlugin" => (false, "there are no plug-ins here"),
        "Sidecar" => (false, "an edge is one proxy with one file: there is nothing to scope"),
        _ => (false, "this kind is not read"),
    }
}

/// What to do instead of a field that nothing else looked at.
fn advice(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or(path) {
        "corsPolicy" => "browsers need gRPC-Web, which is not translated here yet",
        "localityLbSetting" => {
            "there are no localities here: list backends in a file:/// target with priorities"
        }
        "exportTo" | "workloadSelector" => "an edge is one proxy with one file: there is nothing to scope",
        "tcp" | "tls" => "only http routes are translated, which is what gRPC takes",
        "tunnel" | "proxyProtocol" => "backends are called directly",
        "retryRemoteLocalities" | "retryIgnorePreviousHosts" => {
            "another attempt goes to another backend where there is one"
        }
        "<<" => "merge keys are not read: write the fields out",
        _ => "nothing here corresponds to it",
    }
}

/// The name of a host here, for clusters.
fn short(host: &Host) -> &str {
    match host {
        Host::Kubernetes { name, .. } => name,
        Host::Other(name) => name,
    }
}

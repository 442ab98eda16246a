//! What an edge says when it starts, in the order of the questions.

use std::fmt::{Display, Write as _};
use std::process;

use highball_edge::BoundEdge;
use highball_edge::settings::read::Read;
use highball_edge::settings::{Cluster, Health, Listener, PathMatch, Route};

use super::file::Source;

/// Routes and clusters that are listed, each; the rest is counted.
const LISTED_MAX: usize = 12;

/// The limits somebody asks for first; the others have their defaults or stand in the file.
const LIMITS: [&str; 4] =
    ["message_size_bytes_max", "concurrent_rpcs_max", "connections_max", "deadline_default"];

pub(super) fn of(bound: &BoundEdge, source: &Source, read: &Read, is_successor: bool) -> String {
    let settings = &read.settings;
    let verb = if is_successor { "takes over" } else { "is up" };
    let mut text = format!("\nhighball edge {verb}, process {}\n\n", process::id());
    for (addr, listener) in bound.addrs().iter().zip(&settings.listeners) {
        line(&mut text, speaks(listener), addr);
    }
    if let Some(health) = bound.health_only_addr() {
        line(&mut text, "health checks only", &health);
    }
    match bound.admin_addr() {
        Some(admin) => {
            line(&mut text, "admin", &format_args!("http://{admin}/  (/livez /readyz /metrics /edge)"));
        }
        None => line(&mut text, "admin", &"nowhere; admin = \"127.0.0.1:9901\" in the file opens it"),
    }
    line(&mut text, "file", &format_args!("{}  (read again when it changes)", source.path().display()));
    line(&mut text, "worker threads", &bound.workers());

    text.push_str("\nroutes; the first that matches is taken\n");
    list(&mut text, &settings.routes, |route| (route.name.clone(), leads(route)));
    text.push_str("\nclusters\n");
    let clusters: Vec<_> = settings.clusters.iter().collect();
    list(&mut text, &clusters, |(name, cluster)| ((*name).clone(), reached(cluster)));

    text.push_str("\nlimits; the others stand in docs/operate/limits.md\n");
    for limit in bound.limits().limits() {
        if LIMITS.iter().any(|setting| limit.setting.starts_with(setting)) {
            line(&mut text, limit.what, &limit.value);
        }
    }
    let boxes = bound.open_boxes();
    if !boxes.is_empty() {
        text.push_str("\nopen boxes: fine on this machine, not on the internet\n");
        for open in boxes {
            writeln!(text, "  [ ] {:<12} {open}", open.name).ok();
        }
    }
    if !read.warnings.is_empty() {
        text.push_str("\nwarnings\n");
        for warning in &read.warnings {
            writeln!(text, "  {}", source.line(warning)).ok();
        }
    }
    text.push_str("\ntry\n");
    if let Some(admin) = bound.admin_addr() {
        writeln!(text, "  highball explain --edge {admin} {}", example(&settings.routes)).ok();
    }
    let id = process::id();
    writeln!(text, "  kill -HUP {id}   # reads the file again at once").ok();
    writeln!(text, "  kill -USR2 {id}  # starts the program anew and hands over; no call is lost").ok();
    // A successor belongs to no shell.
    let stop = if is_successor { format!("kill {id}") } else { "Ctrl-C".to_owned() };
    writeln!(text, "\n{stop} drains and stops; a second one stops at once").ok();
    text
}

fn line(text: &mut String, name: &str, value: &dyn Display) {
    // Writing into a String cannot fail.
    writeln!(text, "  {name:<32} {value}").ok();
}

fn list<T>(text: &mut String, all: &[T], row: impl Fn(&T) -> (String, String)) {
    for (name, says) in all.iter().take(LISTED_MAX).map(row) {
        writeln!(text, "  {name:<20} {says}").ok();
    }
    if let Some(more) = all.len().checked_sub(LISTED_MAX).filter(|more| *more > 0) {
        writeln!(text, "  and {more} more: /edge on the admin port lists all").ok();
    }
}

fn speaks(listener: &Listener) -> &'static str {
    match (&listener.tls, listener.proxy_protocol.is_empty()) {
        (Some(tls), _) if tls.client_ca.is_some() => "gRPC (HTTP/2 over mutual TLS)",
        (Some(_), true) => "gRPC (HTTP/2 over TLS)",
        (Some(_), false) => "gRPC (TLS, PROXY header)",
        (None, true) => "gRPC (plaintext HTTP/2)",
        (None, false) => "gRPC (plaintext, PROXY header)",
    }
}

/// What a route is for, and where it leads.
fn leads(route: &Route) -> String {
    let mut of = match &route.path {
        PathMatch::Any => "every method".to_owned(),
        PathMatch::Exact(path) => path.trim_start_matches('/').to_owned(),
        PathMatch::Prefix(prefix) => format!("{prefix}*"),
        PathMatch::Service(service) => format!("{service}/*"),
    };
    if !route.hosts.is_empty() {
        write!(of, " on {}", route.hosts.join(", ")).ok();
    }
    for header in &route.headers {
        write!(of, ", {} {}", header.name, header.value).ok();
    }
    let total: u64 = route.to.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let to = route.to.iter().map(|(cluster, weight)| match route.to.len() {
        1 => cluster.clone(),
        _ => format!("{cluster} {weight}/{total}"),
    });
    format!("{of} -> {}", to.collect::<Vec<_>>().join(", "))
}

/// How the backends of a cluster are found and called.
fn reached(cluster: &Cluster) -> String {
    let tls = if cluster.tls.is_some() { "TLS" } else { "plaintext" };
    let health = match &cluster.health {
        Health::Off => "health not asked".to_owned(),
        Health::Ask => "health asked".to_owned(),
        Health::Require(service) => format!("health of {service:?} required"),
    };
    format!("{}, {tls}, {health}", cluster.target)
}

/// A method that somebody could ask about.
fn example(routes: &[Route]) -> String {
    let named = routes.iter().find_map(|route| match &route.path {
        PathMatch::Exact(path) => Some(path.trim_start_matches('/').to_owned()),
        PathMatch::Service(service) => Some(format!("{service}/Method")),
        PathMatch::Any | PathMatch::Prefix(_) => None,
    });
    named.unwrap_or_else(|| "package.Service/Method".to_owned())
}

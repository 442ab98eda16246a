//! `upstream` blocks, which are our clusters.

use std::time::Duration;

use super::parse::Directive;
use crate::import::names::{host_port, is_header, one_host};
use crate::import::report::Report;
use crate::import::toml::{Table, Value};
use crate::import::values::{Outlier, nginx_time, split_where};

/// Connections that nginx keeps to backends, below which bursts open new ones. Each carries one request at a time.
const KEEPALIVE_SMALL: u32 = 16;

/// Of an address without a port.
const PORT_DEFAULT: u16 = 80;

/// The servers of an upstream.
#[derive(Debug, Default)]
struct Servers {
    /// `HOST:PORT`, as a target has them.
    hosts: Vec<String>,
    sockets: Vec<String>,
    weights: Vec<u32>,
    outlier: Outlier,
    calls_max: Option<u64>,
}

/// Translates a block; `None` when no server is left.
pub(super) fn cluster(upstream: &Directive, report: &mut Report) -> Option<Table> {
    let mut table = Table::noted(format!("nginx: upstream {}, line {}", upstream.arg(), upstream.line));
    upstream.settle();
    let servers = servers(upstream, report);
    let target = target(upstream, &servers, report)?;
    table.set("target", target);
    policy(upstream, &mut table, report);
    servers.outlier.write(&mut table);
    if let Some(calls) = servers.calls_max {
        table.set("calls_per_endpoint_max", calls);
    }
    keepalive(upstream, report);
    weights(upstream, &servers, report);
    let what =
        format!("upstream {} with {} servers", upstream.arg(), servers.hosts.len() + servers.sockets.len());
    report.translated(upstream.line, what, "");
    Some(table)
}

/// A cluster for an address that stands in `grpc_pass` itself.
pub(super) fn single(address: &str, line: usize) -> Option<Table> {
    let mut table = Table::noted(format!("nginx: grpc_pass, line {line}"));
    table.set(
        "target",
        match address.strip_prefix("unix:") {
            Some(path) => socket(path),
            None => one_host(&host_port(address, PORT_DEFAULT)?),
        },
    );
    Some(table)
}

fn servers(upstream: &Directive, report: &mut Report) -> Servers {
    let mut servers = Servers::default();
    for server in upstream.block().iter().filter(|directive| directive.name == "server") {
        server.settle();
        let text = server.text();
        if server.has("down") {
            report.translated(server.line, text, "it is down: left out");
            continue;
        }
        if server.has("backup") {
            let instead = "left out; give backups a cluster and a route of their own, or list all servers in a file:/// \
                           target, where backups have priority=1";
            report.not_supported(server.line, text, instead);
            continue;
        }
        match (server.arg().strip_prefix("unix:"), host_port(server.arg(), PORT_DEFAULT)) {
            (Some(path), _) => servers.sockets.push(path.to_owned()),
            (None, Some(host)) => servers.hosts.push(host),
            (None, None) => {
                report.not_supported(server.line, text, "this is no address: left out");
                continue;
            }
        }
        servers.weights.push(server.option("weight").and_then(|weight| weight.parse().ok()).unwrap_or(1));
        failures(server, &mut servers, report);
        if let Some(count) =
            server.option("max_conns").and_then(|count| count.parse().ok()).filter(|count| *count > 0)
        {
            servers.calls_max = servers.calls_max.max(Some(count));
            report.approximated(
                server.line,
                "max_conns",
                "it counts calls: nginx has one on each connection",
            );
        }
        if server.option("slow_start").is_some() {
            report.not_supported(server.line, "slow_start", "set `slow_start` of the cluster");
        }
    }
    servers
}

fn failures(server: &Directive, servers: &mut Servers, report: &mut Report) {
    let fails: Option<u32> = server.option("max_fails").and_then(|count| count.parse().ok());
    let time = server.option("fail_timeout").and_then(nginx_time);
    match fails {
        Some(0) => {
            let note = "failures in a row still take a backend out; set `outlier = false` to keep it in";
            report.approximated(server.line, "max_fails=0", note);
        }
        Some(count) => servers.outlier.consecutive = servers.outlier.consecutive.max(Some(count)),
        None => {}
    }
    servers.outlier.base = servers.outlier.base.max(time);
    if fails.is_some_and(|count| count > 0) || time.is_some() {
        let how = "failures in a row count, by gRPC status, not those within fail_timeout; at most half of the backends \
                   are taken out at a time, and the time out grows each time";
        report.approximated(server.line, "max_fails, fail_timeout", how);
    }
}

fn target(upstream: &Directive, servers: &Servers, report: &mut Report) -> Option<String> {
    match (servers.hosts.as_slice(), servers.sockets.as_slice()) {
        ([], []) => {
            let why = "no server is left, so there is no cluster for it";
            report.not_supported(upstream.line, format!("upstream {}", upstream.arg()), why);
            None
        }
        ([], [path]) => Some(socket(path)),
        ([host], []) => Some(one_host(host)),
        ([_, ..], []) => Some(format!("static:///{}", servers.hosts.join(","))),
        _ => {
            let instead = "several Unix sockets are listed in a file: write target = \"file:///PATH\" with a line \
                           unix:PATH for each";
            report.not_supported(upstream.line, format!("upstream {}", upstream.arg()), instead);
            let path = servers.sockets.first()?;
            Some(if servers.hosts.is_empty() {
                socket(path)
            } else {
                format!("static:///{}", servers.hosts.join(","))
            })
        }
    }
}

fn socket(path: &str) -> String {
    // `unix:/path:` is how other directives separate a URI.
    let path = path.trim_end_matches(':');
    format!("unix:{path}")
}

fn policy(upstream: &Directive, table: &mut Table, report: &mut Report) {
    for directive in upstream.block() {
        let text = directive.text();
        match directive.name.as_str() {
            "least_conn" => {
                table.set("policy", "least_request");
                report.translated(directive.line, text, "");
            }
            "random" if directive.has("least_conn") || directive.arg() == "two" => {
                table.set("policy", "least_request");
                report.translated(
                    directive.line,
                    text,
                    "least_request looks at two backends and takes the less busy",
                );
            }
            "random" => {
                report.approximated(directive.line, text, "round_robin, which spreads calls more evenly")
            }
            "least_time" => {
                table.set("policy", "peak_ewma");
                report.approximated(directive.line, text, "peak_ewma weighs latency and calls in flight");
            }
            "hash" => hash(directive, table, report),
            "ip_hash" | "sticky" => {
                let instead = "hash a header that names the caller: hash_header = \"NAME\"";
                report.not_supported(directive.line, text, instead);
            }
            _ => continue,
        }
        directive.settle();
    }
}

fn hash(directive: &Directive, table: &mut Table, report: &mut Report) {
    let header = directive.arg().strip_prefix("$http_").map(|name| name.replace('_', "-"));
    let Some(header) = header.filter(|name| is_header(name) && !name.ends_with("-bin")) else {
        let instead = "only a header of the request can be hashed: hash_header = \"NAME\"";
        report.not_supported(directive.line, directive.text(), instead);
        return;
    };
    table.set("hash_header", header.as_str());
    if directive.has("consistent") {
        let how = format!(
            "a hash ring over the header {header}; the ring is another than nginx's, so keys move once"
        );
        report.approximated(directive.line, directive.text(), how);
    } else {
        let how = format!(
            "a hash ring over the header {header}: most keys stay where they are when a backend comes or goes"
        );
        report.approximated(directive.line, directive.text(), how);
    }
}

fn weights(upstream: &Directive, servers: &Servers, report: &mut Report) {
    let first = servers.weights.first().copied().unwrap_or(1);
    if servers.weights.iter().any(|weight| *weight != first) {
        let instead = "a static target has no weights: list the servers in a file, target = \"file:///PATH\", with lines such \
                       as 10.0.0.1:50051 weight=2";
        report.not_supported(upstream.line, format!("weights of upstream {}", upstream.arg()), instead);
    }
}

fn keepalive(upstream: &Directive, report: &mut Report) {
    let note = "connections to backends carry many calls each here; there is no pool to size";
    let Some(pool) = upstream.block().iter().find(|directive| directive.name == "keepalive") else {
        let why = format!(
            "no keepalive: before 1.29.7 nginx opens a connection to a backend for each request; {note}"
        );
        report.mistake(upstream.line, format!("upstream {}", upstream.arg()), why);
        return;
    };
    pool.settle();
    match pool.arg().parse::<u32>() {
        Ok(size) if size < KEEPALIVE_SMALL => {
            let why = format!(
                "each kept connection carries one request at a time, so more than {size} calls at once in a worker open and \
                 close connections; {note}"
            );
            report.mistake(pool.line, pool.text(), why);
        }
        _ => report.translated(pool.line, pool.text(), note),
    }
}

/// The key of a rate limit of nginx, as ours.
pub(super) fn rate_key(key: &str) -> Option<Value> {
    match key {
        "$binary_remote_addr" | "$remote_addr" => Some("address".into()),
        "$ssl_client_s_dn" | "$ssl_client_fingerprint" | "$ssl_client_serial" => Some("caller".into()),
        _ => {
            let name = key.strip_prefix("$http_")?.replace('_', "-");
            is_header(&name).then(|| format!("header:{name}").into())
        }
    }
}

/// `rate` of `RATEr/s` or `RATEr/m`, per second.
pub(super) fn rate(text: &str) -> Option<f64> {
    let (number, unit) = split_where(text, |c| !c.is_ascii_digit());
    let number: f64 = number.parse().ok()?;
    match unit {
        "r/s" => Some(number),
        "r/m" => Some(number / 60.0),
        _ => None,
    }
    .filter(|rate| *rate > 0.0)
}

/// How long nginx waits where nothing is said.
pub(super) const READ_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

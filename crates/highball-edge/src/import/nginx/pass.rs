//! `grpc_pass`: which cluster, over TLS or not, and by which variable.

use std::collections::HashMap;

use super::parse::Directive;
use super::scope::Scope;
use super::upstream;
use crate::import::names::{cluster_name, is_header, is_regex};
use crate::import::report::Report;
use crate::import::toml::{File, Value};
use crate::import::values::{nginx_time, set_longest};

/// A way that a location may go.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// A header and what it must be.
    pub(super) header: Option<(String, Value)>,
    /// Clusters and their weights.
    pub(super) to: Vec<(String, u32)>,
}

/// What `grpc_pass` may name, and the clusters made of it.
#[derive(Debug, Default)]
pub(super) struct Upstreams<'a> {
    blocks: HashMap<&'a str, &'a Directive>,
    /// `map` and `split_clients`, by the variable they set.
    variables: HashMap<&'a str, &'a Directive>,
    /// Those of the server at hand, for mirrors.
    pub(super) locations: Vec<&'a Directive>,
    /// Clusters by address and TLS.
    made: HashMap<(String, String), String>,
}

impl<'a> Upstreams<'a> {
    /// What an `http` block declares.
    pub(super) fn new(http: &'a [Directive]) -> Self {
        let mut upstreams = Self::default();
        for directive in http {
            match (directive.name.as_str(), directive.args.as_slice()) {
                ("upstream", [name]) => {
                    upstreams.blocks.insert(name, directive);
                }
                ("map" | "split_clients", [_, variable]) => {
                    upstreams.variables.insert(variable.trim_start_matches('$'), directive);
                }
                _ => {}
            }
        }
        upstreams
    }

    /// The ways of a `grpc_pass`, in order; none when it cannot be said here.
    pub(super) fn ways(
        &mut self,
        pass: &Directive,
        scope: &Scope<'_>,
        file: &mut File,
        report: &mut Report,
    ) -> Vec<Way> {
        let (is_tls, address) = match pass.arg().split_once("://") {
            Some(("grpcs", address)) => (true, address),
            Some((_, address)) => (false, address),
            None => (false, pass.arg()),
        };
        let tls = is_tls.then(|| tls(pass, scope, report));
        let variable = address.strip_prefix('$').map(|name| name.trim_matches(['{', '}']));
        let found = variable.and_then(|name| self.variables.get(name).copied());
        let mut add = |address: &str, report: &mut Report| {
            self.cluster(address, tls.as_ref(), pass, scope, file, report)
        };
        match (variable, found) {
            (None, _) => {
                let Some(name) = add(address, report) else { return Vec::new() };
                report.translated(pass.line, pass.text(), format!("cluster {name}"));
                vec![Way { header: None, to: vec![(name, 1)] }]
            }
            (Some(_), Some(map)) if map.name == "map" => by_map(map, &mut add, report),
            (Some(_), Some(split)) => by_split(split, &mut add, report),
            (Some(name), None) => {
                let instead = format!("nothing here sets ${name}: write a route for each case");
                report.not_supported(pass.line, pass.text(), instead);
                Vec::new()
            }
        }
    }

    fn cluster(
        &mut self,
        address: &str,
        tls: Option<&Value>,
        pass: &Directive,
        scope: &Scope<'_>,
        file: &mut File,
        report: &mut Report,
    ) -> Option<String> {
        let key = (address.to_owned(), tls.map(ToString::to_string).unwrap_or_default());
        let name = match self.made.get(&key) {
            Some(name) => name.clone(),
            None => {
                let mut table = match self.blocks.get(address) {
                    Some(block) => upstream::cluster(block, report)?,
                    None => upstream::single(address, pass.line).or_else(|| {
                        report.not_supported(
                            pass.line,
                            pass.text(),
                            "no upstream has this name, and it is no address",
                        );
                        None
                    })?,
                };
                if let Some(tls) = tls {
                    table.set("tls", tls.clone());
                }
                let name = cluster_name(address.trim_start_matches("unix:/"), file);
                file.clusters.push((name.clone(), table));
                self.made.insert(key, name.clone());
                name
            }
        };
        if let Some(directive) = scope.find("grpc_connect_timeout")
            && let Some(time) = nginx_time(directive.arg()).filter(|time| !time.is_zero())
            && let Some(cluster) = file.cluster(&name)
        {
            set_longest(cluster, "connect_timeout", time);
            report.translated(directive.line, directive.text(), "TLS and HTTP/2 settings included");
        }
        Some(name)
    }
}

/// `tls` of a cluster for `grpcs://`.
fn tls(pass: &Directive, scope: &Scope<'_>, report: &mut Report) -> Value {
    let mut tls = Value::Map(Vec::new());
    let ca = scope.find("grpc_ssl_trusted_certificate");
    if let Some(ca) = ca {
        tls.push("ca", ca.arg());
    }
    if let (Some(certificate), Some(key)) =
        (scope.value("grpc_ssl_certificate"), scope.value("grpc_ssl_certificate_key"))
    {
        tls.push("certificate", certificate);
        tls.push("key", key);
    }
    if let Some(name) = scope.find("grpc_ssl_name") {
        if crate::import::names::is_host(name.arg()) {
            tls.push("server_name", name.arg());
            report.translated(name.line, name.text(), "");
        } else {
            report.not_supported(name.line, name.text(), "set server_name in tls of the cluster");
        }
    }
    if scope.is_on("grpc_ssl_verify") {
        report.translated(pass.line, "grpcs://", "certificates of backends are verified, as before");
    } else {
        let line = scope.find("grpc_ssl_verify").map_or(pass.line, |verify| verify.line);
        let from = if ca.is_some() {
            "by `ca`"
        } else {
            "by the CAs of the system: set `ca` in tls if it is another"
        };
        let why = format!(
            "grpc_ssl_verify is off, its default, so nginx encrypts to whoever answers; here certificates are verified {from}"
        );
        report.mistake(line, pass.text(), why);
    }
    if tls == Value::Map(Vec::new()) { Value::Flag(true) } else { tls }
}

type Add<'a> = dyn FnMut(&str, &mut Report) -> Option<String> + 'a;

/// The address that a value of a variable stands for.
fn bare(value: &str) -> &str {
    value.split_once("://").map_or(value, |(_, address)| address)
}

fn by_map(map: &Directive, add: &mut Add<'_>, report: &mut Report) -> Vec<Way> {
    map.settle_all();
    let header = map.arg().strip_prefix("$http_").map(|name| name.replace('_', "-"));
    let Some(header) = header.filter(|name| is_header(name)) else {
        let instead = "routes look at headers of the request only: write a route for each case";
        report.not_supported(map.line, map.text(), instead);
        return Vec::new();
    };
    let mut ways: Vec<(u8, Way)> = Vec::new();
    for entry in map.block() {
        if matches!(entry.name.as_str(), "hostnames" | "volatile") {
            continue;
        }
        let (class, value) = match entry.name.as_str() {
            "default" => (2, None),
            "include" => {
                report.not_supported(
                    entry.line,
                    entry.text(),
                    "it is not read: give its text in the same input",
                );
                continue;
            }
            "" => (0, Some(Value::map([("present", false.into())]))),
            name => match (name.strip_prefix("~*"), name.strip_prefix('~')) {
                (Some(regex), _) => (1, regex_value(regex, "(?i)")),
                (None, Some(regex)) => (1, regex_value(regex, "")),
                (None, None) => (0, Some(name.trim_start_matches('\\').into())),
            },
        };
        if class != 2 && value.is_none() {
            report.not_supported(
                entry.line,
                entry.text(),
                "this regular expression has no equal here: left out",
            );
            continue;
        }
        if entry.arg().is_empty() || entry.arg().starts_with('$') {
            report.not_supported(entry.line, entry.text(), "it names no upstream: left out");
            continue;
        }
        if let Some(cluster) = add(bare(entry.arg()), report) {
            let header = value.map(|value| (header.clone(), value));
            ways.push((class, Way { header, to: vec![(cluster, 1)] }));
            report.translated(
                entry.line,
                entry.text(),
                format!("a route by the header {header_name}", header_name = map.arg()),
            );
        }
    }
    ways.sort_by_key(|(class, _)| *class);
    report.approximated(
        map.line,
        map.text(),
        format!("values of the header {header} are compared with regard to case"),
    );
    ways.into_iter().map(|(_, way)| way).collect()
}

/// A regular expression that may match anywhere, as one for the whole value.
fn regex_value(regex: &str, flags: &str) -> Option<Value> {
    let (start, rest) = regex.strip_prefix('^').map_or((".*", regex), |rest| ("", rest));
    let whole = match rest.strip_suffix('$') {
        Some(rest) if !rest.ends_with('\\') => format!("{flags}{start}{rest}"),
        _ => format!("{flags}{start}{rest}.*"),
    };
    is_regex(&whole).then(|| Value::map([("regex", whole.into())]))
}

fn by_split(split: &Directive, add: &mut Add<'_>, report: &mut Report) -> Vec<Way> {
    split.settle_all();
    let mut parts: Vec<(String, f64)> = Vec::new();
    let mut left = 100.0;
    for entry in split.block() {
        let percent = match entry.name.strip_suffix('%').map(str::parse::<f64>) {
            Some(Ok(percent)) if (0.0..=100.0).contains(&percent) => percent,
            _ if entry.name == "*" => left,
            _ => {
                report.not_supported(entry.line, entry.text(), "this is no percentage: left out");
                continue;
            }
        };
        left = f64::max(left - percent, 0.0);
        if let Some(cluster) = add(bare(entry.arg()), report) {
            parts.push((cluster, percent));
        }
    }
    // Whole weights: nginx has two digits after the point.
    let is_whole = |factor: &f64| {
        parts.iter().all(|(_, percent)| ((percent * factor).round() - percent * factor).abs() < 1e-6)
    };
    let factor = [1.0, 10.0].into_iter().find(is_whole).unwrap_or(100.0);
    let to: Vec<_> =
        parts.into_iter().map(|(cluster, percent)| (cluster, (percent * factor).round() as u32)).collect();
    if to.is_empty() {
        return Vec::new();
    }
    let how = "each RPC is drawn by weight; nginx gives the same key the same side each time";
    report.approximated(split.line, split.text(), how);
    vec![Way { header: None, to }]
}

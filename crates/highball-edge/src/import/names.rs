//! Names that our files may have, and the routes that are made of them.

use std::cmp::Reverse;
use std::net::{Ipv6Addr, SocketAddr};

use regex::RegexBuilder;

use super::report::Report;
use super::toml::{File, Table, Value};

/// Characters of the name of a cluster.
const NAME_CHARS_MAX: usize = 64;

/// Of an entry of a split.
const WEIGHT_MAX: u32 = 1_000_000;

/// Of a compiled regular expression, in bytes.
const REGEX_SIZE_BYTES_MAX: usize = 1 << 20;

/// Headers of a connection, and those HTTP/2 makes itself: nobody rewrites them.
const UNTOUCHABLE: &[&str] = &[
    "connection",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether this may be the name of a header that is looked at.
pub(super) fn is_header(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && name.len() <= 256 && name.bytes().all(allowed)
}

/// Whether a header may be set, added or removed.
pub(super) fn is_rewritable(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    is_header(&name) && !name.starts_with("grpc-") && !UNTOUCHABLE.contains(&name.as_str())
}

/// Whether this may be the value of a header.
pub(super) fn is_header_value(name: &str, value: &str) -> bool {
    let printable = value.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) && value.trim() == value;
    printable && value.len() <= 4096 && !name.to_ascii_lowercase().ends_with("-bin")
}

/// Whether our routes can use this regular expression.
pub(super) fn is_regex(text: &str) -> bool {
    let build = |text: &str| {
        let mut builder = RegexBuilder::new(text);
        builder.size_limit(REGEX_SIZE_BYTES_MAX).dfa_size_limit(REGEX_SIZE_BYTES_MAX).build().is_ok()
    };
    !text.is_empty() && build(text) && build(&format!("^(?:{text})$"))
}

/// Whether this may stand in `hosts`.
pub(super) fn is_host(host: &str) -> bool {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(allowed);
    name.len() <= 250 && name.split('.').all(is_label)
}

/// `HOST:PORT` of an address, when it is one.
pub(super) fn host_port(address: &str, port_default: u16) -> Option<String> {
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (address, port_default),
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_v6 = bracketed.is_some_and(|host| host.parse::<Ipv6Addr>().is_ok());
    (port != 0 && (is_v6 || (is_host(host) && !host.starts_with("*.")))).then(|| format!("{host}:{port}"))
}

/// The target of one `HOST:PORT`.
pub(super) fn one_host(host: &str) -> String {
    if is_literal(host) { format!("static:///{host}") } else { format!("dns:///{host}") }
}

/// Whether a `HOST:PORT` needs no look-up.
pub(super) fn is_literal(host: &str) -> bool {
    host.parse::<SocketAddr>().is_ok()
}

/// A name for a cluster, close to the source's and not taken yet.
pub(super) fn cluster_name(wanted: &str, file: &File) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let mut name: String = wanted.chars().map(allowed).take(NAME_CHARS_MAX - 4).collect();
    if name.is_empty() {
        "cluster".clone_into(&mut name);
    }
    let mut free = name.clone();
    let mut number = 2;
    while file.has_cluster(&free) {
        free = format!("{name}-{number}");
        number += 1;
    }
    free
}

/// Sets where a route goes: `cluster` for one, `split` for several.
pub(super) fn send_to(route: &mut Table, to: &[(String, u32)]) {
    let mut split: Vec<(String, u64)> = Vec::new();
    for (cluster, weight) in to {
        let weight = u64::from((*weight).min(WEIGHT_MAX));
        match split.iter_mut().find(|(known, _)| known == cluster) {
            Some((_, sum)) => *sum = (*sum + weight).min(WEIGHT_MAX.into()),
            None => split.push((cluster.clone(), weight)),
        }
    }
    if split.iter().all(|(_, weight)| *weight == 0) {
        split.iter_mut().for_each(|(_, weight)| *weight = 1);
    }
    match split.as_slice() {
        [(cluster, _)] => route.set("cluster", cluster.as_str()),
        _ => {
            let entries = split.into_iter().map(|(cluster, weight)| (cluster, Value::Whole(weight)));
            route.set("split", Value::Map(entries.collect()));
        }
    }
}

/// Sets the path of a route: `method` and `service` where it is one.
pub(super) fn set_path(route: &mut Table, path: &Path) {
    match path {
        Path::Any => {}
        Path::Exact(path) => match path.strip_prefix('/').filter(|name| is_method(name)) {
            Some(method) => route.set("method", method),
            None => route.set("path", path.as_str()),
        },
        Path::Prefix(path) if path == "/" || path.is_empty() => {}
        Path::Prefix(path) => match service(path) {
            Some(service) => route.set("service", service),
            None => route.set("prefix", path.as_str()),
        },
    }
}

/// Which paths a route is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Path {
    /// All.
    Any,
    /// One.
    Exact(String),
    /// Those that begin so.
    Prefix(String),
}

impl Path {
    /// Whether a route can have it.
    pub(super) fn is_valid(&self) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(path) | Self::Prefix(path) => {
                let allowed = |byte: u8| byte.is_ascii_graphic() && !b"?#".contains(&byte);
                path.starts_with('/') && path.len() <= 1024 && path.bytes().all(allowed)
            }
        }
    }

    /// What a regular expression for the whole path comes to, if it is text, with or without anything behind it.
    pub(super) fn of_regex(regex: &str) -> Option<Self> {
        let body = regex.strip_prefix('^').unwrap_or(regex);
        if matches!(body, "" | ".*" | "/.*") {
            return Some(Self::Any);
        }
        for open in [".*", ".+", "[^/]+", "[^/]*", ".*$", ".+$", "[^/]+$"] {
            if let Some(start) = body.strip_suffix(open).and_then(literal) {
                return Some(Self::Prefix(start));
            }
        }
        literal(body.strip_suffix('$').unwrap_or(body)).map(Self::Exact)
    }
}

/// The text a pattern stands for, when it stands for one only.
pub(super) fn literal(pattern: &str) -> Option<String> {
    let mut text = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push(chars.next().filter(char::is_ascii_punctuation)?),
            // A point that means one: nobody writes a package name otherwise, and it matches itself.
            '.' => text.push('.'),
            '*' | '+' | '?' | '[' | ']' | '(' | ')' | '{' | '}' | '|' | '^' | '$' => return None,
            c => text.push(c),
        }
    }
    (!text.is_empty()).then_some(text)
}

fn is_method(name: &str) -> bool {
    name.split_once('/')
        .is_some_and(|(service, method)| is_name(service) && is_name(method) && !method.contains('.'))
}

fn service(prefix: &str) -> Option<&str> {
    prefix.strip_prefix('/')?.strip_suffix('/').filter(|name| is_name(name))
}

fn is_name(name: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    name.split('.').all(part)
}

/// The routes of some hosts, before they are put in order.
#[derive(Debug, Default)]
pub(super) struct Site {
    /// Where it begins.
    pub(super) line: usize,
    /// Exact, or `*.` and a name; empty for all.
    pub(super) hosts: Vec<String>,
    /// In their order.
    pub(super) routes: Vec<Table>,
    /// Whether every path has a route.
    pub(super) complete: bool,
}

/// Puts the routes of all sites into the file, sites with names before wildcards, before any host: the first route that
/// matches is taken here, where the sources choose the closest host first.
pub(super) fn place(mut sites: Vec<Site>, file: &mut File, report: &mut Report) {
    let rank = |site: &Site| {
        let wildcard = site.hosts.iter().filter(|host| host.starts_with("*.")).map(String::len).min();
        (site.hosts.is_empty(), wildcard.is_some(), Reverse(wildcard.unwrap_or(0)))
    };
    sites.sort_by_key(rank);
    let last = sites.len().saturating_sub(1);
    for (index, site) in sites.into_iter().enumerate() {
        if !site.complete && !site.routes.is_empty() && index < last {
            let note = "paths without a route here fall through to the routes of other hosts below; the source \
                        answers them itself";
            report.approximated(site.line, format!("routes of {}", site.hosts.join(", ")), note);
        }
        for mut route in site.routes {
            match site.hosts.as_slice() {
                [] => {}
                // A condition of the route's own, on one of them.
                _ if route.has("host") => {}
                [host] => route.set_first("host", host.as_str()),
                hosts => route.set_first("hosts", hosts.to_vec()),
            }
            file.routes.push(route);
        }
    }
}

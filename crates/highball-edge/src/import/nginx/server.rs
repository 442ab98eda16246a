//! `server` blocks: where they listen, with which certificates, for which names.

use super::parse::Directive;
use super::scope::Scope;
use crate::import::names::{Site, is_host};
use crate::import::report::Report;
use crate::import::toml::{File, Table, Value};

/// A client connection ends after so many requests by default (since 1.19.10).
const KEEPALIVE_REQUESTS_DEFAULT: u64 = 1000;

/// Fewer cut connections of busy clients again and again.
const KEEPALIVE_REQUESTS_FEW: u64 = 100_000;

/// An address that servers listen at.
#[derive(Debug)]
pub(super) struct Listening {
    address: String,
    table: Table,
    line: usize,
    pairs: Vec<Value>,
    is_tls: bool,
    /// Whether a server is for every other name, because it came first.
    is_taken: bool,
}

/// Takes note of the addresses of a server, and answers with its hosts. `None`: none of its names can be said here.
pub(super) fn server(
    server: &Directive,
    scope: &Scope<'_>,
    listening: &mut Vec<Listening>,
    report: &mut Report,
) -> Option<Site> {
    let mut is_default = false;
    let mut is_first = false;
    let listens: Vec<_> = server.block().iter().filter(|directive| directive.name == "listen").collect();
    let on_80 = Directive::new(server.line, "listen", "80");
    let listens = if listens.is_empty() { vec![&on_80] } else { listens };
    let default = |listen: &Directive| listen.has("default_server") || listen.has("default");
    let http2 = scope.is_on("http2");
    let pairs = pairs(scope, report);
    for listen in listens {
        listen.settle();
        let tls = listen.has("ssl") || scope.is_on("ssl");
        let Some(address) = address(listen, report) else { continue };
        if !http2 && !listen.has("http2") {
            let why = "without http2 here, or `http2 on` in the server, nginx speaks HTTP/1.1 and no gRPC client gets through";
            report.mistake(listen.line, listen.text(), why);
        }
        let entry = entry(address, listen, listening);
        is_default |= default(listen);
        is_first |= !entry.is_taken;
        entry.is_taken = true;
        if tls {
            entry.is_tls = true;
            // The first certificate is for clients that ask for no name.
            let at = if default(listen) { 0 } else { entry.pairs.len() };
            entry.pairs.splice(at..at, pairs.clone()).for_each(drop);
            client_auth(scope, &mut entry.table, report);
        } else if listen.has("proxy_protocol") {
            let instead = "name the networks of the proxies: proxy_protocol = [\"10.0.0.0/8\"]";
            report.not_supported(listen.line, "proxy_protocol", instead);
        }
        report.translated(listen.line, listen.text(), "");
    }
    keepalive_requests(server, scope, report);
    let hosts = hosts(server, is_default, is_first, report)?;
    Some(Site { line: server.line, hosts, ..Site::default() })
}

/// Puts the listeners into the file.
pub(super) fn place(listening: Vec<Listening>, file: &mut File, report: &mut Report) {
    for mut entry in both_families(listening) {
        entry.table.set_first("address", entry.address.as_str());
        let mut pairs: Vec<Value> = Vec::new();
        for pair in entry.pairs {
            if !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
        let client = match entry.table.get("tls") {
            Some(Value::Map(entries)) => entries.clone(),
            _ => Vec::new(),
        };
        let mut tls = match pairs.as_slice() {
            [] if !entry.is_tls => {
                file.listeners.push(entry.table);
                continue;
            }
            [] => {
                let instead = "no ssl_certificate and ssl_certificate_key are in the text: name them in tls of the listener";
                report.not_supported(entry.line, format!("listen {} ssl", entry.address), instead);
                vec![("certificate".to_owned(), "tls.crt".into()), ("key".to_owned(), "tls.key".into())]
            }
            [Value::Map(pair)] => pair.clone(),
            _ => vec![("pairs".to_owned(), Value::List(pairs))],
        };
        tls.extend(client);
        entry.table.set("tls", Value::Map(tls));
        file.listeners.push(entry.table);
    }
}

/// [::] takes IPv4 as well, so of 0.0.0.0 and [::] with one port only the latter can be had.
fn both_families(listening: Vec<Listening>) -> Vec<Listening> {
    let mut kept: Vec<Listening> = Vec::new();
    for entry in listening {
        let other = match entry.address.strip_prefix("0.0.0.0:") {
            Some(port) => format!("[::]:{port}"),
            None => entry.address.replacen("[::]:", "0.0.0.0:", 1),
        };
        match kept.iter_mut().find(|known| known.address == other) {
            Some(known) => {
                known.pairs.extend(entry.pairs);
                known.is_tls |= entry.is_tls;
                known.address = if other.starts_with('[') { other } else { entry.address };
                if !known.table.has("tls") {
                    known.table.extend(&entry.table);
                }
            }
            None => kept.push(entry),
        }
    }
    kept
}

fn entry<'a>(address: String, listen: &Directive, listening: &'a mut Vec<Listening>) -> &'a mut Listening {
    let index = listening.iter().position(|entry| entry.address == address).unwrap_or_else(|| {
        let table = Table::noted(format!("nginx: {}, line {}", listen.text(), listen.line));
        listening.push(Listening {
            address,
            line: listen.line,
            table,
            pairs: Vec::new(),
            is_tls: false,
            is_taken: false,
        });
        listening.len() - 1
    });
    &mut listening[index]
}

/// `IP:PORT` or `unix:PATH`.
fn address(listen: &Directive, report: &mut Report) -> Option<String> {
    let text = listen.arg();
    if listen.has("quic") {
        report.not_supported(
            listen.line,
            listen.text(),
            "gRPC over HTTP/3 is not served: clients use the TCP port",
        );
        return None;
    }
    let address = if text.starts_with("unix:") {
        let path = text.strip_prefix("unix:").unwrap_or_default();
        (!path.is_empty()).then(|| text.to_owned())
    } else if let Ok(port) = text.parse::<u16>() {
        Some(format!("0.0.0.0:{port}"))
    } else {
        let full = text.replacen("*:", "0.0.0.0:", 1).replacen("localhost", "127.0.0.1", 1);
        [full.clone(), format!("{full}:80")]
            .iter()
            .find_map(|text| text.parse::<std::net::SocketAddr>().ok())
            .map(|address| address.to_string())
    };
    if address.is_none() {
        report.not_supported(listen.line, listen.text(), "write an IP address and a port");
    }
    address
}

fn pairs(scope: &Scope<'_>, report: &mut Report) -> Vec<Value> {
    let (certificates, keys) = (scope.all("ssl_certificate"), scope.all("ssl_certificate_key"));
    for directive in certificates.iter().chain(&keys) {
        report.translated(directive.line, directive.text(), "");
    }
    certificates
        .iter()
        .zip(&keys)
        .filter(|(certificate, key)| !certificate.arg().is_empty() && !key.arg().is_empty())
        .map(|(certificate, key)| {
            Value::map([("certificate", certificate.arg().into()), ("key", key.arg().into())])
        })
        .collect()
}

fn client_auth(scope: &Scope<'_>, table: &mut Table, report: &mut Report) {
    let verify = scope.find("ssl_verify_client");
    let Some(verify) = verify.filter(|verify| verify.arg() != "off") else {
        if let Some(ca) = scope.find("ssl_client_certificate") {
            report.translated(ca.line, ca.text(), "not needed: ssl_verify_client is off");
        }
        if table.has("tls") {
            report.approximated(
                1,
                "ssl_verify_client",
                "a listener asks all clients, whichever server they want",
            );
        }
        return;
    };
    let found = scope.find("ssl_client_certificate").or_else(|| scope.find("ssl_trusted_certificate"));
    let ca = found.map_or("clients.pem", Directive::arg);
    if found.is_none() {
        let instead = "no ssl_client_certificate says which CAs: name the file in client_ca of the listener";
        report.not_supported(verify.line, verify.text(), instead);
    }
    let mut tls = Value::map([("client_ca", ca.into())]);
    match verify.arg() {
        "on" => report.translated(verify.line, verify.text(), ca),
        "optional" => {
            tls.push("client_auth", "optional");
            report.translated(verify.line, verify.text(), ca);
        }
        _ => {
            tls.push("client_auth", "optional");
            let instead = "a certificate that is shown is verified here, by client_ca";
            report.not_supported(verify.line, verify.text(), instead);
        }
    }
    if let Some(crl) = scope.value("ssl_crl") {
        tls.push("crl", crl);
    }
    let is_optional = |tls: &Value| matches!(tls, Value::Map(entries) if entries.iter().any(|(key, _)| key == "client_auth"));
    match table.get("tls") {
        Some(known) if *known != tls => {
            let instead = "servers at one address ask for different certificates of clients, and a listener asks all \
                           for the same: only one of them is kept; give each server an address of its own";
            report.not_supported(verify.line, verify.text(), instead);
            if is_optional(known) && !is_optional(&tls) {
                table.set("tls", tls);
            }
        }
        _ => table.set("tls", tls),
    }
}

fn keepalive_requests(server: &Directive, scope: &Scope<'_>, report: &mut Report) {
    let found = scope.find("keepalive_requests");
    let count = found.and_then(|found| found.arg().parse().ok()).unwrap_or(KEEPALIVE_REQUESTS_DEFAULT);
    let (line, what) = found
        .map_or((server.line, "keepalive_requests (not set)".to_owned()), |found| (found.line, found.text()));
    if count >= KEEPALIVE_REQUESTS_FEW {
        report.translated(line, what, "connections are not counted in requests here, but have an age");
        return;
    }
    let why = format!(
        "nginx ends a client's connection after {count} requests, with one GOAWAY, so that requests on their way fail; \
         connections here live 30 minutes and end with two"
    );
    report.mistake(line, what, why);
}

/// The names a server is for; an empty list for every name, `None` when there are names and none can be said here.
fn hosts(server: &Directive, is_default: bool, is_first: bool, report: &mut Report) -> Option<Vec<String>> {
    let mut hosts = Vec::new();
    let mut is_open = false;
    let names: Vec<_> = server.block().iter().filter(|directive| directive.name == "server_name").collect();
    for directive in &names {
        directive.settle();
        for name in &directive.args {
            let lower = name.to_ascii_lowercase();
            if matches!(name.as_str(), "_" | "" | "\"\"") {
                is_open = true;
            } else if let Some(domain) = lower.strip_prefix('.').filter(|domain| is_host(domain)) {
                hosts.extend([domain.to_owned(), format!("*.{domain}")]);
            } else if is_host(&lower) {
                hosts.push(lower);
            } else {
                let instead = "a host is a name, or *. and a name: write them out";
                report.not_supported(directive.line, format!("server_name {name}"), instead);
            }
        }
        report.translated(directive.line, directive.text(), "");
    }
    if is_default || is_open || names.is_empty() {
        if is_default && !hosts.is_empty() {
            report.translated(server.line, "default_server", "its routes are for every host");
        }
        return Some(Vec::new());
    }
    if hosts.is_empty() {
        return is_first.then_some(hosts);
    }
    if is_first {
        let how = format!(
            "it is the first server at its address, so nginx also gives it every name that no server has; here it is for {} \
             only: remove `host` from its routes to serve all",
            hosts.join(", ")
        );
        report.approximated(server.line, "server", how);
    }
    Some(hosts)
}

//! `transport_socket`, of both sides.

use super::{Making, type_of};
use crate::import::names::is_host;
use crate::import::toml::Value;
use crate::import::yaml::Node;

/// `tls` of a cluster; `None` for plaintext.
pub(super) fn upstream(cluster: &Node, making: &mut Making) -> Option<Value> {
    let socket = cluster.get("transport_socket")?;
    let config = match config(socket, "UpstreamTlsContext", making) {
        Socket::Plain => return None,
        Socket::Unknown => return Some(Value::Flag(true)),
        Socket::Tls(config) => config,
    };
    let context = config.at("common_tls_context");
    let report = &mut making.report;
    let mut tls = Value::Map(Vec::new());
    let validation = validation(context);
    match validation.and_then(|validation| validation.at("trusted_ca").at("filename").text()) {
        Some(ca) => tls.push("ca", ca),
        None if by_sds(context) => {
            let instead = "backends are verified by the CAs of the system until `ca` of tls names the file";
            report.not_supported(socket.line, "transport_socket", instead);
        }
        None => {
            let why = "without a trusted_ca Envoy encrypts to whoever answers; here certificates are verified, by the CAs of the \
                       system: set `ca` if it is another";
            report.mistake(socket.line, "transport_socket", why);
        }
    }
    if let Some((certificate, key)) = context.at("tls_certificates").items().first().and_then(pair) {
        tls.push("certificate", certificate);
        tls.push("key", key);
    }
    let names = ["match_typed_subject_alt_names", "match_subject_alt_names"];
    let names = names.iter().find_map(|name| validation?.get(name));
    let exact = names.and_then(|names| {
        let name = names.items().first()?;
        name.at("matcher").get("exact").or_else(|| name.get("exact")).and_then(Node::text)
    });
    let sni = config.at("sni").text();
    match exact.or(sni).filter(|name| is_host(name) && !name.starts_with("*.")) {
        Some(name) => tls.push("server_name", name),
        None => {
            let how =
                "the certificate must be for the name that is dialled: set server_name if it is for another";
            report.approximated(socket.line, "transport_socket", how);
        }
    }
    if let Some(names) = names {
        names.settle();
        if exact.is_none()
            || exact.zip(sni).is_some_and(|(exact, sni)| exact != sni)
            || names.items().len() > 1
        {
            let how = "one name, server_name, is asked for and verified";
            report.approximated(names.line, "subject_alt_names", how);
        }
    }
    report.translated(socket.line, "transport_socket", "TLS to the backends");
    Some(if tls == Value::Map(Vec::new()) { Value::Flag(true) } else { tls })
}

/// `tls` of a listener: its certificates, and who may be a client; `None` for plaintext.
pub(super) fn downstream(chain: &Node, making: &mut Making) -> Option<(Vec<Value>, Vec<(String, Value)>)> {
    let socket = chain.get("transport_socket")?;
    let pair_to_name = || Value::map([("certificate", "tls.crt".into()), ("key", "tls.key".into())]);
    let config = match config(socket, "DownstreamTlsContext", making) {
        Socket::Plain => return None,
        Socket::Unknown => return Some((vec![pair_to_name()], Vec::new())),
        Socket::Tls(config) => config,
    };
    let context = config.at("common_tls_context");
    let report = &mut making.report;
    let mut pairs: Vec<Value> = context
        .at("tls_certificates")
        .items()
        .iter()
        .filter_map(pair)
        .map(|(certificate, key)| Value::map([("certificate", certificate.into()), ("key", key.into())]))
        .collect();
    if pairs.is_empty() {
        let instead = "no certificate file is named: name them in tls of the listener";
        report.not_supported(socket.line, "transport_socket", instead);
        pairs.push(pair_to_name());
    }
    let mut client = Vec::new();
    let validation = validation(context);
    let required = config.get("require_client_certificate").is_some_and(Node::is_true);
    let ca = validation.and_then(|validation| validation.at("trusted_ca").at("filename").text());
    if ca.is_none() && by_sds(context) && (required || context.has("validation_context_sds_secret_config")) {
        let instead = "name the file with the CAs of clients in client_ca of the listener";
        report.not_supported(socket.line, "certificates of clients", instead);
    }
    if let Some(ca) = ca.or_else(|| by_sds(context).then_some("clients.pem").filter(|_| required)) {
        client.push(("client_ca".to_owned(), Value::from(ca)));
        if !required {
            client.push(("client_auth".to_owned(), "optional".into()));
        }
        if let Some(crl) = validation.and_then(|validation| validation.at("crl").at("filename").text()) {
            client.push(("crl".to_owned(), crl.into()));
        }
    } else if required {
        let why = "a client must show a certificate, and no trusted_ca says whose: anybody's will do";
        report.mistake(socket.line, "require_client_certificate", why);
    }
    report.translated(socket.line, "transport_socket", "TLS for clients");
    Some((pairs, client))
}

/// What a transport socket is.
enum Socket<'a> {
    Plain,
    Tls(&'a Node),
    Unknown,
}

fn config<'a>(socket: &'a Node, wanted: &str, making: &mut Making) -> Socket<'a> {
    socket.at("name").settle();
    let config = socket.at("typed_config");
    match type_of(config) {
        "RawBuffer" => Socket::Plain,
        found if found == wanted => Socket::Tls(config),
        found => {
            let instead = format!(
                "a {wanted} is translated, not {found:?}: TLS with files of its own until you choose"
            );
            making.report.not_supported(socket.line, "transport_socket", instead);
            socket.settle();
            Socket::Unknown
        }
    }
}

/// How the other side is verified, when it stands in the file.
fn validation(context: &Node) -> Option<&Node> {
    context
        .get("validation_context")
        .or_else(|| context.get("combined_validation_context")?.get("default_validation_context"))
}

/// Whether it comes from a control plane.
fn by_sds(context: &Node) -> bool {
    context.has("validation_context_sds_secret_config") || context.has("combined_validation_context")
}

fn pair(certificate: &Node) -> Option<(&str, &str)> {
    let file = |name| certificate.at(name).at("filename").text().filter(|path| !path.is_empty());
    file("certificate_chain").zip(file("private_key"))
}

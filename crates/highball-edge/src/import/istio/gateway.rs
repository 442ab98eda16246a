//! `Gateway`, which is our listeners.

use super::Making;
use super::manifest::Manifest;
use crate::import::toml::{Table, Value};
use crate::import::yaml::Node;

/// Translates the servers of a gateway.
pub(super) fn gateway(manifest: &Manifest<'_>, making: &mut Making<'_>) {
    manifest.spec.at("selector").settle();
    for server in manifest.spec.at("servers").items() {
        let port = server.at("port");
        port.at("name").settle();
        server.at("name").settle();
        server.at("hosts").settle();
        let what = format!("Gateway {} server", manifest.name);
        let protocol = port.at("protocol").text().unwrap_or_default().to_ascii_uppercase();
        let Some(number) = port.get("number").and_then(Node::parse::<u16>).filter(|port| *port > 0) else {
            server.settle();
            making.report.not_supported(server.line, what, "left out: it has no port");
            continue;
        };
        let mode = server.at("tls").at("mode").text().unwrap_or_default();
        if !matches!(protocol.as_str(), "HTTP" | "HTTP2" | "GRPC" | "HTTPS" | "GRPC-WEB")
            || mode.contains("PASSTHROUGH")
        {
            server.settle();
            making.report.not_supported(
                server.line,
                format!("{what} {protocol} {mode}"),
                "left out: this is not gRPC",
            );
            continue;
        }
        let address = format!("0.0.0.0:{number}");
        let taken = |table: &Table| table.get("address") == Some(&Value::from(address.as_str()));
        if making.file.listeners.iter().any(taken) {
            server.settle();
            making.report.approximated(
                server.line,
                what,
                "its port is taken by another server: add its certificate to `pairs`",
            );
            continue;
        }
        let mut table = Table::noted(format!("istio: Gateway {}, line {}", manifest.name, server.line));
        table.set("address", address);
        if let Some(tls) = server.get("tls") {
            self::tls(tls, &mut table, making);
        }
        making.report.translated(server.line, what, "");
        making.file.listeners.push(table);
    }
}

fn tls(node: &Node, table: &mut Table, making: &mut Making<'_>) {
    let text = |name: &str| node.get(name).and_then(Node::text);
    node.at("minProtocolVersion").settle();
    node.at("httpsRedirect").settle();
    let mode = text("mode").unwrap_or("SIMPLE").to_owned();
    let mut tls = match (text("serverCertificate"), text("privateKey"), text("credentialName")) {
        (Some(certificate), Some(key), _) => {
            Value::map([("certificate", certificate.into()), ("key", key.into())])
        }
        (_, _, Some(secret)) => {
            let how = format!("mount the secret {secret} at /etc/highball/{secret}");
            making.report.approximated(node.line, "credentialName", how);
            let file = |name: &str| Value::from(format!("/etc/highball/{secret}/{name}"));
            Value::map([("certificate", file("tls.crt")), ("key", file("tls.key"))])
        }
        _ => {
            making.report.not_supported(node.line, "tls", "name certificate and key in tls of the listener");
            Value::map([("certificate", "tls.crt".into()), ("key", "tls.key".into())])
        }
    };
    let secret = text("credentialName");
    let ca = text("caCertificates")
        .map(str::to_owned)
        .or_else(|| Some(format!("/etc/highball/{}/ca.crt", secret?)));
    if mode != "SIMPLE" {
        if ca.is_none() || !mode.ends_with("MUTUAL") || mode.starts_with("ISTIO") {
            let instead = "name the file with the CAs of clients: client_ca in tls of the listener";
            making.report.not_supported(node.line, format!("tls {mode}"), instead);
        }
        tls.push("client_ca", ca.unwrap_or_else(|| "clients.pem".to_owned()));
        if mode == "OPTIONAL_MUTUAL" {
            tls.push("client_auth", "optional");
        }
    }
    table.set("tls", tls);
}

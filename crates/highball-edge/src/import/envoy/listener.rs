//! `listeners`.

use super::{Making, filters, tls, type_of, virtual_host};
use crate::import::names::{Site, is_host};
use crate::import::toml::{Table, Value};
use crate::import::values::{DURATION_MAX, duration};
use crate::import::yaml::Node;

/// What the server has when nothing is said, in seconds.
const STREAM_IDLE_DEFAULT: u64 = 300;

/// Translates a listener, and adds the sites of its routes.
pub(super) fn listener(listener: &Node, sites: &mut Vec<Site>, making: &mut Making) {
    let name = listener.at("name").text().unwrap_or_default().to_owned();
    let address = listener.at("address");
    let address = match address.at("pipe").at("path").text() {
        Some(path) => Some(format!("unix:{path}")),
        None => socket_address(address.at("socket_address")),
    };
    let Some(address) = address else {
        listener.settle();
        let instead = "left out: it has no address of TCP or of a Unix socket";
        making.report.not_supported(listener.line, format!("listener {name}"), instead);
        return;
    };
    let mut table = Table::noted(format!("envoy: listener {name}, line {}", listener.line));
    table.set("address", address);
    for filter in listener.at("listener_filters").items() {
        filter.settle();
        match filter.at("name").text().unwrap_or_default() {
            "envoy.filters.listener.proxy_protocol" => {
                let instead = "name the networks of the proxies: proxy_protocol = [\"10.0.0.0/8\"]";
                making.report.not_supported(filter.line, "proxy_protocol", instead);
            }
            "envoy.filters.listener.tls_inspector" | "envoy.filters.listener.http_inspector" => {
                making.report.translated(filter.line, "a listener filter", "not needed");
            }
            other => making.report.not_supported(filter.line, other, "nothing here corresponds to it"),
        }
    }
    let (mut pairs, mut client) = (Vec::new(), Vec::new());
    let mut is_http = false;
    for chain in listener.at("filter_chains").items() {
        is_http |= filter_chain(chain, &mut pairs, &mut client, sites, making);
    }
    if !is_http {
        let instead = "left out: none of its filters is an HTTP connection manager that is translated";
        making.report.not_supported(listener.line, format!("listener {name}"), instead);
        return;
    }
    if !pairs.is_empty() {
        let mut tls = match pairs.as_slice() {
            // For whatever name: there is no other.
            [Value::Map(pair)] => pair.iter().filter(|(key, _)| key != "names").cloned().collect(),
            _ => vec![("pairs".to_owned(), Value::List(pairs))],
        };
        tls.extend(client);
        table.set("tls", Value::Map(tls));
    }
    making.report.translated(listener.line, format!("listener {name}"), "");
    making.file.listeners.push(table);
}

/// `IP:PORT` of a `socket_address`.
pub(super) fn socket_address(address: &Node) -> Option<String> {
    address.at("protocol").settle();
    address.at("ipv4_compat").settle();
    let (host, port) = (address.at("address").text()?, address.at("port_value").text()?);
    let text = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    text.parse::<std::net::SocketAddr>().ok().map(|address| address.to_string())
}

fn filter_chain(
    chain: &Node,
    pairs: &mut Vec<Value>,
    client: &mut Vec<(String, Value)>,
    sites: &mut Vec<Site>,
    making: &mut Making,
) -> bool {
    let manager = chain.at("filters").items().iter().find(|filter| {
        type_of(filter.at("typed_config")) == "HttpConnectionManager"
            || filter.at("name").text() == Some("envoy.filters.network.http_connection_manager")
    });
    let Some(manager) = manager else {
        chain.settle();
        let instead = "only HTTP connection managers are translated: this is not gRPC";
        making.report.not_supported(chain.line, "filter chain", instead);
        return false;
    };
    let condition = chain.at("filter_chain_match");
    let names: Vec<_> = condition.at("server_names").items().iter().filter_map(Node::text).collect();
    if let Some((found, auth)) = tls::downstream(chain, making) {
        for pair in found {
            let Value::Map(mut pair) = pair else { continue };
            let names: Vec<String> =
                names.iter().filter(|name| is_host(name)).map(ToString::to_string).collect();
            if !names.is_empty() {
                pair.push(("names".to_owned(), names.into()));
            }
            if !pairs.contains(&Value::Map(pair.clone())) {
                pairs.push(Value::Map(pair));
            }
        }
        if client.is_empty() {
            *client = auth;
        } else if *client != auth {
            let instead = "a listener asks all clients for the same certificates: make two listeners";
            making.report.not_supported(chain.line, "client certificates that differ by name", instead);
        }
    }
    if !names.is_empty() {
        let how = "the name chooses the certificate; routes go by the authority of each request";
        making.report.approximated(condition.line, "server_names", how);
    }
    manager.at("name").settle();
    connection_manager(manager.at("typed_config"), sites, making)
}

fn connection_manager(manager: &Node, sites: &mut Vec<Site>, making: &mut Making) -> bool {
    manager.at("@type").settle();
    if let Some(codec) = manager.get("codec_type") {
        if codec.text() == Some("HTTP1") {
            let why = "gRPC needs HTTP/2: no gRPC client gets through; here HTTP/2 is spoken";
            making.report.mistake(codec.line, "codec_type HTTP1", why);
        } else {
            making.report.translated(codec.line, "codec_type", "not needed");
        }
    }
    times(manager, making);
    if let Some(hops) =
        manager.get("xff_num_trusted_hops").and_then(Node::parse::<u64>).filter(|n| (1..=32).contains(n))
    {
        making.file.top.set("trusted_hops", hops);
    }
    let http2 = manager.at("http2_protocol_options");
    let streams = http2.get("max_concurrent_streams").and_then(Node::parse::<u64>);
    if let Some(streams) = streams.filter(|streams| (1..=1_000_000).contains(streams) && *streams != 1000) {
        making.file.limits.set("concurrent_streams_max", streams);
    }
    filters::filters(manager.at("http_filters").items(), making);
    let Some(config) = manager.get("route_config") else {
        manager.settle();
        let instead = "routes come from a control plane (rds): give them as route_config";
        making.report.not_supported(manager.line, "http_connection_manager", instead);
        return false;
    };
    config.at("name").settle();
    for host in config.at("virtual_hosts").items() {
        virtual_host::virtual_host(host, config, sites, making);
    }
    true
}

fn times(manager: &Node, making: &mut Making) {
    let report = &mut making.report;
    let time = |node: &Node| duration(node.text().unwrap_or_default());
    if let Some(found) = manager.get("stream_idle_timeout") {
        match time(found) {
            Some(idle) => {
                if idle.as_secs() != STREAM_IDLE_DEFAULT {
                    making.file.limits.set("stream_idle", idle.min(DURATION_MAX));
                }
                report.translated(
                    found.line,
                    "stream_idle_timeout",
                    "silence of both sides; for one route: stream_idle",
                );
            }
            None => {
                report.not_supported(found.line, "stream_idle_timeout", "this is no time: set stream_idle")
            }
        }
    }
    if let Some(found) =
        manager.get("request_timeout").filter(|found| time(found).is_some_and(|time| !time.is_zero()))
    {
        let why = "it ends every request that takes longer to send, which cuts client streams: left out; see stream_idle and \
                   deadline";
        report.mistake(found.line, "request_timeout", why);
    }
    let common = manager.at("common_http_protocol_options");
    if let Some(found) = common.get("max_stream_duration") {
        let why = "it ends every stream at that age, however busy: left out; streams end by their caller's deadline";
        report.mistake(found.line, "max_stream_duration", why);
    }
    if let Some(found) = common.get("idle_timeout")
        && let Some(idle) = time(found).filter(|idle| !idle.is_zero())
    {
        making.file.limits.set("connection_idle", idle.min(DURATION_MAX));
        report.translated(found.line, "idle_timeout", "");
    }
}

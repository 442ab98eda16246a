//! `[clusters.NAME]`.

use std::time::Duration;

use highball_channel::Target;
use highball_channel::service_config::CONNECTIONS_PER_SUBCHANNEL_MAX;
use highball_net::client::KEEPALIVE_TIME_MIN;
use http::uri::Authority;
use toml::de::DeValue;

use super::balancing::balancing;
use super::keys;
use super::table::{Item, Table};
use crate::settings::{Cluster, Health, UpstreamTls};

/// Of `retry_tokens` (gRFC A6).
const RETRY_TOKENS_MAX: u64 = 1000;

/// Reads a cluster.
pub(super) fn cluster(item: Item<'_>) -> Option<Cluster> {
    let table = item.table(&keys::CLUSTER)?;
    let target = table.required("target", "target = \"dns:///orders.internal:50051\"").and_then(target);
    let balancing = balancing(&table);
    let count = |key| table.get(key).and_then(Item::count);
    let connections = table.get("connections_per_endpoint_max");
    let connections = connections.and_then(|item| item.whole(1..=u64::from(CONNECTIONS_PER_SUBCHANNEL_MAX)));
    let time =
        |key, default| table.get(key).and_then(Item::some_time).unwrap_or(Duration::from_secs(default));
    let cluster = Cluster {
        target: String::new(),
        balancing,
        health: table.get("health").and_then(health).unwrap_or(Health::Ask),
        tls: table.get("tls").and_then(tls).flatten(),
        authority: table.get("authority").and_then(authority),
        calls_per_endpoint_max: count("calls_per_endpoint_max").unwrap_or(1024),
        connections_per_endpoint_max: connections.unwrap_or(1),
        waiting_max: count("waiting_max").unwrap_or(1024),
        connect_timeout: time("connect_timeout", 5),
        keepalive_time: keepalive(&table),
        keepalive_timeout: time("keepalive_timeout", 10),
        response_size_bytes_max: table.get("response_size_max").and_then(Item::some_size).unwrap_or(4 << 20),
        replay_size_bytes_max: table.get("replay_size_max").and_then(Item::size).unwrap_or(256 << 10),
        retry_tokens: table
            .get("retry_tokens")
            .and_then(|item| item.whole(1..=RETRY_TOKENS_MAX))
            .unwrap_or(100),
    };
    Some(Cluster { target: target?, ..cluster })
}

/// A target that can be parsed; nothing is opened.
fn target(item: Item<'_>) -> Option<String> {
    let text = item.text()?;
    match Target::parse(text) {
        Ok(_) => Some(text.to_owned()),
        Err(error) => item.problem(|| error.to_string()),
    }
}

fn health(item: Item<'_>) -> Option<Health> {
    match item.value {
        DeValue::Boolean(true) => Some(Health::Ask),
        DeValue::Boolean(false) => Some(Health::Off),
        DeValue::String(service) if service.len() > 256 || service.contains(char::is_whitespace) => {
            item.malformed(service, "a service; write one such as \"orders.v1.Orders\"")
        }
        DeValue::String(service) => Some(Health::Require(service.to_string())),
        _ => item.expected("true, false or the name of a service"),
    }
}

/// `None` within: plaintext.
fn tls(item: Item<'_>) -> Option<Option<UpstreamTls>> {
    match item.value {
        DeValue::Boolean(tls) => return Some(tls.then(UpstreamTls::default)),
        DeValue::Table(_) => {}
        _ => return item.expected("true, false or a table"),
    }
    let table = item.table(&keys::UPSTREAM_TLS)?;
    let (certificate, key) = (table.get("certificate"), table.get("key"));
    if let (Some(alone), None) | (None, Some(alone)) = (certificate, key) {
        let other = if alone.name == "key" { "certificate" } else { "key" };
        alone.note(|| format!("{} stands without {other}; add it", alone.name));
    }
    Some(Some(UpstreamTls {
        ca: table.get("ca").and_then(Item::path),
        identity: certificate.and_then(Item::path).zip(key.and_then(Item::path)),
        server_name: table.get("server_name").and_then(server_name),
    }))
}

fn server_name(item: Item<'_>) -> Option<String> {
    if item.string()?.parse::<std::net::IpAddr>().is_ok() {
        return item.string().map(str::to_owned);
    }
    if item.string()?.starts_with("*.") {
        return item.malformed(item.string()?, "a name that is dialled; write it without a wildcard");
    }
    item.host()
}

fn authority(item: Item<'_>) -> Option<Authority> {
    let what = "an authority; write a host, with a port if need be";
    let authority: Authority = item.parse(what)?;
    // A name and a password before the host would be sent to every backend.
    if authority.as_str().contains('@') { item.malformed(authority.as_str(), what) } else { Some(authority) }
}

/// `None`: never.
fn keepalive(table: &Table<'_>) -> Option<Duration> {
    let Some(item) = table.get("keepalive_time") else { return Some(Duration::from_secs(30)) };
    let time = item.duration().filter(|time| !time.is_zero())?;
    if time < KEEPALIVE_TIME_MIN {
        return item.problem(|| {
            format!("keepalive_time is {time:?}; backends take less than {KEEPALIVE_TIME_MIN:?} for abuse (gRFC A8)")
        });
    }
    Some(time)
}

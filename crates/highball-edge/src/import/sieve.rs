//! The last look: what a source can hold and our files cannot is taken out, so that the rest can be read.

use highball_channel::Target;
use highball_net::ListenAddr;

use super::report::Report;
use super::toml::{File, Table, Value};

/// A file that is not there, for a path that is empty: the edge does not start without it.
const MISSING: &str = "missing.pem";

/// Takes out listeners and clusters whose address cannot be one, and routes to such clusters.
pub(super) fn sieve(file: &mut File, report: &mut Report) {
    let text = |table: &Table, key: &str| match table.get(key) {
        Some(Value::Text(text)) => text.clone(),
        _ => String::new(),
    };
    file.listeners.retain(|table| {
        let address = text(table, "address");
        let is_address = address.parse::<ListenAddr>().is_ok();
        if !is_address {
            report.not_supported(1, format!("listener {address}"), "left out: this is no address");
        }
        is_address
    });
    let mut dropped = Vec::new();
    file.clusters.retain(|(name, table)| match Target::parse(&text(table, "target")) {
        Ok(_) => true,
        Err(error) => {
            report.not_supported(
                1,
                format!("cluster {name}"),
                format!("left out, with the routes to it: {error}"),
            );
            dropped.push(name.clone());
            false
        }
    });
    file.routes.retain(|route| !dropped.iter().any(|name| goes_to(route, name)));
    let clusters = file.clusters.iter_mut().map(|(_, table)| table);
    for table in file.listeners.iter_mut().chain(clusters) {
        if let Some(tls) = table.get("tls").cloned() {
            table.set("tls", filled(tls));
        }
    }
    if file.listeners.is_empty() && !file.routes.is_empty() {
        report.not_supported(1, "the text", "no address to listen at was translated: add [[listeners]]");
    }
}

fn goes_to(route: &Table, cluster: &str) -> bool {
    ["cluster", "split", "mirror"].into_iter().filter_map(|key| route.get(key)).any(|value| match value {
        Value::Text(text) => text == cluster,
        Value::Map(entries) => {
            entries.iter().any(|(key, value)| key == cluster || *value == Value::from(cluster))
        }
        _ => false,
    })
}

/// Without empty paths.
fn filled(value: Value) -> Value {
    match value {
        Value::Text(text) if text.is_empty() => MISSING.into(),
        Value::List(values) => Value::List(values.into_iter().map(filled).collect()),
        Value::Map(entries) => {
            Value::Map(entries.into_iter().map(|(key, value)| (key, filled(value))).collect())
        }
        value => value,
    }
}

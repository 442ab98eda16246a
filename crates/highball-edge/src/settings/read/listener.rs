//! `[[listeners]]`.

use std::collections::HashSet;

use highball_net::ListenAddr;
use highball_net::proxy_protocol::Network;
use highball_net::tls::{ClientAuth, PAIRS_MAX};

use super::table::{Item, Table};
use super::{LIST_MAX, keys};
use crate::settings::{Listener, Pair, Tls};

const NEEDED: &str = "needs certificate and key, such as certificate = \"tls.crt\", key = \"tls.key\"";

/// Reads a listener.
pub(super) fn listener(item: Item<'_>) -> Option<Listener> {
    let table = item.table(&keys::LISTENER)?;
    let address = table.required("address", "address = \"0.0.0.0:443\"");
    let wants_tls = table.get("tls");
    let tls = wants_tls.and_then(tls);
    let networks = table.get("proxy_protocol").and_then(|item| item.each(LIST_MAX, network));
    let listening = address.and_then(address_of)?;
    if let (None, ListenAddr::Tcp(_), false, Some(item)) =
        (wants_tls, &listening, listening.is_local(), address)
    {
        item.notes.warn(item.at, || {
            format!("{listening} speaks plaintext, and other machines can reach it; give it tls")
        });
    }
    Some(Listener { address: listening, tls, proxy_protocol: networks.unwrap_or_default() })
}

/// `IP:PORT` or `unix:PATH`; a relative path of a socket is relative to the file.
pub(super) fn address_of(item: Item<'_>) -> Option<ListenAddr> {
    let what = "an address; write IP:PORT, such as \"127.0.0.1:50051\", or unix:PATH";
    Some(match item.parse(what)? {
        ListenAddr::Unix(path) => ListenAddr::Unix(item.notes.path(path)),
        tcp => tcp,
    })
}

fn network(item: Item<'_>) -> Option<String> {
    item.parse::<Network>("a network; write one such as \"10.0.0.0/8\", without bits beyond the prefix")?;
    item.string().map(str::to_owned)
}

fn tls(item: Item<'_>) -> Option<Tls> {
    let table = item.table(&keys::TLS)?;
    let pairs = pairs(&table);
    let client_ca = table.get("client_ca").and_then(Item::path);
    let choices = [("required", ClientAuth::Required), ("optional", ClientAuth::Optional)];
    let client_auth = table.get("client_auth").and_then(|item| item.choice(&choices));
    if table.get("client_ca").is_none() {
        for item in ["client_auth", "crl"].into_iter().filter_map(|key| table.get(key)) {
            item.note(|| format!("{} needs client_ca, the file with the CAs of clients; add it", item.name));
        }
    }
    let default = if client_ca.is_some() { ClientAuth::Required } else { ClientAuth::None };
    Some(Tls {
        pairs: pairs?,
        strict_names: table.get("strict_names").and_then(Item::boolean).unwrap_or_default(),
        client_ca,
        client_auth: client_auth.unwrap_or(default),
        crl: table.get("crl").and_then(Item::path),
    })
}

fn pairs(table: &Table<'_>) -> Option<Vec<Pair>> {
    let Some(list) = table.get("pairs") else {
        return match (table.get("certificate"), table.get("key")) {
            (Some(certificate), Some(key)) => {
                let (certificate, key) = (certificate.path(), key.path());
                Some(vec![Pair { certificate: certificate?, key: key?, names: Vec::new() }])
            }
            _ => {
                table.problem(|| format!("tls {NEEDED}"));
                None
            }
        };
    };
    for item in ["certificate", "key"].into_iter().filter_map(|key| table.get(key)) {
        item.note(|| format!("{} stands beside pairs; move it into pairs", item.name));
    }
    let mut taken = HashSet::new();
    Some(list.list(PAIRS_MAX)?.into_iter().filter_map(|item| pair(item, &mut taken)).collect())
}

/// `taken` are the names of the pairs before.
fn pair(item: Item<'_>, taken: &mut HashSet<String>) -> Option<Pair> {
    let table = item.table(&keys::PAIR)?;
    let names = table.get("names").and_then(|item| item.each(LIST_MAX, Item::dns_name)).unwrap_or_default();
    for name in names.iter().filter(|name| taken.contains(*name)) {
        table.problem(|| format!("an earlier pair has the name {name} already; take it out of one of them"));
    }
    taken.extend(names.iter().cloned());
    let certificate = table.required("certificate", "certificate = \"tls.crt\"").and_then(Item::path);
    let key = table.required("key", "key = \"tls.key\"").and_then(Item::path);
    Some(Pair { certificate: certificate?, key: key?, names })
}

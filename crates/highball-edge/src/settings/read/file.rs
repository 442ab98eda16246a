//! The file as a whole, and what its parts say of each other.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use highball_net::ListenAddr;

use super::cluster::cluster;
use super::limits::limits;
use super::listener::{address_of, listener};
use super::name::{is_name, not_a_name};
use super::route::{Clusters, route};
use super::shadow::covers;
use super::table::{Item, Table};
use super::{CLUSTERS_MAX, LIST_MAX, LISTENERS_MAX, ROUTES_MAX};
use crate::settings::{Cluster, Listener, PathMatch, Route, Settings};

/// Threads.
const WORKERS_MAX: u64 = 1024;
/// Proxies in front.
const TRUSTED_HOPS_MAX: u64 = 32;

/// Addresses that are taken, and by which key.
type Taken<'a> = HashMap<String, &'a str>;

/// Reads the whole file. Every part is read, also when another cannot be.
pub(super) fn file(table: &Table<'_>) -> Option<Settings> {
    let mut taken = Taken::new();
    let listeners = listeners(table, &mut taken);
    let admin = own_address(table, "admin", &mut taken);
    let health = own_address(table, "health", &mut taken);
    let mut known = Clusters { names: Vec::new(), used: RefCell::default() };
    let clusters = clusters(table, &mut known);
    let routes = routes(table, &known);
    let descriptors = table.get("descriptors").and_then(|item| item.each(LIST_MAX, Item::path));
    let trusted_hops = trusted_hops(table);
    let limits = limits(table);
    warn_of_unused(table, &known);
    Some(Settings {
        workers: table.get("workers").and_then(|item| item.whole(1..=WORKERS_MAX)),
        admin,
        health,
        listeners: listeners?,
        clusters: clusters?,
        routes: routes?,
        descriptors: descriptors.unwrap_or_default(),
        limits,
        trusted_hops,
    })
}

fn listeners<'a>(table: &Table<'a>, taken: &mut Taken<'a>) -> Option<Vec<Listener>> {
    let items = table.required("listeners", "[[listeners]] with address = \"0.0.0.0:443\"")?;
    let mut listeners = Vec::new();
    for item in items.list(LISTENERS_MAX)? {
        if let Some(listener) = listener(item) {
            take(item.at_key("address"), &listener.address, taken);
            listeners.push(listener);
        }
    }
    Some(listeners)
}

/// `admin` and `health`.
fn own_address<'a>(table: &Table<'a>, key: &'static str, taken: &mut Taken<'a>) -> Option<ListenAddr> {
    let item = table.get(key)?;
    let address = address_of(item)?;
    take(item, &address, taken);
    Some(address)
}

/// Notes when an address is taken already. Port 0 never is: the system chooses another each time.
fn take<'a>(item: Item<'a>, address: &ListenAddr, taken: &mut Taken<'a>) {
    if matches!(address, ListenAddr::Tcp(address) if address.port() == 0) {
        return;
    }
    if let Some(earlier) = taken.insert(address.to_string(), item.name) {
        item.note(|| format!("{address} is taken by {earlier} already; choose another address"));
    }
}

fn trusted_hops(table: &Table<'_>) -> usize {
    table.get("trusted_hops").and_then(|item| item.whole(0..=TRUSTED_HOPS_MAX)).unwrap_or_default()
}

fn clusters<'a>(table: &Table<'a>, known: &mut Clusters<'a>) -> Option<BTreeMap<String, Cluster>> {
    let item =
        table.required("clusters", "[clusters.orders] with target = \"dns:///orders.internal:50051\"")?;
    let mut clusters = BTreeMap::new();
    for (at, entry) in item.entries(CLUSTERS_MAX)? {
        if !is_name(entry.name) {
            item.notes.problem(at, || not_a_name(entry.name));
        }
        known.names.push(entry.name);
        if let Some(cluster) = cluster(entry) {
            clusters.insert(entry.name.to_owned(), cluster);
        }
    }
    Some(clusters)
}

fn routes(table: &Table<'_>, known: &Clusters<'_>) -> Option<Vec<Route>> {
    let items = table.required("routes", "[[routes]] with cluster = \"orders\"")?;
    let mut routes: Vec<Route> = Vec::new();
    let mut names = HashMap::new();
    for (index, item) in items.list(ROUTES_MAX)?.into_iter().enumerate() {
        let Some(route) = route(item, index + 1, known) else { continue };
        if let Some(earlier) = names.insert(route.name.clone(), index + 1) {
            item.at_key("name")
                .note(|| format!("{} is the name of route {earlier} already; choose another", route.name));
        }
        if let Some(earlier) = routes.iter().find(|earlier| covers(earlier, &route)) {
            item.notes.warn(item.at, || {
                format!("{} is never reached: {} takes all of it; put it first", route.name, earlier.name)
            });
        }
        if route.deadline.is_some() && table.get("descriptors").is_none() {
            item.notes.warn(item.at_key("deadline").at, || {
                format!(
                    "deadline of {} applies to no method: no descriptors say which are unary; add them",
                    route.name
                )
            });
        }
        warn_of_surprises(&item, &route, index + 1);
        routes.push(route);
    }
    Some(routes)
}

/// What is allowed, and does something else than it seems to.
fn warn_of_surprises(item: &Item<'_>, route: &Route, number: usize) {
    let own = ["/grpc.health.v1.Health/", "grpc.health.v1.Health"];
    let asks = match &route.path {
        PathMatch::Exact(path) | PathMatch::Prefix(path) => path.starts_with(own[0]),
        PathMatch::Service(service) => service == own[1],
        PathMatch::Any => false,
    };
    if asks {
        item.notes.warn(item.at, || {
            format!(
                "{} is never reached: the edge answers grpc.health.v1.Health itself; remove it",
                route.name
            )
        });
    }
    let keeps = route.rate.is_some() || route.mirror.is_some();
    if keeps && route.name == format!("route-{number}") {
        item.notes.warn(item.at, || {
            format!(
                "{} keeps budgets or copies under its number, which changes when routes are added; give it a name",
                route.name
            )
        });
    }
}

fn warn_of_unused(table: &Table<'_>, known: &Clusters<'_>) {
    let Some(clusters) = table.get("clusters") else { return };
    let used = known.used.borrow();
    for name in known.names.iter().filter(|name| !used.contains(*name)) {
        clusters.notes.warn(clusters.at_key(name).at, || {
            format!("no route uses cluster {name}; remove it, or route to it")
        });
    }
}

//! `[[routes]]`.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use highball_core::Code;
use highball_server::Rates;
use toml::de::DeValue;

use super::name::{is_name, not_a_name};
use super::nearest::did_you_mean;
use super::table::{Item, Table};
use super::value::quoted;
use super::{LIST_MAX, conditions, keys, repeat, rewrite};
use crate::settings::{Fault, Mirror, Per, Rate, Route};

/// Of one entry of a split. The weights of all clusters fit 32 bits.
const WEIGHT_MAX: u64 = 1_000_000;

/// The names of the file's clusters, and which of them routes use.
#[derive(Debug)]
pub(super) struct Clusters<'a> {
    /// Those with problems too, so that a route to one of them is not a problem of its own.
    pub(super) names: Vec<&'a str>,
    pub(super) used: RefCell<BTreeSet<&'a str>>,
}

impl<'a> Clusters<'a> {
    /// The name of a cluster that is there. Where none is, that is the problem, not each route.
    fn find(&self, item: Item<'_>, name: &str) -> Option<&'a str> {
        if self.names.is_empty() {
            return None;
        }
        let found = self.names.iter().find(|known| **known == name);
        let Some(found) = found else {
            return item.problem(|| {
                let suggestion = did_you_mean(name, self.names.iter().copied());
                let fix = if suggestion.is_empty() { "; add it, or name one that is" } else { "" };
                format!("no [clusters.NAME] has the name {}{suggestion}{fix}", quoted(name))
            });
        };
        self.used.borrow_mut().insert(found);
        Some(found)
    }
}

/// Reads a route; `number` is its place among all, counted from 1.
pub(super) fn route(item: Item<'_>, number: usize, clusters: &Clusters<'_>) -> Option<Route> {
    let table = item.table(&keys::ROUTE)?;
    let name = match table.get("name") {
        None => Some(format!("route-{number}")),
        Some(item) => item.string().and_then(|name| match is_name(name) {
            true => Some(name.to_owned()),
            false => item.problem(|| not_a_name(name)),
        }),
    };
    let to = destinations(&table, clusters);
    let fault = table.get("fault").and_then(fault);
    let route = Route {
        name: String::new(),
        hosts: conditions::hosts(&table),
        path: conditions::path(&table),
        headers: table.get("headers").map(conditions::headers).unwrap_or_default(),
        to: Vec::new(),
        mirror: table.get("mirror").and_then(|item| mirror(item, clusters)),
        deadline: table.get("deadline").and_then(Item::some_time),
        stream_idle: table.get("stream_idle").and_then(Item::duration),
        repeat: repeat::repeat(&table),
        rate: table.get("rate").and_then(rate),
        request_headers: table.get("request_headers").and_then(rewrite::rewrite).unwrap_or_default(),
        response_headers: table.get("response_headers").and_then(rewrite::rewrite).unwrap_or_default(),
        fault,
    };
    Some(Route { name: name?, to: to?, ..route })
}

/// `cluster`, or `split`.
fn destinations(table: &Table<'_>, clusters: &Clusters<'_>) -> Option<Vec<(String, u32)>> {
    let Some(item) = table.one_of(&["cluster", "split"]) else {
        table.problem(|| "a route needs cluster or split, such as cluster = \"orders\"".to_owned());
        return None;
    };
    if item.name == "cluster" {
        let cluster = clusters.find(item, item.string()?)?;
        return Some(vec![(cluster.to_owned(), 1)]);
    }
    let entries = item.entries(LIST_MAX)?;
    let found = entries.len();
    let split: Vec<(String, u32)> = entries
        .into_iter()
        .filter_map(|(at, entry)| {
            let cluster = clusters.find(Item { at, ..entry }, entry.name);
            let weight = entry.whole(0..=WEIGHT_MAX);
            Some((cluster?.to_owned(), weight?))
        })
        .collect();
    if split.len() == found && split.iter().all(|(_, weight)| *weight == 0) {
        return item.problem(|| "all weights of split are 0; give one of them more".to_owned());
    }
    Some(split)
}

/// The name of a cluster, or a table.
fn mirror(item: Item<'_>, clusters: &Clusters<'_>) -> Option<Mirror> {
    let (name, table) = match item.value {
        DeValue::String(_) => (item, None),
        DeValue::Table(_) => {
            let table = item.table(&keys::MIRROR)?;
            (table.required("cluster", "cluster = \"shadow\"")?, Some(table))
        }
        _ => return item.expected("the name of a cluster, or a table"),
    };
    let percent = table.and_then(|table| table.get("percent")).and_then(Item::percent);
    let calls_max = table.and_then(|table| table.get("calls_max")).and_then(Item::count);
    let cluster = clusters.find(name, name.string()?)?;
    Some(Mirror {
        cluster: cluster.to_owned(),
        percent: percent.unwrap_or(100.0),
        calls_max: calls_max.unwrap_or(100),
    })
}

fn rate(item: Item<'_>) -> Option<Rate> {
    let table = item.table(&keys::RATE)?;
    let per_second = table.required("per_second", "per_second = 100").and_then(|item| {
        let (rate, least) = (item.positive()?, Rates::PER_SECOND_MIN);
        if rate >= least {
            Some(rate)
        } else {
            item.problem(|| format!("per_second is {rate}; it must be {least} or more"))
        }
    });
    let burst = table.get("burst").map(Item::count::<u32>);
    let per = match table.get("per") {
        Some(item) => per(item),
        None => Some(Per::Caller),
    };
    let (per_second, per) = (per_second?, per?);
    // A float beyond 32 bits becomes the largest.
    let burst = burst.unwrap_or(Some((per_second.ceil() as u32).max(1)))?;
    Some(Rate { rates: Rates::new(per_second, burst), per })
}

fn per(item: Item<'_>) -> Option<Per> {
    let text = item.string()?;
    match (text, text.strip_prefix("header:")) {
        ("caller", _) => Some(Per::Caller),
        ("address", _) => Some(Per::Address),
        (_, Some(name)) => item.header_named(name).map(Per::Header),
        _ => item.malformed(text, "a way to tell callers; write \"caller\", \"address\" or \"header:NAME\""),
    }
}

fn fault(item: Item<'_>) -> Option<Fault> {
    let table = item.table(&keys::FAULT)?;
    item.notes.warn(item.at, || "this file injects faults; take them out when the test is over".to_owned());
    let (delay, abort) = (table.get("delay"), table.get("abort"));
    if delay.is_none() && abort.is_none() {
        table.problem(|| "fault needs delay or abort; add one, or leave fault out".to_owned());
    }
    let percent = |key, what, wanted: Option<Item<'_>>| -> Option<f64> {
        let Some(item) = table.get(key) else { return Some(100.0) };
        if wanted.is_none() {
            item.note(|| format!("{key} stands without {what}; add {what}, or leave it out"));
        }
        item.percent()
    };
    let delay_percent = percent("delay_percent", "delay", delay);
    let abort_percent = percent("abort_percent", "abort", abort);
    let delay: Option<Duration> = delay.and_then(Item::some_time);
    let abort: Option<Code> = abort.and_then(Item::code);
    Some(Fault { delay: delay.zip(delay_percent), abort: abort.zip(abort_percent) })
}

//! Worlds with a name: what a channel promises in each of the situations that every operator knows.

mod change;
mod failing;
mod outage;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use highball::Code;

use crate::ledger::{Book, Ended};
use crate::plan::Plan;
use crate::world;

/// Each scenario is run with these, because one world proves little.
const SEEDS: Range<u64> = 1..4;

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Runs the plan that `plan` makes of each seed, and lets `judge` look at what is left.
fn each(plan: impl Fn(u64) -> Plan, judge: impl Fn(u64, &Book)) {
    for seed in SEEDS {
        let book = world::run(plan(seed));
        book.expect_clean(&format!("seed {seed}"));
        judge(seed, &book);
    }
}

impl Book {
    /// Calls of the plan, without those that look whether all is well again.
    fn planned(&self) -> impl Iterator<Item = &Ended> {
        self.ended.iter().filter(|ended| ended.id < crate::client::PROBES)
    }

    /// Of the plan's calls that began then.
    fn begun(&self, during: Range<Duration>) -> impl Iterator<Item = &Ended> {
        self.planned().filter(move |ended| during.contains(&ended.began))
    }

    fn failed(&self, during: Range<Duration>) -> Vec<&Ended> {
        self.begun(during).filter(|ended| ended.code != Some(Code::Ok)).collect()
    }

    /// Attempts of the plan's calls that came to each server then.
    fn load(&self, during: Range<Duration>) -> BTreeMap<&str, usize> {
        let mut load = BTreeMap::new();
        let planned = self.seen.range(..crate::client::PROBES).flat_map(|(_, seen)| seen);
        for seen in planned.filter(|seen| during.contains(&seen.at)) {
            *load.entry(seen.host.as_str()).or_default() += 1;
        }
        load
    }
}

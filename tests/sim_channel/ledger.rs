//! What happened in a world: the log, and what must not have happened.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use highball::Code;

/// Written by every host of one world.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Book>);

/// What a world leaves behind.
#[derive(Debug, Default, Clone)]
pub(crate) struct Book {
    /// Line by line; equal for two runs of a seed.
    pub(crate) log: Vec<String>,
    /// What a checker found.
    pub(crate) violations: Vec<String>,
    /// Calls that are over.
    pub(crate) ended: Vec<Ended>,
    /// Attempts that reached the code of a service, by the number of their call.
    pub(crate) seen: BTreeMap<u64, Vec<Seen>>,
    /// Attempts to connect.
    pub(crate) dials: Vec<Dial>,
}

/// How a call ended.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) id: u64,
    pub(crate) channel: usize,
    /// When it began.
    pub(crate) began: Duration,
    /// `None` for a call that its caller dropped.
    pub(crate) code: Option<Code>,
    /// The server that answered OK.
    pub(crate) host: Option<String>,
}

/// An attempt as a service saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) at: Duration,
    pub(crate) host: String,
    /// Attempts before this one, as the client says.
    pub(crate) previous: u32,
}

/// An attempt to connect.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dial {
    pub(crate) at: Duration,
    pub(crate) channel: usize,
}

/// Of the world, when it is asked on a host.
pub(crate) fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

impl Ledger {
    pub(crate) fn note(&self, line: impl fmt::Display) {
        self.note_at(now(), line);
    }

    pub(crate) fn note_at(&self, at: Duration, line: impl fmt::Display) {
        self.book().log.push(format!("{at:>9.3?} {line}"));
    }

    pub(crate) fn violation(&self, what: impl fmt::Display) {
        let line = format!("{:>9.3?} VIOLATION {what}", now());
        let mut book = self.book();
        book.log.push(line.clone());
        book.violations.push(line);
    }

    pub(crate) fn ended(&self, ended: Ended) {
        self.book().ended.push(ended);
    }

    pub(crate) fn seen(&self, id: u64, seen: Seen) {
        self.book().seen.entry(id).or_default().push(seen);
    }

    pub(crate) fn dialled(&self, dial: Dial) {
        self.book().dials.push(dial);
    }

    pub(crate) fn close(&self) -> Book {
        self.book().clone()
    }

    pub(crate) fn oks(&self, channel: usize) -> usize {
        let is_ok = |ended: &&Ended| ended.channel == channel && ended.code == Some(Code::Ok);
        self.book().ended.iter().filter(is_ok).count()
    }

    pub(crate) fn seen_of(&self, id: u64) -> Vec<Seen> {
        self.book().seen.get(&id).cloned().unwrap_or_default()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().expect("nothing panics while holding it")
    }
}

/// Lines of the log that are shown with a violation.
const TAIL: usize = 80;

impl Book {
    /// Panics with what led to it when a checker found something.
    pub(crate) fn expect_clean(&self, what: &str) {
        let Some(first) = self.violations.first() else { return };
        let end = self.log.iter().position(|line| line == first).map_or(self.log.len(), |at| at + 1);
        let tail = self.log[end.saturating_sub(TAIL)..end].join("\n");
        panic!("{what}:\n{}\n\nthe log up to the first:\n{tail}", self.violations.join("\n"));
    }

    /// Calls that did not end OK.
    pub(crate) fn failed_at_all(&self) -> usize {
        self.ended.iter().filter(|ended| ended.code != Some(Code::Ok)).count()
    }
}

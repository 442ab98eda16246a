//! Groups of backends by priority: the first that is not in TRANSIENT_FAILURE is used.
//!
//! All groups are kept connected (except by lazy policies), so that failing over needs no handshake. Calls go back as soon
//! as the better group can take them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::load::Tuning;
use super::random::mix;
use super::{Policy, Published};
use crate::backend::Backend;

type Make = Box<dyn Fn(u64) -> Box<dyn Policy> + Send>;

/// One policy per priority, because policies remember: turns, rings. As many as there are priorities.
pub(super) struct Priorities {
    make: Make,
    /// Answers questions about the kind of policy, and builds for no backends at all.
    any: Box<dyn Policy>,
    groups: BTreeMap<u32, Box<dyn Policy>>,
    tuning: Arc<Tuning>,
    seed: u64,
}

impl Priorities {
    pub(super) fn new(make: Make, tuning: Arc<Tuning>, seed: u64) -> Self {
        Self { any: make(seed), make, groups: BTreeMap::new(), tuning, seed }
    }
}

impl Policy for Priorities {
    fn name(&self) -> &'static str {
        self.any.name()
    }

    fn is_lazy(&self) -> bool {
        self.any.is_lazy()
    }

    fn build(&mut self, backends: &[Arc<Backend>], now: Instant) -> Published {
        let mut members: BTreeMap<u32, Vec<Arc<Backend>>> = BTreeMap::new();
        for backend in backends {
            backend.load.tune(&self.tuning);
            let priority = backend.endpoint().attributes.priority;
            members.entry(priority).or_default().push(Arc::clone(backend));
        }
        self.groups.retain(|priority, _| members.contains_key(priority));
        let mut first = None;
        for (priority, members) in members {
            let make = || (self.make)(mix(self.seed ^ u64::from(priority)));
            let published = self.groups.entry(priority).or_insert_with(make).build(&members, now);
            if published.state != crate::State::TransientFailure {
                return published;
            }
            // When every group fails, calls fail as they do in the first.
            first.get_or_insert(published);
        }
        first.unwrap_or_else(|| self.any.build(&[], now))
    }
}

//! `round_robin`: turns, beginning at a random backend so that clients that start together do not march in step.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::time::Instant;

use super::pool::{Fit, publish, search};
use super::slow_start::{factor, reweigh_after};
use super::stride::Stride;
use super::{Ask, Pick, Picker, Policy, Published};
use crate::backend::Backend;
use crate::service_config::balancing::SlowStart;

/// Even turns, except for backends that are eased in.
#[derive(Debug)]
pub(super) struct RoundRobin {
    slow_start: Option<SlowStart>,
    sequence: Arc<AtomicU64>,
}

impl RoundRobin {
    pub(super) fn new(slow_start: Option<SlowStart>, seed: u64) -> Self {
        Self { slow_start, sequence: start(seed) }
    }
}

impl Policy for RoundRobin {
    fn name(&self) -> &'static str {
        "round_robin"
    }

    fn build(&mut self, backends: &[Arc<Backend>], now: Instant) -> Published {
        publish(backends, |ready| {
            let slow_start = self.slow_start.as_ref();
            let rebuild_after = reweigh_after(slow_start, &ready, now);
            let (stride, reason) = if rebuild_after.is_some() {
                let weights: Vec<_> = ready.iter().map(|backend| factor(slow_start, backend, now)).collect();
                (Stride::weighted(&weights, &self.sequence), "round_robin, slow start")
            } else {
                (Stride::even(ready.len(), &self.sequence), "round_robin")
            };
            (Arc::new(Turns { ready, stride, reason }), rebuild_after)
        })
    }
}

/// Where turns begin: far enough from the end of a `u64` to count for centuries.
pub(super) fn start(seed: u64) -> Arc<AtomicU64> {
    Arc::new(AtomicU64::new(seed >> 16))
}

/// Whoever has the turn, or the next that fits.
pub(super) struct Turns {
    pub(super) ready: Vec<Arc<Backend>>,
    pub(super) stride: Stride,
    pub(super) reason: &'static str,
}

impl Picker for Turns {
    fn pick(&self, ask: &Ask<'_>) -> Pick {
        let turn = self.stride.next();
        match self.ready.get(turn) {
            Some(backend) if Fit::of(backend, ask) == Fit::Good => Pick::To(Arc::clone(backend), self.reason),
            _ => search(&self.ready, turn, ask, |_| 0.0),
        }
    }
}

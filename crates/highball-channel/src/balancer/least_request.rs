//! `least_request_experimental` (gRFC A48): of a few backends drawn at random, the one with the fewest calls in flight.

use std::sync::Arc;

use tokio::time::Instant;

use super::pool::{Fit, publish, search};
use super::random::{below, mix};
use super::slow_start::{factor, reweigh_after};
use super::{Ask, Pick, Picker, Policy, Published};
use crate::backend::Backend;
use crate::service_config::balancing::SlowStart;

/// More are not drawn, whatever the config says (gRFC A48).
const CHOICE_COUNT_MAX: u32 = 10;

/// Draws `choiceCount` backends per call.
#[derive(Debug)]
pub(super) struct LeastRequest {
    choice_count: u32,
    slow_start: Option<SlowStart>,
}

impl LeastRequest {
    pub(super) fn new(choice_count: u32, slow_start: Option<SlowStart>) -> Self {
        Self { choice_count: choice_count.clamp(2, CHOICE_COUNT_MAX), slow_start }
    }
}

impl Policy for LeastRequest {
    fn name(&self) -> &'static str {
        "least_request_experimental"
    }

    fn build(&mut self, backends: &[Arc<Backend>], now: Instant) -> Published {
        publish(backends, |ready| {
            let rebuild_after = reweigh_after(self.slow_start.as_ref(), &ready, now);
            let slow_start = self.slow_start.clone().filter(|_| rebuild_after.is_some());
            let choice_count = self.choice_count;
            (Arc::new(Fewest { ready, choice_count, slow_start }), rebuild_after)
        })
    }
}

struct Fewest {
    ready: Vec<Arc<Backend>>,
    choice_count: u32,
    /// While somebody is eased in.
    slow_start: Option<SlowStart>,
}

impl Fewest {
    fn cost(&self, backend: &Backend) -> f64 {
        let active = backend.load.active() as f64 + 1.0;
        match &self.slow_start {
            None => active,
            config => active / factor(config.as_ref(), backend, Instant::now()),
        }
    }
}

impl Picker for Fewest {
    fn pick(&self, ask: &Ask<'_>) -> Pick {
        let mut bits = ask.random;
        let mut best: Option<(f64, &Arc<Backend>)> = None;
        // With replacement; of equals the first drawn wins (gRFC A48).
        for _ in 0..self.choice_count {
            let drawn = self.ready.get(below(bits, self.ready.len()));
            bits = mix(bits);
            let Some(backend) = drawn.filter(|backend| Fit::of(backend, ask) == Fit::Good) else { continue };
            let cost = self.cost(backend);
            if best.is_none_or(|(lowest, _)| cost < lowest) {
                best = Some((cost, backend));
            }
        }
        match best {
            Some((_, backend)) => Pick::To(Arc::clone(backend), reason(self.choice_count)),
            None => search(&self.ready, below(bits, self.ready.len()), ask, |backend| self.cost(backend)),
        }
    }
}

fn reason(choice_count: u32) -> &'static str {
    match choice_count {
        2 => "fewest active of 2",
        3 => "fewest active of 3",
        4 => "fewest active of 4",
        5 => "fewest active of 5",
        6 => "fewest active of 6",
        7 => "fewest active of 7",
        8 => "fewest active of 8",
        9 => "fewest active of 9",
        _ => "fewest active of 10",
    }
}

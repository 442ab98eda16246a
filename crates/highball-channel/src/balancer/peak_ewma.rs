//! `peak_ewma`: of two backends drawn at random, the one where an answer should take less time, counting the calls it would
//! wait behind. Two choices are enough to avoid the worst and too few to make everybody run to the best (power of two choices,
//! as in Finagle and Linkerd).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::pool::{Fit, publish, search};
use super::random::below;
use super::slow_start::{factor, reweigh_after};
use super::{Ask, Pick, Picker, Policy, Published};
use crate::backend::Backend;
use crate::service_config::balancing::SlowStart;

/// Compares latencies that fade with `decay`.
#[derive(Debug)]
pub(super) struct PeakEwma {
    decay: Duration,
    default_rtt: Duration,
    slow_start: Option<SlowStart>,
}

impl PeakEwma {
    pub(super) fn new(decay: Duration, default_rtt: Duration, slow_start: Option<SlowStart>) -> Self {
        Self { decay, default_rtt, slow_start }
    }
}

impl Policy for PeakEwma {
    fn name(&self) -> &'static str {
        "peak_ewma"
    }

    fn build(&mut self, backends: &[Arc<Backend>], now: Instant) -> Published {
        publish(backends, |ready| {
            let rebuild_after = reweigh_after(self.slow_start.as_ref(), &ready, now);
            let slow_start = self.slow_start.clone().filter(|_| rebuild_after.is_some());
            let (decay, default_rtt) = (self.decay, self.default_rtt);
            (Arc::new(Cheaper { ready, decay, default_rtt, slow_start }), rebuild_after)
        })
    }
}

struct Cheaper {
    ready: Vec<Arc<Backend>>,
    decay: Duration,
    default_rtt: Duration,
    /// While somebody is eased in.
    slow_start: Option<SlowStart>,
}

impl Cheaper {
    fn cost(&self, backend: &Backend, now: Instant) -> f64 {
        let cost = backend.load.cost(now, self.decay, self.default_rtt);
        cost / factor(self.slow_start.as_ref(), backend, now)
    }

    /// Two different ones, or the only one twice.
    fn draw(&self, random: u64) -> Option<(&Arc<Backend>, &Arc<Backend>)> {
        let count = self.ready.len();
        // Each half of the bits chooses one.
        let first = below(random, count);
        let second = below(random << 32, count.saturating_sub(1).max(1));
        let second = if second >= first && count > 1 { second + 1 } else { second };
        Some((self.ready.get(first)?, self.ready.get(second)?))
    }
}

impl Picker for Cheaper {
    fn pick(&self, ask: &Ask<'_>) -> Pick {
        let now = Instant::now();
        let Some((one, other)) = self.draw(ask.random) else { return Pick::Queue };
        let fits = |backend| Fit::of(backend, ask) == Fit::Good;
        let chosen = match (fits(one), fits(other)) {
            (true, true) if self.cost(other, now) < self.cost(one, now) => other,
            (true, _) => one,
            (false, true) => other,
            (false, false) => {
                let start = below(ask.random, self.ready.len());
                return search(&self.ready, start, ask, |backend| self.cost(backend, now));
            }
        };
        Pick::To(Arc::clone(chosen), "lower cost of 2")
    }
}

//! `weighted_round_robin` (gRFC A58): turns in proportion to what backends report that they can do.
//!
//! With fewer than two usable reports it is a round robin. There the weights a resolver gave the endpoints count, if it gave
//! any; where backends report, they know better.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::time::Instant;

use super::pool::publish;
use super::round_robin::{Turns, start};
use super::slow_start::factor;
use super::stride::Stride;
use super::{Policy, Published};
use crate::backend::Backend;
use crate::service_config::balancing::{SlowStart, WeightedRoundRobinConfig};

/// Weights are not looked at more often, whatever the config says (gRFC A58).
const UPDATE_PERIOD_MIN: Duration = Duration::from_millis(100);

/// Weighs anew every `weightUpdatePeriod`.
#[derive(Debug)]
pub(super) struct WeightedRoundRobin {
    config: WeightedRoundRobinConfig,
    slow_start: Option<SlowStart>,
    sequence: Arc<AtomicU64>,
}

impl WeightedRoundRobin {
    pub(super) fn new(config: WeightedRoundRobinConfig, slow_start: Option<SlowStart>, seed: u64) -> Self {
        Self { config, slow_start, sequence: start(seed) }
    }

    fn weigh(&self, ready: &[Arc<Backend>], now: Instant) -> (Vec<f64>, &'static str) {
        let reported: Vec<_> = ready.iter().map(|backend| backend.load.weight(now)).collect();
        let known: Vec<f64> = reported.iter().copied().flatten().collect();
        let (mut weights, reason): (Vec<_>, _) = if known.len() < 2 {
            let given = |backend: &Arc<Backend>| f64::from(backend.endpoint().attributes.weight.unwrap_or(1));
            (ready.iter().map(given).collect(), "round_robin: fewer than two endpoints report their load")
        } else {
            // Who does not report is taken to be like the others.
            let mean = known.iter().sum::<f64>() / known.len() as f64;
            (reported.into_iter().map(|weight| weight.unwrap_or(mean)).collect(), "weighted_round_robin")
        };
        for (weight, backend) in weights.iter_mut().zip(ready) {
            *weight *= factor(self.slow_start.as_ref(), backend, now);
        }
        (weights, reason)
    }
}

impl Policy for WeightedRoundRobin {
    fn name(&self) -> &'static str {
        "weighted_round_robin"
    }

    fn build(&mut self, backends: &[Arc<Backend>], now: Instant) -> Published {
        publish(backends, |ready| {
            let (weights, reason) = self.weigh(&ready, now);
            let stride = Stride::weighted(&weights, &self.sequence);
            let again = self.config.weight_update_period.max(UPDATE_PERIOD_MIN);
            (Arc::new(Turns { ready, stride, reason }), Some(again))
        })
    }
}

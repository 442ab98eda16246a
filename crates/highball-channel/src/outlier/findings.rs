//! Who stands out, by the counts of one interval.

use std::sync::Arc;

use super::Why;
use crate::backend::Backend;
use crate::service_config::balancing::{FailurePercentage, SuccessRate};

/// What one backend did in one interval.
#[derive(Debug)]
pub(super) struct Sample {
    backend: Arc<Backend>,
    successes: u64,
    failures: u64,
}

/// A backend that stands out.
pub(super) type Finding = (Arc<Backend>, Why);

impl Sample {
    /// Takes the counts; they begin again at zero.
    pub(super) fn take(backend: &Arc<Backend>) -> Self {
        let (successes, failures) = backend.load.take_counts();
        Self { backend: Arc::clone(backend), successes, failures }
    }

    fn volume(&self) -> u64 {
        self.successes + self.failures
    }

    fn success_rate(&self) -> f64 {
        self.successes as f64 / self.volume().max(1) as f64
    }

    fn has(&self, volume: u32) -> bool {
        self.volume() >= u64::from(volume.max(1))
    }
}

/// gRFC A50, "Success Rate Algorithm".
pub(super) fn success_rates(config: &SuccessRate, samples: &[Sample]) -> Vec<Finding> {
    let busy: Vec<_> = samples.iter().filter(|sample| sample.has(config.request_volume)).collect();
    if busy.is_empty() || (busy.len() as u64) < u64::from(config.minimum_hosts) {
        return Vec::new();
    }
    let hosts = busy.len() as f64;
    let mean = busy.iter().map(|sample| sample.success_rate()).sum::<f64>() / hosts;
    // Of the whole population: these are all the backends there are, not a sample of them.
    let variance = busy.iter().map(|sample| (sample.success_rate() - mean).powi(2)).sum::<f64>() / hosts;
    let required = mean - variance.sqrt() * f64::from(config.stdev_factor) / 1_000.0;
    busy.into_iter()
        .filter(|sample| sample.success_rate() < required)
        .map(|sample| (Arc::clone(&sample.backend), Why::SuccessRate((sample.success_rate() * 100.0) as u32)))
        .collect()
}

/// gRFC A50, "Failure Percentage Algorithm".
pub(super) fn failure_percentages(config: &FailurePercentage, samples: &[Sample]) -> Vec<Finding> {
    if (samples.len() as u64) < u64::from(config.minimum_hosts) {
        return Vec::new();
    }
    samples
        .iter()
        .filter(|sample| sample.has(config.request_volume))
        .filter(|sample| sample.failures * 100 > u64::from(config.threshold) * sample.volume())
        .map(|sample| {
            let percent = sample.failures * 100 / sample.volume();
            (Arc::clone(&sample.backend), Why::FailurePercentage(percent as u32))
        })
        .collect()
}

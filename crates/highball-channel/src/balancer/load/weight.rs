//! The weight a backend reports of itself (gRFC A58, "Subchannel Weights"; gRFC A114).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::orca::OrcaReport;
use crate::service_config::balancing::WeightedRoundRobinConfig;

/// Stamps are nanoseconds; 0 is never.
#[derive(Debug, Default)]
pub(super) struct Weight {
    /// `f64` bits.
    value: AtomicU64,
    updated: AtomicU64,
    non_empty_since: AtomicU64,
}

impl Weight {
    pub(super) fn update(&self, report: &OrcaReport, config: &WeightedRoundRobinConfig, stamp: u64) {
        let Some(weight) = weight_of(report, config) else { return };
        self.value.store(weight.to_bits(), Ordering::Relaxed);
        self.updated.store(stamp, Ordering::Relaxed);
        // Only the first report begins the blackout; who loses the race lost it by a moment.
        let _first = self.non_empty_since.compare_exchange(0, stamp, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn read(&self, config: &WeightedRoundRobinConfig, stamp: u64) -> Option<f64> {
        let since = self.non_empty_since.load(Ordering::Relaxed);
        if since == 0 {
            return None;
        }
        let age = Duration::from_nanos(stamp.saturating_sub(self.updated.load(Ordering::Relaxed)));
        if age >= config.weight_expiration_period {
            // The next report begins another blackout.
            self.restart();
            return None;
        }
        let reporting_for = Duration::from_nanos(stamp.saturating_sub(since));
        (reporting_for >= config.blackout_period).then(|| f64::from_bits(self.value.load(Ordering::Relaxed)))
    }

    pub(super) fn restart(&self) {
        self.non_empty_since.store(0, Ordering::Relaxed);
    }
}

/// Queries per second by utilization, where errors count as utilization. `None` for a report that says too little.
fn weight_of(report: &OrcaReport, config: &WeightedRoundRobinConfig) -> Option<f64> {
    let qps = positive(report.qps)?;
    let mut utilization = utilization_of(report, &config.metric_names)?;
    utilization += report.eps.max(0.0) / qps * config.error_utilization_penalty;
    positive(qps / utilization)
}

fn utilization_of(report: &OrcaReport, names: &[String]) -> Option<f64> {
    positive(report.application_utilization)
        .or_else(|| names.iter().filter_map(|name| positive(report.metric(name)?)).max_by(f64::total_cmp))
        .or_else(|| positive(report.cpu_utilization))
}

/// gRFC A114: zero, negative and NaN are as good as missing.
fn positive(value: f64) -> Option<f64> {
    (value.is_finite() && value > 0.0).then_some(value)
}

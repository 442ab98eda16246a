//! What the service config asks of the bookkeeping.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::service_config::balancing::{Balancing, PolicyConfig, WeightedRoundRobinConfig};

/// Calls one backend is sent at the same time by default: Envoy's `max_requests`.
pub(crate) const REQUESTS_MAX: usize = 1024;

/// Shared by all backends of a channel; a new one for every change of the service config.
#[derive(Debug, Clone)]
pub(crate) struct Tuning {
    /// How fast measured latencies are forgotten.
    pub(crate) decay: Duration,
    /// What a backend is taken to need until it was measured.
    pub(crate) default_rtt: Duration,
    /// How reports become weights; `None` ignores them.
    pub(crate) weighted: Option<WeightedRoundRobinConfig>,
    /// Failures in a row that ring the alarm.
    pub(crate) consecutive_failures: Option<u32>,
    /// The circuit breaker, `endpoint_calls_max` in the settings: calls one backend is sent at the same time.
    pub(crate) requests_max: usize,
    /// Rings when a backend has failed [`consecutive_failures`](Self::consecutive_failures) times in a row: ask the detector.
    pub(crate) alarm: Arc<Notify>,
}

impl Tuning {
    /// As the service config says, with its defaults filled in ([`effective`](crate::balancer::effective)).
    pub(crate) fn new(balancing: &Balancing, requests_max: usize, alarm: Arc<Notify>) -> Arc<Self> {
        let mut tuning = Self {
            consecutive_failures: balancing.outlier.as_ref().and_then(|outlier| outlier.consecutive_failures),
            requests_max,
            alarm,
            ..Self::default()
        };
        match &balancing.policy {
            PolicyConfig::PeakEwma { decay, default_rtt } => {
                tuning.decay = *decay;
                tuning.default_rtt = *default_rtt;
            }
            PolicyConfig::WeightedRoundRobin(config) => tuning.weighted = Some(config.clone()),
            _ => {}
        }
        Arc::new(tuning)
    }
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            decay: Duration::from_secs(10),
            default_rtt: Duration::from_millis(30),
            weighted: None,
            consecutive_failures: None,
            requests_max: REQUESTS_MAX,
            alarm: Arc::default(),
        }
    }
}

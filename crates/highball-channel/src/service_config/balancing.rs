//! `loadBalancingConfig`, read.

use std::time::Duration;

/// A policy with what wraps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Balancing {
    /// The innermost policy.
    pub policy: PolicyConfig,
    /// `outlier_detection_experimental` around it.
    pub outlier: Option<OutlierConfig>,
    /// `random_subsetting_experimental` around it: how many endpoints are used (gRFC A68).
    pub subset: Option<u32>,
    /// Ours: how endpoints that have just become ready are eased in.
    pub slow_start: Option<SlowStart>,
}

/// A leaf policy.
#[derive(Debug, Clone, PartialEq)]
pub enum PolicyConfig {
    /// `pick_first` (gRFC A62).
    PickFirst {
        /// `shuffleAddressList`, default no.
        shuffle: bool,
    },
    /// `round_robin`.
    RoundRobin,
    /// `least_request_experimental` (gRFC A48).
    LeastRequest {
        /// `choiceCount`: 2 to 10, default 2.
        choice_count: u32,
    },
    /// `ring_hash_experimental` (gRFC A42, A76).
    RingHash(RingHashConfig),
    /// `weighted_round_robin` (gRFC A58, A114).
    WeightedRoundRobin(WeightedRoundRobinConfig),
    /// `peak_ewma`, ours.
    PeakEwma {
        /// How fast the past is forgotten. Default 10 s.
        decay: Duration,
        /// What an endpoint is taken to need until it was measured. Default 30 ms.
        default_rtt: Duration,
    },
}

/// `ring_hash_experimental`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingHashConfig {
    /// `minRingSize`, default 1,024.
    pub ring_size_min: u64,
    /// `maxRingSize`, default and cap 4,096.
    pub ring_size_max: u64,
    /// `requestHashHeader`; without one each call hashes at random.
    pub header: Option<http::HeaderName>,
}

/// `weighted_round_robin`.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightedRoundRobinConfig {
    /// `blackoutPeriod`, default 10 s.
    pub blackout_period: Duration,
    /// `weightExpirationPeriod`, default 3 min.
    pub weight_expiration_period: Duration,
    /// `weightUpdatePeriod`, default 1 s, at least 100 ms.
    pub weight_update_period: Duration,
    /// `errorUtilizationPenalty`, default 1.0, not negative.
    pub error_utilization_penalty: f64,
    /// `metricNamesForComputingUtilization` (gRFC A114), default none.
    pub metric_names: Vec<String>,
    /// `enableOobLoadReport`, default no.
    pub oob_load_report: bool,
    /// `oobReportingPeriod`, default 10 s.
    pub oob_reporting_period: Duration,
}

/// `outlier_detection_experimental` (gRFC A50), and consecutive failures, ours.
#[derive(Debug, Clone, PartialEq)]
pub struct OutlierConfig {
    /// `interval`, default 10 s.
    pub interval: Duration,
    /// `baseEjectionTime`, default 30 s.
    pub base_ejection_time: Duration,
    /// `maxEjectionTime`, default the larger of 300 s and the base.
    pub max_ejection_time: Duration,
    /// `maxEjectionPercent`, default 10; one may always be ejected.
    pub max_ejection_percent: u32,
    /// `successRateEjection`.
    pub success_rate: Option<SuccessRate>,
    /// `failurePercentageEjection`.
    pub failure_percentage: Option<FailurePercentage>,
    /// `consecutiveFailures`, ours: ejected at once after so many in a row.
    pub consecutive_failures: Option<u32>,
}

/// `successRateEjection`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuccessRate {
    /// Thousandths of a standard deviation below the mean, default 1,900.
    pub stdev_factor: u32,
    /// Per cent of findings that are acted on, default 100.
    pub enforcement_percentage: u32,
    /// Hosts with enough requests, default 5.
    pub minimum_hosts: u32,
    /// What is enough, default 100.
    pub request_volume: u32,
}

/// `failurePercentageEjection`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailurePercentage {
    /// Per cent of failures, default 85.
    pub threshold: u32,
    /// Per cent of findings that are acted on, default 100.
    pub enforcement_percentage: u32,
    /// Hosts with enough requests, default 5.
    pub minimum_hosts: u32,
    /// What is enough, default 50.
    pub request_volume: u32,
}

/// How endpoints that have just become ready are eased in: weight times max(`min_weight_percent`, (age/window)^(1/aggression)).
#[derive(Debug, Clone, PartialEq)]
pub struct SlowStart {
    /// How long. No default: without it there is no slow start.
    pub window: Duration,
    /// Default 1.0, linear.
    pub aggression: f64,
    /// Default 10.
    pub min_weight_percent: u32,
}

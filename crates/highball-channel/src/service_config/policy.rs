//! Reads `loadBalancingConfig`: the first policy of a list that is known (gRFC A24).

use std::time::Duration;

use serde_json::Value;

use super::balancing::{
    Balancing, FailurePercentage, OutlierConfig, PolicyConfig, RingHashConfig, SlowStart, SuccessRate,
    WeightedRoundRobinConfig,
};
use super::json::{Object, Read, ServiceConfigError};
use super::json::{
    boolean, duration, each, list, number, object, optional, percent, required, some_time, string, whole,
    whole_u32,
};

/// Names of the policies, as the service config spells them.
const PICK_FIRST: &str = "pick_first";
const ROUND_ROBIN: &str = "round_robin";
const LEAST_REQUEST: &str = "least_request_experimental";
const RING_HASH: &str = "ring_hash_experimental";
const WEIGHTED_ROUND_ROBIN: &str = "weighted_round_robin";
const PEAK_EWMA: &str = "peak_ewma";
const OUTLIER_DETECTION: &str = "outlier_detection_experimental";
const RANDOM_SUBSETTING: &str = "random_subsetting_experimental";

const KNOWN: &str = "pick_first, round_robin, weighted_round_robin, least_request_experimental, \
                     ring_hash_experimental, peak_ewma, outlier_detection_experimental, \
                     random_subsetting_experimental";

/// Of a choice count; more counts as this (gRFC A48).
const CHOICE_COUNT_MAX: u64 = 10;
/// Of a ring's size, as the config may say it (gRFC A42).
const RING_SIZE_MAX: u64 = 8 << 20;
/// What a ring's size is cut to (gRFC A42).
const RING_SIZE_CAP: u64 = 4096;
/// What the weights of `weighted_round_robin` are never computed more often than (gRFC A58).
const WEIGHT_UPDATE_PERIOD_MIN: Duration = Duration::from_millis(100);
/// The shortest sweep for outliers. gRFC A50 allows zero, which would be a busy loop.
const SWEEP_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Reads a list of policies, wrappers and all.
pub(super) fn balancing(value: &Value) -> Read<Balancing> {
    let mut unknown = Vec::new();
    for (index, entry) in list(value)?.iter().enumerate() {
        let at_index = |error: ServiceConfigError| error.at_index(index);
        let entry = object(entry).map_err(at_index)?;
        let mut policies = entry.iter();
        let (Some((name, config)), None) = (policies.next(), policies.next()) else {
            let problem = format!("has {} policies; each entry has exactly one", entry.len());
            return Err(at_index(ServiceConfigError::new(problem)));
        };
        match policy(name, config).map_err(|error| at_index(error.in_field(name)))? {
            // What comes after the first known policy is for other clients (gRFC A24).
            Some(balancing) => return Ok(balancing),
            None => unknown.push(name.as_str()),
        }
    }
    let found = if unknown.is_empty() { "the list is empty".to_owned() } else { unknown.join(", ") };
    Err(ServiceConfigError::new(format!("no policy of the list is known ({found}); known are {KNOWN}")))
}

/// Reads the deprecated `loadBalancingPolicy`: a name in any case, and no configuration.
pub(super) fn by_name(value: &Value) -> Read<Option<Balancing>> {
    let name = string(value)?.to_ascii_lowercase();
    if name.is_empty() || name == "unspecified" {
        return Ok(None);
    }
    if name == OUTLIER_DETECTION || name == RANDOM_SUBSETTING {
        return Err(ServiceConfigError::new(format!(
            "{name} needs a configuration: write it as loadBalancingConfig"
        )));
    }
    match policy(&name, &Value::Object(Object::new()))? {
        None => Err(ServiceConfigError::new(format!("{name} is not a known policy; known are {KNOWN}"))),
        known => Ok(known),
    }
}

/// One policy; `None` when its name is unknown.
fn policy(name: &str, config: &Value) -> Read<Option<Balancing>> {
    let read = match name {
        PICK_FIRST => pick_first,
        ROUND_ROBIN => round_robin,
        LEAST_REQUEST => least_request,
        RING_HASH => ring_hash,
        WEIGHTED_ROUND_ROBIN => weighted_round_robin,
        PEAK_EWMA => peak_ewma,
        OUTLIER_DETECTION => outlier_detection,
        RANDOM_SUBSETTING => random_subsetting,
        _ => return Ok(None),
    };
    object(config).and_then(read).map(Some)
}

fn leaf(policy: PolicyConfig) -> Balancing {
    Balancing { policy, outlier: None, subset: None, slow_start: None }
}

/// A leaf that eases new endpoints in when asked to.
fn gentle_leaf(policy: PolicyConfig, config: &Object) -> Read<Balancing> {
    Ok(Balancing { slow_start: optional(config, "slowStartConfig", slow_start)?, ..leaf(policy) })
}

fn pick_first(config: &Object) -> Read<Balancing> {
    let shuffle = optional(config, "shuffleAddressList", boolean)?.unwrap_or_default();
    Ok(leaf(PolicyConfig::PickFirst { shuffle }))
}

fn round_robin(config: &Object) -> Read<Balancing> {
    gentle_leaf(PolicyConfig::RoundRobin, config)
}

fn least_request(config: &Object) -> Read<Balancing> {
    let count = optional(config, "choiceCount", |value| match whole(value)? {
        0 | 1 => Err(ServiceConfigError::new("must be at least 2")),
        count => Ok(count.min(CHOICE_COUNT_MAX)),
    })?;
    // At most ten, by the cap.
    let choice_count = u32::try_from(count.unwrap_or(2)).unwrap_or(2);
    gentle_leaf(PolicyConfig::LeastRequest { choice_count }, config)
}

fn ring_hash(config: &Object) -> Read<Balancing> {
    let size = |name, default| -> Read<u64> {
        // Zero is what proto3 calls unset.
        let size = optional(config, name, ring_size)?.filter(|size| *size > 0);
        Ok(size.unwrap_or(default))
    };
    let (min, max) = (size("minRingSize", 1024)?, size("maxRingSize", RING_SIZE_CAP)?);
    if min > max {
        return Err(ServiceConfigError::new(format!("minRingSize {min} is more than maxRingSize {max}")));
    }
    Ok(leaf(PolicyConfig::RingHash(RingHashConfig {
        ring_size_min: min.min(RING_SIZE_CAP),
        ring_size_max: max.min(RING_SIZE_CAP),
        header: optional(config, "requestHashHeader", hash_header)?.flatten(),
    })))
}

fn ring_size(value: &Value) -> Read<u64> {
    let size = whole(value)?;
    if size <= RING_SIZE_MAX {
        return Ok(size);
    }
    Err(ServiceConfigError::new(format!("{size} is more than {RING_SIZE_MAX}")))
}

/// A header that carries text (gRFC A76). An empty one is unset, as everywhere in proto3.
fn hash_header(value: &Value) -> Read<Option<http::HeaderName>> {
    let name = string(value)?.to_ascii_lowercase();
    let is_metadata = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    if name.is_empty() {
        return Ok(None);
    }
    if name.ends_with("-bin") {
        return Err(ServiceConfigError::new(format!(
            "{name} carries bytes; only headers of text can be hashed"
        )));
    }
    let header = http::HeaderName::from_bytes(name.as_bytes()).ok().filter(|_| name.bytes().all(is_metadata));
    let problem = || ServiceConfigError::new(format!("{name:?} is not the name of a header"));
    header.map(Some).ok_or_else(problem)
}

fn weighted_round_robin(config: &Object) -> Read<Balancing> {
    let time = |name, default| Ok(optional(config, name, duration)?.unwrap_or(Duration::from_secs(default)));
    let names = optional(config, "metricNamesForComputingUtilization", |names| {
        each(names, |name| string(name).map(str::to_owned))
    })?;
    let penalty = optional(config, "errorUtilizationPenalty", |value| match number(value)? {
        penalty if penalty < 0.0 => Err(ServiceConfigError::new("must not be negative")),
        penalty => Ok(penalty),
    })?;
    let policy = WeightedRoundRobinConfig {
        blackout_period: time("blackoutPeriod", 10)?,
        weight_expiration_period: time("weightExpirationPeriod", 180)?,
        weight_update_period: time("weightUpdatePeriod", 1)?.max(WEIGHT_UPDATE_PERIOD_MIN),
        error_utilization_penalty: penalty.unwrap_or(1.0),
        metric_names: names.unwrap_or_default(),
        oob_load_report: optional(config, "enableOobLoadReport", boolean)?.unwrap_or_default(),
        oob_reporting_period: time("oobReportingPeriod", 10)?,
    };
    gentle_leaf(PolicyConfig::WeightedRoundRobin(policy), config)
}

fn peak_ewma(config: &Object) -> Read<Balancing> {
    let decay = optional(config, "decay", some_time)?.unwrap_or(Duration::from_secs(10));
    let default_rtt = optional(config, "defaultRtt", some_time)?.unwrap_or(Duration::from_millis(30));
    gentle_leaf(PolicyConfig::PeakEwma { decay, default_rtt }, config)
}

/// The field names of gRFC A100 and of Envoy, in proto3 JSON.
fn slow_start(value: &Value) -> Read<SlowStart> {
    let config = object(value)?;
    let aggression = optional(config, "aggression", |value| match number(value)? {
        aggression if aggression <= 0.0 => Err(ServiceConfigError::new("must be more than 0")),
        aggression => Ok(aggression),
    })?;
    Ok(SlowStart {
        window: required(config, "slowStartWindow", some_time)?,
        aggression: aggression.unwrap_or(1.0),
        min_weight_percent: optional(config, "minWeightPercent", percent)?.unwrap_or(10),
    })
}

fn outlier_detection(config: &Object) -> Read<Balancing> {
    let child = required(config, "childPolicy", balancing)?;
    if child.outlier.is_some() {
        return Err(twice(OUTLIER_DETECTION));
    }
    let time = |name, default| Ok(optional(config, name, duration)?.unwrap_or(Duration::from_secs(default)));
    let base = time("baseEjectionTime", 30)?;
    let longest = optional(config, "maxEjectionTime", duration)?.unwrap_or(Duration::from_secs(300));
    let consecutive = optional(config, "consecutiveFailures", |value| match whole_u32(value)? {
        0 => Err(ServiceConfigError::new("must be at least 1; leave it out to not eject by it")),
        failures => Ok(failures),
    })?;
    let outlier = OutlierConfig {
        interval: time("interval", 10)?.max(SWEEP_INTERVAL_MIN),
        base_ejection_time: base,
        // gRFC A50 takes the larger of the two at every use.
        max_ejection_time: longest.max(base),
        max_ejection_percent: optional(config, "maxEjectionPercent", percent)?.unwrap_or(10),
        success_rate: optional(config, "successRateEjection", success_rate)?,
        failure_percentage: optional(config, "failurePercentageEjection", failure_percentage)?,
        consecutive_failures: consecutive,
    };
    Ok(Balancing { outlier: Some(outlier), ..child })
}

fn success_rate(value: &Value) -> Read<SuccessRate> {
    let config = object(value)?;
    Ok(SuccessRate {
        stdev_factor: optional(config, "stdevFactor", whole_u32)?.unwrap_or(1900),
        enforcement_percentage: optional(config, "enforcementPercentage", percent)?.unwrap_or(100),
        minimum_hosts: optional(config, "minimumHosts", whole_u32)?.unwrap_or(5),
        request_volume: optional(config, "requestVolume", whole_u32)?.unwrap_or(100),
    })
}

fn failure_percentage(value: &Value) -> Read<FailurePercentage> {
    let config = object(value)?;
    Ok(FailurePercentage {
        threshold: optional(config, "threshold", percent)?.unwrap_or(85),
        enforcement_percentage: optional(config, "enforcementPercentage", percent)?.unwrap_or(100),
        minimum_hosts: optional(config, "minimumHosts", whole_u32)?.unwrap_or(5),
        request_volume: optional(config, "requestVolume", whole_u32)?.unwrap_or(50),
    })
}

fn random_subsetting(config: &Object) -> Read<Balancing> {
    let child = required(config, "childPolicy", balancing)?;
    if child.subset.is_some() {
        return Err(twice(RANDOM_SUBSETTING));
    }
    // gRFC A68 shows the field of the message; its JSON name differs. Implementations read one or the other.
    let name = if config.contains_key("subset_size") { "subset_size" } else { "subsetSize" };
    let size = required(config, name, |value| match whole_u32(value)? {
        0 => Err(ServiceConfigError::new("must be at least 1")),
        size => Ok(size),
    })?;
    Ok(Balancing { subset: Some(size), ..child })
}

fn twice(name: &str) -> ServiceConfigError {
    ServiceConfigError::new(format!("contains another {name}; one is enough")).in_field("childPolicy")
}

//! `policy` of a cluster, and what stands around it.

use std::time::Duration;

use highball_channel::service_config::balancing::{
    Balancing, FailurePercentage, OutlierConfig, PolicyConfig, RingHashConfig, SlowStart, SuccessRate,
    WeightedRoundRobinConfig,
};
use http::HeaderName;
use toml::de::DeValue;

use super::table::{Item, Table};
use super::{LIST_MAX, keys};

/// Of a choice count (gRFC A48).
const CHOICE_COUNT_MAX: u64 = 10;
/// Of a ring (gRFC A42).
const RING_SIZE_MAX: u64 = 4096;
/// What the weights of `weighted_round_robin` are never computed more often than (gRFC A58).
const WEIGHT_UPDATE_PERIOD_MIN: Duration = Duration::from_millis(100);
/// The shortest sweep for outliers; more often would be a busy loop.
const SWEEP_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Failures in a row after which an endpoint is passed over for a while. Envoy's default.
const CONSECUTIVE_FAILURES: u32 = 5;
/// Of the endpoints that may be passed over. Envoy's default is 10, of which three backends have none.
const EJECTION_PERCENT: u32 = 50;

/// Reads the balancing of a cluster. What cannot be read is as if it were not there, and noted.
pub(super) fn balancing(cluster: &Table<'_>) -> Balancing {
    let (policy, at) = match cluster.get("policy") {
        Some(item) => (policy(item).unwrap_or(PolicyConfig::RoundRobin), Some(item)),
        None => (PolicyConfig::RoundRobin, None),
    };
    let hash_header = cluster.get("hash_header");
    let policy = match hash_header {
        Some(item) => hashed(policy, at.is_some(), item),
        None => policy,
    };
    if let (PolicyConfig::RingHash(RingHashConfig { header: None, .. }), None, Some(item)) =
        (&policy, hash_header, at)
    {
        item.notes.warn(item.at, || {
            "ring_hash without a header hashes each call at random; set hash_header".to_owned()
        });
    }
    let slow_start = cluster.get("slow_start");
    if let (PolicyConfig::PickFirst { .. } | PolicyConfig::RingHash(_), Some(item)) = (&policy, slow_start) {
        item.note(|| {
            "slow_start has no effect on pick_first and ring_hash; leave it out, or choose another policy"
                .to_owned()
        });
    }
    Balancing {
        policy,
        outlier: match cluster.get("outlier") {
            Some(item) => outlier(item),
            None => Some(OUTLIER),
        },
        subset: cluster.get("subset").and_then(Item::count),
        slow_start: slow_start.and_then(self::slow_start),
    }
}

/// The policy with `hash_header` taken into account.
fn hashed(policy: PolicyConfig, chosen: bool, item: Item<'_>) -> PolicyConfig {
    let header = hash_header(item);
    match policy {
        PolicyConfig::RingHash(config) if config.header.is_none() => {
            PolicyConfig::RingHash(RingHashConfig { header, ..config })
        }
        PolicyConfig::RingHash(config) => {
            item.note(|| "hash_header stands beside header of ring_hash; keep one of them".to_owned());
            PolicyConfig::RingHash(config)
        }
        _ if !chosen => PolicyConfig::RingHash(RingHashConfig { header, ..RING_HASH }),
        policy => {
            item.note(|| {
                "hash_header is for ring_hash; set policy = \"ring_hash\", or leave one of them out"
                    .to_owned()
            });
            policy
        }
    }
}

const RING_HASH: RingHashConfig =
    RingHashConfig { ring_size_min: 1024, ring_size_max: RING_SIZE_MAX, header: None };

const OUTLIER: OutlierConfig = OutlierConfig {
    interval: Duration::from_secs(10),
    base_ejection_time: Duration::from_secs(30),
    max_ejection_time: Duration::from_secs(300),
    max_ejection_percent: EJECTION_PERCENT,
    success_rate: None,
    failure_percentage: None,
    consecutive_failures: Some(CONSECUTIVE_FAILURES),
};

/// A name, or a table with one policy and its settings.
fn policy(item: Item<'_>) -> Option<PolicyConfig> {
    let nothing = &toml::de::DeTable::new();
    let chosen = match item.value {
        DeValue::String(_) => {
            let names: Vec<_> = keys::POLICY.known.iter().map(|name| (*name, *name)).collect();
            return with_settings(item.choice(&names)?, |keys| {
                Some(Table::new(item.notes, nothing, item.at, keys))
            });
        }
        DeValue::Table(_) => item.table(&keys::POLICY)?.only()?,
        _ => {
            return item.expected(
                "the name of a policy, or a table such as { ring_hash = { header = \"user-id\" } }",
            );
        }
    };
    with_settings(chosen.name, |keys| chosen.table(keys))
}

fn with_settings<'a>(
    name: &str,
    table: impl Fn(&'static keys::Keys) -> Option<Table<'a>>,
) -> Option<PolicyConfig> {
    Some(match name {
        "pick_first" => {
            let shuffle = table(&keys::PICK_FIRST)?.get("shuffle").and_then(Item::boolean);
            PolicyConfig::PickFirst { shuffle: shuffle.unwrap_or_default() }
        }
        "least_request" => {
            let count = table(&keys::LEAST_REQUEST)?.get("choice_count");
            let count = count.and_then(|item| item.whole(2..=CHOICE_COUNT_MAX));
            PolicyConfig::LeastRequest { choice_count: count.unwrap_or(2) }
        }
        "ring_hash" => PolicyConfig::RingHash(ring_hash(&table(&keys::RING_HASH)?)),
        "weighted_round_robin" => {
            PolicyConfig::WeightedRoundRobin(weighted_round_robin(&table(&keys::WEIGHTED_ROUND_ROBIN)?))
        }
        "peak_ewma" => {
            let table = table(&keys::PEAK_EWMA)?;
            let time = |key| table.get(key).and_then(Item::some_time);
            PolicyConfig::PeakEwma {
                decay: time("decay").unwrap_or(Duration::from_secs(10)),
                default_rtt: time("default_rtt").unwrap_or(Duration::from_millis(30)),
            }
        }
        _ => {
            table(&keys::ROUND_ROBIN)?;
            PolicyConfig::RoundRobin
        }
    })
}

fn ring_hash(table: &Table<'_>) -> RingHashConfig {
    let size = |key| table.get(key).and_then(|item| item.whole::<u64>(1..=RING_SIZE_MAX));
    let min = size("ring_size_min").unwrap_or(RING_HASH.ring_size_min);
    let max = size("ring_size_max").unwrap_or(RING_HASH.ring_size_max);
    if min > max {
        table.problem(|| format!("ring_size_min {min} is more than ring_size_max {max}; swap or raise them"));
    }
    let header = table.get("header").and_then(hash_header);
    RingHashConfig { ring_size_min: min, ring_size_max: max, header }
}

/// A header that carries text (gRFC A76).
fn hash_header(item: Item<'_>) -> Option<HeaderName> {
    let name = item.header_name()?;
    if name.as_str().ends_with("-bin") {
        return item.malformed(name.as_str(), "a header of text; write one without -bin");
    }
    Some(name)
}

fn weighted_round_robin(table: &Table<'_>) -> WeightedRoundRobinConfig {
    let time =
        |key, default| table.get(key).and_then(Item::some_time).unwrap_or(Duration::from_secs(default));
    let names = table.get("metric_names");
    let penalty = table.get("error_utilization_penalty").and_then(|item| match item.number()? {
        penalty if penalty < 0.0 => {
            item.problem(|| "error_utilization_penalty is negative; write 0 or more".to_owned())
        }
        penalty => Some(penalty),
    });
    WeightedRoundRobinConfig {
        blackout_period: table
            .get("blackout_period")
            .and_then(Item::duration)
            .unwrap_or(Duration::from_secs(10)),
        weight_expiration_period: time("weight_expiration_period", 180),
        weight_update_period: at_least(table, "weight_update_period", 1, WEIGHT_UPDATE_PERIOD_MIN),
        error_utilization_penalty: penalty.unwrap_or(1.0),
        metric_names: names
            .and_then(|item| item.each(LIST_MAX, |name| name.text().map(str::to_owned)))
            .unwrap_or_default(),
        oob_load_report: table.get("oob_load_report").and_then(Item::boolean).unwrap_or_default(),
        oob_reporting_period: time("oob_reporting_period", 10),
    }
}

/// A time of `default` seconds that has a lower bound.
fn at_least(table: &Table<'_>, key: &'static str, default: u64, min: Duration) -> Duration {
    let time = table.get(key).and_then(|item| match item.duration()? {
        time if time < min => item.problem(|| format!("{key} is {time:?}; write at least {min:?}")),
        time => Some(time),
    });
    time.unwrap_or(Duration::from_secs(default))
}

/// `None`: nothing is ejected.
fn outlier(item: Item<'_>) -> Option<OutlierConfig> {
    match item.value {
        DeValue::Boolean(false) => return None,
        DeValue::Boolean(true) => return Some(OUTLIER),
        DeValue::Table(_) => {}
        _ => return item.expected("false or a table"),
    }
    let table = item.table(&keys::OUTLIER)?;
    let time = |key, default| table.get(key).and_then(Item::some_time).unwrap_or(default);
    let failures = table.get("consecutive_failures");
    let base = time("base_ejection_time", OUTLIER.base_ejection_time);
    let longest = table.get("max_ejection_time").and_then(|item| match item.some_time()? {
        longest if longest < base => item.problem(|| {
            format!("max_ejection_time is {longest:?}, less than base_ejection_time {base:?}; raise it")
        }),
        longest => Some(longest),
    });
    Some(OutlierConfig {
        interval: at_least(&table, "interval", OUTLIER.interval.as_secs(), SWEEP_INTERVAL_MIN),
        base_ejection_time: base,
        max_ejection_time: longest.unwrap_or(OUTLIER.max_ejection_time.max(base)),
        max_ejection_percent: percent(&table, "max_ejection_percent", EJECTION_PERCENT),
        success_rate: table.get("success_rate").and_then(success_rate),
        failure_percentage: table.get("failure_percentage").and_then(failure_percentage),
        consecutive_failures: match failures.map(|item| item.whole(0..=u64::from(u32::MAX))) {
            None => Some(CONSECUTIVE_FAILURES),
            Some(failures) => failures.filter(|failures| *failures > 0),
        },
    })
}

fn success_rate(item: Item<'_>) -> Option<SuccessRate> {
    let table = item.table(&keys::SUCCESS_RATE)?;
    let count = |key| table.get(key).and_then(Item::count);
    Some(SuccessRate {
        stdev_factor: count("stdev_factor").unwrap_or(1900),
        enforcement_percentage: percent(&table, "enforcement_percentage", 100),
        minimum_hosts: count("minimum_hosts").unwrap_or(5),
        request_volume: count("request_volume").unwrap_or(100),
    })
}

fn failure_percentage(item: Item<'_>) -> Option<FailurePercentage> {
    let table = item.table(&keys::FAILURE_PERCENTAGE)?;
    let count = |key| table.get(key).and_then(Item::count);
    Some(FailurePercentage {
        threshold: percent(&table, "threshold", 85),
        enforcement_percentage: percent(&table, "enforcement_percentage", 100),
        minimum_hosts: count("minimum_hosts").unwrap_or(5),
        request_volume: count("request_volume").unwrap_or(50),
    })
}

/// A whole percentage.
fn percent(table: &Table<'_>, key: &'static str, default: u32) -> u32 {
    table.get(key).and_then(|item| item.whole(0..=100)).unwrap_or(default)
}

/// A window, or a table with one.
fn slow_start(item: Item<'_>) -> Option<SlowStart> {
    let (window, table) = match item.value {
        DeValue::String(_) => (item.some_time(), None),
        DeValue::Table(_) => {
            let table = item.table(&keys::SLOW_START)?;
            (table.required("window", "window = \"30s\"").and_then(Item::some_time), Some(table))
        }
        _ => return item.expected("a time such as \"30s\", or a table"),
    };
    let aggression = table.and_then(|table| table.get("aggression")).and_then(Item::positive);
    let percent = table.map(|table| percent(&table, "min_weight_percent", 10));
    Some(SlowStart {
        window: window?,
        aggression: aggression.unwrap_or(1.0),
        min_weight_percent: percent.unwrap_or(10),
    })
}

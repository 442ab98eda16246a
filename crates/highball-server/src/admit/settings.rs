//! How the limit of unary RPCs finds its value by itself.

use std::time::Duration;

/// Lets the number of unary RPCs at once follow what the service can bear, below [`concurrent_rpcs_max`]. Streams are not
/// counted here: how long one takes says nothing about load.
///
/// Each window the latency of the RPCs that ended is compared with what it is without load, method by method. When RPCs
/// wait, the limit falls in proportion, and rises while they do not:
/// `limit = gradient * limit + sqrt(gradient * limit)`, with `gradient = (1 + tolerance) * unloaded / observed`, at least
/// a half. `docs/decisions/0012-adaptive-concurrency.md` tells what differs from Envoy's filter of that name, and why.
///
/// [`concurrent_rpcs_max`]: crate::Settings::concurrent_rpcs_max
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdaptiveConcurrency {
    /// RPCs at once until something was measured. Default 20: little enough that the first measurement sees no load, and
    /// 100 within a second when there is demand.
    pub limit_initial: u32,
    /// The limit never falls below this. Default 3, as Envoy. Give what runs in parallel without doubt, such as the number
    /// of cores.
    pub limit_min: u32,
    /// The limit never rises above this. Default 1,000, as Envoy.
    pub limit_max: u32,
    /// How long RPCs are observed before the limit moves; longer, up to a quarter of [`measure_interval`], when they take
    /// more than half of it, or when fewer than 20 of a method have ended. Default 100 ms.
    ///
    /// [`measure_interval`]: Self::measure_interval
    pub window: Duration,
    /// Which latency stands for a window, in percent of the RPCs that were faster. Default 50, as Envoy; a high one reacts
    /// to the slowest and with them to chance. 1 to 99.
    pub percentile: u32,
    /// How much slower than without load is as good as that, in percent. Default 25, as Envoy. It is also how far
    /// a saturated service is overbooked, so that it never idles.
    pub tolerance_percent: u32,
    /// How often latency without load is measured anew. Default 60 s, as Envoy. While less than half of the limit is
    /// used that costs nothing; otherwise the limit is halved until enough RPCs have ended.
    pub measure_interval: Duration,
    /// Up to how much longer an interval may be, by chance, so that replicas do not measure at once; in percent. Default
    /// 15, as Envoy.
    pub measure_jitter_percent: u32,
    /// How many RPCs of a method make a measurement. Default 100: with service times that vary as much as their mean, the
    /// median of Envoy's 50 is off by a fifth.
    pub measure_samples: u32,
}

impl Default for AdaptiveConcurrency {
    fn default() -> Self {
        Self {
            limit_initial: 20,
            limit_min: 3,
            limit_max: 1000,
            window: Duration::from_millis(100),
            percentile: 50,
            tolerance_percent: 25,
            measure_interval: Duration::from_secs(60),
            measure_jitter_percent: 15,
            measure_samples: 100,
        }
    }
}

impl AdaptiveConcurrency {
    /// What cannot work, for the list of all problems.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, problem: String| {
            if !holds {
                problems.push(format!("adaptive_concurrency.{problem}"));
            }
        };
        let (min, initial, max) = (self.limit_min, self.limit_initial, self.limit_max);
        require(min > 0, "limit_min is 0; set it to at least 1".to_owned());
        require(
            min <= initial && initial <= max,
            format!(
                "limit_initial {initial} must lie between limit_min {min} and limit_max {max}; correct one"
            ),
        );
        require(
            (1..=99).contains(&self.percentile),
            format!("percentile is {}; set it to 1 to 99", self.percentile),
        );
        require(
            (1..=10_000).contains(&self.measure_samples),
            format!("measure_samples is {}; set it to 1 to 10,000", self.measure_samples),
        );
        require(!self.window.is_zero(), "window is 0; set it to 10ms or more".to_owned());
        let interval = self.measure_interval;
        require(
            interval <= Duration::from_secs(86_400),
            format!("measure_interval {interval:?} is longer than a day; lower it"),
        );
        require(
            self.measure_jitter_percent <= 100 && self.tolerance_percent <= 1000,
            "measure_jitter_percent exceeds 100 or tolerance_percent 1000; lower it".to_owned(),
        );
        require(
            self.window <= interval / 4,
            format!("window {:?} exceeds a quarter of measure_interval {interval:?}; lower it", self.window),
        );
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_said_to_be() {
        assert_eq!(AdaptiveConcurrency::default().problems(), [""; 0]);
        let broken = AdaptiveConcurrency {
            limit_min: 0,
            limit_initial: 2000,
            percentile: 100,
            measure_samples: 0,
            window: Duration::from_secs(60),
            ..AdaptiveConcurrency::default()
        };
        let text = broken.problems().join("; ");
        for name in ["limit_min", "limit_initial", "percentile", "measure_samples", "window"] {
            assert!(text.contains(&format!("adaptive_concurrency.{name}")), "{name}: {text}");
        }
    }
}

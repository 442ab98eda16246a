//! Outlier detection (gRFC A50): takes backends out of the choice that fail more than the others.
//!
//! A pure state machine. The manager owns it, asks it once per interval and whenever [`Tuning::alarm`] rings, and applies the
//! changes: an ejected backend is in TRANSIENT_FAILURE for the balancer, its connection stays.
//!
//! # How much may be ejected
//!
//! Never more than `max_ejection_percent` of the backends, though one always may; and never the last one that is ready. gRPC
//! has no panic threshold, below which Envoy balances over all backends alike, and neither has this: with these two rules a
//! detector that is wrong about many backends cannot move all of their calls onto a few, and backends that are down on
//! their own account are not called only because many are.
//!
//! [`Tuning::alarm`]: crate::balancer::load::Tuning::alarm

mod findings;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::findings::Sample;
use crate::State;
use crate::backend::Backend;
use crate::service_config::balancing::OutlierConfig;

/// The state of detection for one channel.
#[derive(Debug)]
pub(crate) struct Detector {
    config: OutlierConfig,
    /// By the backend's address in memory, which its entry keeps from being used again. As many as there are backends.
    entries: HashMap<usize, Entry>,
    /// Not told yet; each backend once.
    spared: Vec<Spared>,
}

#[derive(Debug)]
struct Entry {
    backend: Arc<Backend>,
    ejected_at: Option<Instant>,
    /// How often it was ejected lately.
    multiplier: u32,
}

/// What the manager has to do.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) backend: Arc<Backend>,
    /// Why it is out of the choice from now on; `None` puts it back.
    pub(crate) ejected: Option<String>,
}

/// Found out, but a rule protects it. Nothing to do; worth telling.
#[derive(Debug, Clone)]
pub(crate) struct Spared {
    pub(crate) backend: Arc<Backend>,
    pub(crate) why: Why,
    pub(crate) rule: Rule,
}

/// What protects a backend from ejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// `maxEjectionPercent`.
    Share,
    /// No other backend is ready.
    LastReady,
    /// `enforcementPercentage`.
    Enforcement,
}

/// Why a backend should be ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// So many calls in a row failed.
    ConsecutiveFailures(u32),
    /// Its success rate, in per cent, is far below the mean.
    SuccessRate(u32),
    /// Its share of failures, in per cent.
    FailurePercentage(u32),
}

impl Detector {
    /// Nobody is ejected yet.
    pub(crate) fn new(config: OutlierConfig) -> Self {
        Self { config, entries: HashMap::new(), spared: Vec::new() }
    }

    /// How long from one [`tick`](Self::tick) to the next.
    pub(crate) fn interval(&self) -> Duration {
        // A zero would spin.
        self.config.interval.max(Duration::from_millis(100))
    }

    /// Once per interval. `backends` are all there are; what is known of others is forgotten. `random` decides about
    /// enforcement percentages.
    pub(crate) fn tick(
        &mut self,
        now: Instant,
        backends: &[Arc<Backend>],
        mut random: impl FnMut() -> u64,
    ) -> Vec<Change> {
        self.follow(now, backends);
        let mut changes = self.suspects(now, backends);
        let samples: Vec<_> = backends.iter().map(Sample::take).collect();
        if self.is_off() {
            changes.extend(self.release(now, |_| true));
            self.entries.clear();
            return changes;
        }
        let by_rate = self.config.success_rate.clone();
        if let Some(rate) = &by_rate {
            for finding in findings::success_rates(rate, &samples) {
                self.act(now, backends, finding, rate.enforcement_percentage, &mut random, &mut changes);
            }
        }
        let by_percentage = self.config.failure_percentage.clone();
        if let Some(percentage) = &by_percentage {
            for finding in findings::failure_percentages(percentage, &samples) {
                self.act(
                    now,
                    backends,
                    finding,
                    percentage.enforcement_percentage,
                    &mut random,
                    &mut changes,
                );
            }
        }
        for entry in self.entries.values_mut().filter(|entry| entry.ejected_at.is_none()) {
            entry.multiplier = entry.multiplier.saturating_sub(1);
        }
        let config = self.config.clone();
        changes.extend(self.release(now, |entry| entry.is_served(&config, now)));
        changes
    }

    /// When the alarm rang: backends with too many failures in a row.
    pub(crate) fn suspects(&mut self, now: Instant, backends: &[Arc<Backend>]) -> Vec<Change> {
        let mut changes = Vec::new();
        self.follow(now, backends);
        for backend in backends {
            if let Some(row) = backend.load.take_suspicion()
                && self.config.consecutive_failures.is_some()
            {
                let finding = (Arc::clone(backend), Why::ConsecutiveFailures(row));
                self.act(now, backends, finding, 100, &mut || 0, &mut changes);
            }
        }
        changes
    }

    /// Whom a rule has protected since this was last asked: each backend at most once.
    pub(crate) fn take_spared(&mut self) -> Vec<Spared> {
        std::mem::take(&mut self.spared)
    }

    fn is_off(&self) -> bool {
        let config = &self.config;
        config.success_rate.is_none()
            && config.failure_percentage.is_none()
            && config.consecutive_failures.is_none()
    }

    /// An entry for each of these backends and for no other.
    fn follow(&mut self, now: Instant, backends: &[Arc<Backend>]) {
        let mut old = std::mem::take(&mut self.entries);
        self.entries = backends
            .iter()
            .map(|backend| {
                let entry = old.remove(&key(backend));
                (key(backend), entry.unwrap_or_else(|| Entry::new(backend, now)))
            })
            .collect();
        // Nobody may come for them.
        self.spared.retain(|spared| self.entries.contains_key(&key(&spared.backend)));
    }

    fn act(
        &mut self,
        now: Instant,
        backends: &[Arc<Backend>],
        (backend, why): (Arc<Backend>, Why),
        enforcement: u32,
        random: &mut dyn FnMut() -> u64,
        changes: &mut Vec<Change>,
    ) {
        if self.is_ejected(&backend) {
            return;
        }
        let rule = if random() % 100 >= u64::from(enforcement) {
            Some(Rule::Enforcement)
        } else {
            self.protects(&backend, backends)
        };
        if let Some(rule) = rule {
            // One criterion may find out again whom another did.
            if !self.spared.iter().any(|spared| Arc::ptr_eq(&spared.backend, &backend)) {
                self.spared.push(Spared { backend, why, rule });
            }
        } else if let Some(entry) = self.entries.get_mut(&key(&backend)) {
            entry.ejected_at = Some(now);
            entry.multiplier = entry.multiplier.saturating_add(1);
            let seconds = entry.sentence(&self.config).as_secs_f64();
            changes.push(Change { backend, ejected: Some(format!("{why}; out for {seconds} s")) });
        }
    }

    /// Why `backend` must not be ejected although it should be.
    fn protects(&self, backend: &Arc<Backend>, backends: &[Arc<Backend>]) -> Option<Rule> {
        let ejected = self.entries.values().filter(|entry| entry.ejected_at.is_some()).count();
        let share_max = u64::from(self.config.max_ejection_percent) * backends.len() as u64;
        if ejected > 0 && (ejected as u64 + 1) * 100 > share_max {
            return Some(Rule::Share);
        }
        let stays = |other: &Arc<Backend>| {
            !Arc::ptr_eq(other, backend) && other.state() == State::Ready && !self.is_ejected(other)
        };
        (!backends.iter().any(stays)).then_some(Rule::LastReady)
    }

    fn is_ejected(&self, backend: &Arc<Backend>) -> bool {
        self.entries.get(&key(backend)).is_some_and(|entry| entry.ejected_at.is_some())
    }

    fn release(&mut self, now: Instant, whom: impl Fn(&Entry) -> bool) -> Vec<Change> {
        let mut changes = Vec::new();
        for entry in self.entries.values_mut().filter(|entry| entry.ejected_at.is_some()) {
            if whom(entry) {
                entry.ejected_at = None;
                // It begins like one that has just become ready.
                entry.backend.load.ready(now);
                changes.push(Change { backend: Arc::clone(&entry.backend), ejected: None });
            }
        }
        changes
    }
}

/// A backend's place in memory, by which it is known.
fn key(backend: &Arc<Backend>) -> usize {
    Arc::as_ptr(backend).addr()
}

impl Entry {
    /// A backend that an earlier detector took out is adopted, or it would stay out for ever.
    fn new(backend: &Arc<Backend>, now: Instant) -> Self {
        let out = backend.is_ejected();
        Self { backend: Arc::clone(backend), ejected_at: out.then_some(now), multiplier: u32::from(out) }
    }

    /// How long it stays out at least.
    fn sentence(&self, config: &OutlierConfig) -> Duration {
        let max = config.base_ejection_time.max(config.max_ejection_time);
        config.base_ejection_time.saturating_mul(self.multiplier).min(max)
    }

    fn is_served(&self, config: &OutlierConfig, now: Instant) -> bool {
        self.ejected_at.is_some_and(|since| now.saturating_duration_since(since) > self.sentence(config))
    }
}

impl OutlierConfig {
    /// What runs without `outlier_detection_experimental` in the service config: a backend that fails five calls in a row
    /// is left alone for 30 seconds, and longer each time, with at most half of the backends out. The statistical criteria
    /// are off: they need traffic and a fleet.
    #[must_use]
    pub fn default_on() -> Self {
        Self {
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_percent: 50,
            success_rate: None,
            failure_percentage: None,
            consecutive_failures: Some(5),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConsecutiveFailures(row) => write!(f, "{row} failures in a row"),
            Self::SuccessRate(percent) => write!(f, "{percent} % of calls succeeded, far below the mean"),
            Self::FailurePercentage(percent) => write!(f, "{percent} % of calls failed"),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Share => "too many are ejected already",
            Self::LastReady => "no other backend is ready",
            Self::Enforcement => "enforcement is not at 100 %",
        })
    }
}

#[cfg(test)]
mod tests;

//! What is known of a backend's load, in atomics that pickers read and attempts write.
//!
//! Nothing here locks. Values that belong together are packed into one word or may be a moment apart: they steer statistics.

mod attempt;
mod latency;
mod tuning;
mod weight;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::Instant;

use self::attempt::Verdict;
pub(crate) use self::attempt::{Active, Outcome};
use self::latency::Latency;
pub(crate) use self::tuning::{REQUESTS_MAX, Tuning};
use self::weight::Weight;
use crate::orca::OrcaReport;
use crate::service_config::balancing::SlowStart;

/// Of one backend. Lives as long as the backend, whatever pickers and connections come and go.
#[derive(Debug)]
pub(crate) struct Load {
    /// What instants are counted from.
    origin: Instant,
    tuning: ArcSwap<Tuning>,
    /// From `tuning`, because every pick reads it.
    requests_max: AtomicUsize,
    active: AtomicUsize,
    latency: Latency,
    weight: Weight,
    /// How often the backend is to report out of band; `None` while nobody wants that.
    reports_wanted: watch::Sender<Option<Duration>>,
    /// It does report out of band.
    out_of_band: AtomicBool,
    /// A stamp; 0 while it is not ready.
    ready_since: AtomicU64,
    successes: AtomicU64,
    failures: AtomicU64,
    failures_in_a_row: AtomicU32,
    /// The length of a row of failures that nobody has acted on; 0 is none.
    suspicion: AtomicU32,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            tuning: ArcSwap::default(),
            requests_max: AtomicUsize::new(REQUESTS_MAX),
            active: AtomicUsize::new(0),
            latency: Latency::default(),
            weight: Weight::default(),
            reports_wanted: watch::Sender::new(None),
            out_of_band: AtomicBool::new(false),
            ready_since: AtomicU64::new(0),
            successes: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            failures_in_a_row: AtomicU32::new(0),
            suspicion: AtomicU32::new(0),
        }
    }
}

impl Load {
    /// Applies the settings of the present service config. Policies do this for every backend they are given.
    pub(crate) fn tune(&self, tuning: &Arc<Tuning>) {
        self.requests_max.store(tuning.requests_max, Ordering::Relaxed);
        if !Arc::ptr_eq(&self.tuning.load(), tuning) {
            self.tuning.store(Arc::clone(tuning));
            let weighted = tuning.weighted.as_ref().filter(|config| config.oob_load_report);
            let period = weighted.map(|config| config.oob_reporting_period);
            self.reports_wanted.send_if_modified(|known| std::mem::replace(known, period) != period);
        }
    }

    /// Attempts that were picked and are not over.
    pub(crate) fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// The circuit breaker: whether one more attempt may start. Calls that pick in the same instant may overshoot by their
    /// own number, at most one per worker thread.
    pub(crate) fn has_room(&self) -> bool {
        self.active() < self.requests_max.load(Ordering::Relaxed)
    }

    /// Seconds until one more call would be answered: the last peak, fading with `decay`, once for each call in flight and for
    /// itself. A backend that was never measured gets the next call, to be measured; others wait for that as if it took
    /// `default` (after Finagle).
    pub(crate) fn cost(&self, now: Instant, decay: Duration, default: Duration) -> f64 {
        let active = self.active() as f64;
        match self.latency.estimate(self.stamp(now), decay) {
            Some(latency) => latency.as_secs_f64() * (active + 1.0),
            None if active == 0.0 => 0.0,
            None => default.as_secs_f64() * (active + 1.0),
        }
    }

    /// How long an answer takes lately, if any was measured: for people.
    pub(crate) fn measured(&self) -> Option<Duration> {
        self.latency.estimate(self.stamp(Instant::now()), self.tuning.load().decay)
    }

    /// What the trailers of a call report. Not looked at while the backend reports out of band, as the service config wants
    /// it: one call says less than the whole. A backend that does not is better known by its calls than not at all.
    pub(crate) fn report(&self, report: &OrcaReport, now: Instant) {
        if !self.out_of_band.load(Ordering::Relaxed) {
            self.weigh(report, now);
        }
    }

    /// What the backend reports of itself as a whole (gRFC A51).
    pub(crate) fn report_out_of_band(&self, report: &OrcaReport, now: Instant) {
        self.out_of_band.store(true, Ordering::Relaxed);
        self.weigh(report, now);
    }

    /// There are no reports out of band any more, or not yet.
    pub(crate) fn reports_ended(&self) {
        self.out_of_band.store(false, Ordering::Relaxed);
    }

    /// How often the service config wants reports out of band, now and when that changes.
    pub(crate) fn reports_wanted(&self) -> watch::Receiver<Option<Duration>> {
        self.reports_wanted.subscribe()
    }

    fn weigh(&self, report: &OrcaReport, now: Instant) {
        if let Some(config) = &self.tuning.load().weighted {
            self.weight.update(report, config, self.stamp(now));
        }
    }

    /// The weight reported lately, or `None` in the blackout, after expiry, or without reports (gRFC A58).
    pub(crate) fn weight(&self, now: Instant) -> Option<f64> {
        let tuning = self.tuning.load();
        self.weight.read(tuning.weighted.as_ref()?, self.stamp(now))
    }

    /// It has just become ready: the blackout and the slow start begin, the row of failures ends.
    pub(crate) fn ready(&self, now: Instant) {
        self.ready_since.store(self.stamp(now), Ordering::Relaxed);
        self.weight.restart();
        self.failures_in_a_row.store(0, Ordering::Relaxed);
        self.suspicion.store(0, Ordering::Relaxed);
    }

    /// What its weight is multiplied with while it is eased in: 1.0 outside of the window (gRFC A100).
    pub(crate) fn slow_start(&self, config: &SlowStart, now: Instant) -> f64 {
        let since = self.ready_since.load(Ordering::Relaxed);
        let age = Duration::from_nanos(self.stamp(now).saturating_sub(since));
        if since == 0 || age >= config.window {
            return 1.0;
        }
        let passed = age.as_secs_f64() / config.window.as_secs_f64();
        let floor = f64::from(config.min_weight_percent) / 100.0;
        // Never zero: the scheduler and the costs divide by it.
        passed.powf(1.0 / config.aggression).max(floor).clamp(0.001, 1.0)
    }

    /// Successes and failures since the last time this was asked (gRFC A50, "Call Counter").
    pub(crate) fn take_counts(&self) -> (u64, u64) {
        (self.successes.swap(0, Ordering::Relaxed), self.failures.swap(0, Ordering::Relaxed))
    }

    /// The length of a row of failures that set off [`Tuning::alarm`], once.
    pub(crate) fn take_suspicion(&self) -> Option<u32> {
        Some(self.suspicion.swap(0, Ordering::Relaxed)).filter(|row| *row > 0)
    }

    fn count(&self, verdict: Verdict, tuning: &Tuning) {
        match verdict {
            Verdict::Neutral => {}
            Verdict::Success => {
                self.successes.fetch_add(1, Ordering::Relaxed);
                self.failures_in_a_row.store(0, Ordering::Relaxed);
            }
            Verdict::Failure => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                let row = self.failures_in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
                // Every so many, not with every further one: a backend that may not be ejected would ring for each call.
                if tuning.consecutive_failures.is_some_and(|max| max > 0 && row.is_multiple_of(max)) {
                    self.suspicion.store(row, Ordering::Relaxed);
                    tuning.alarm.notify_one();
                }
            }
        }
    }

    /// Nanoseconds since the origin, plus one, so that 0 can mean never.
    fn stamp(&self, now: Instant) -> u64 {
        let nanos = now.saturating_duration_since(self.origin).as_nanos();
        u64::try_from(nanos).unwrap_or(u64::MAX - 1).saturating_add(1)
    }
}

#[cfg(test)]
mod tests;

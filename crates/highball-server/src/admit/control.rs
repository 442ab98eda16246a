//! The limit of unary RPCs that follows what the service can bear: how it moves.

use std::time::Duration;

use highball_telemetry::Event;
use tokio::time::Instant;

use super::AdaptiveConcurrency;
use super::adaptive::Adaptive;

/// Samples of a method that make its percentile worth something. Fewer wait for the next window.
const SAMPLES_MIN: u32 = 20;
/// Windows in a row without much movement after which the limit has found its place.
const SETTLED: u32 = 5;
/// How many windows are waited for a measurement that costs nothing, and between the first two.
const PATIENCE: u32 = 10;
/// How many windows the limit may be halved for a measurement.
const PROBE_MAX: u32 = 20;

/// Decides about the limit, at the end of each window.
#[derive(Debug)]
pub(super) struct Control {
    /// The limit outside of probes.
    limit: f64,
    /// The highest it was since the last probe.
    peak: f64,
    /// Windows in a row in which it hardly moved.
    settled: u32,
    /// Where the limit began to fall.
    fall: Option<Fall>,
    /// How long the present window is.
    window: Duration,
    /// When latency without load is to be measured again,
    measure_at: Instant,
    /// how long after that again,
    repeat: Duration,
    /// and until when it is waited for RPCs that meet no load by themselves.
    probe_after: Instant,
    probe: Option<Probe>,
}

/// RPCs waited, and the limit was too high or the measure too low.
#[derive(Debug, Clone, Copy)]
struct Fall {
    limit: f64,
    ratio: f64,
}

/// The limit is halved, to see latency without load.
#[derive(Debug)]
struct Probe {
    /// The method that fills the server most, and has to be measured.
    method: usize,
    since: Instant,
    until: Instant,
}

/// What a window showed. Times are added up over its RPCs, so that they compare like with like whatever the mix of methods;
/// by Little's law they are the concurrency that there was, and that there would have been without load.
#[derive(Debug, Default)]
struct Observed {
    /// Of methods with a baseline: how long their RPCs took, in seconds,
    took: f64,
    /// and would have taken without load.
    unloaded: f64,
    /// Of all RPCs.
    mean: f64,
    /// The method whose RPCs took most of the time.
    busiest: usize,
}

impl Observed {
    /// `None` while no method has enough samples.
    fn take(gate: &Adaptive) -> Option<Self> {
        let mut observed = Self::default();
        let (mut all, mut samples, mut most) = (0.0, 0.0, 0.0);
        for (index, method) in gate.methods.iter().enumerate() {
            if method.window.count() < SAMPLES_MIN {
                continue;
            }
            let (latency, count) = method.window.take(gate.settings.percentile);
            let took = latency.as_secs_f64() * f64::from(count);
            (all, samples) = (all + took, samples + f64::from(count));
            if took > most {
                (observed.busiest, most) = (index, took);
            }
            if let Some(baseline) = method.baseline() {
                observed.took += took;
                observed.unloaded += baseline.as_secs_f64() * f64::from(count);
            }
        }
        observed.mean = all / samples;
        (samples > 0.0).then_some(observed)
    }
}

impl Control {
    pub(super) fn new(settings: &AdaptiveConcurrency, now: Instant) -> Self {
        let (limit, repeat) = (f64::from(settings.limit_initial), settings.window * PATIENCE);
        Self {
            limit,
            peak: limit,
            settled: 0,
            fall: None,
            window: settings.window,
            measure_at: now + repeat,
            repeat,
            probe_after: now,
            probe: None,
        }
    }

    /// Looks at what happened, and says when to look again.
    pub(super) fn look(&mut self, gate: &Adaptive, now: Instant) {
        take_measurements(gate, now);
        if let Some(probe) = &self.probe {
            let measured = !gate.methods[probe.method].cohort.is_open();
            if measured || now >= probe.until {
                self.end_probe(gate, now, measured);
            } else {
                gate.look_at(now + gate.settings.window / 10);
            }
            return;
        }
        let Some(observed) = Observed::take(gate) else {
            gate.look_at(now + gate.settings.window);
            return;
        };
        // What a change does is seen in RPCs that began after it.
        let settings = &gate.settings;
        let twice = Duration::try_from_secs_f64(observed.mean * 2.0).unwrap_or(Duration::MAX);
        self.window = twice.clamp(settings.window, settings.measure_interval / 4);
        gate.look_at(now + self.window);
        // While half of the limit is not needed it neither protects nor stands in the way.
        let busy = gate.was_busy();
        let ratio = (busy && observed.unloaded > 0.0).then(|| observed.took / observed.unloaded);
        if let Some(ratio) = ratio {
            let in_vain = self.in_vain(gate, ratio);
            self.adapt(gate, ratio);
            if in_vain || self.has_fallen(gate) {
                return self.measure_anew(gate, now, observed.busiest);
            }
        }
        self.keep_measured(gate, now, busy, observed.busiest);
    }

    fn adapt(&mut self, gate: &Adaptive, ratio: f64) {
        let settings = &gate.settings;
        let most = most(gate);
        // At most halved, because one window may be a mishap.
        let gradient = (most / ratio).clamp(0.5, most);
        let kept = self.limit * gradient;
        let (min, max) = (f64::from(settings.limit_min), f64::from(settings.limit_max));
        let next = (kept + kept.sqrt()).clamp(min, max);
        let moved = (next - self.limit).abs() >= (self.limit / 10.0).max(1.0);
        self.settled = if moved { 0 } else { self.settled.saturating_add(1) };
        self.limit = next;
        self.peak = self.peak.max(next);
        gate.put_in_force(self.whole());
        let limit = u32::try_from(self.whole()).unwrap_or(u32::MAX);
        gate.telemetry.report(&Event::ConcurrencyAdapted { limit, ratio });
    }

    /// The limit as a number of RPCs.
    fn whole(&self) -> usize {
        // Between `limit_min` and `limit_max`, which are 32 bits.
        self.limit as usize
    }

    /// Whether the limit was halved and RPCs are as slow as before: then they do not wait for each other. An overload would
    /// have become less.
    fn in_vain(&mut self, gate: &Adaptive, ratio: f64) -> bool {
        let now = Fall { limit: self.limit, ratio };
        let before = self.fall.replace(now).filter(|_| ratio > most(gate));
        let Some(before) = before else {
            self.fall = Some(now).filter(|_| ratio > most(gate));
            return false;
        };
        if ratio <= before.ratio * 1.1 {
            self.fall = Some(before);
        }
        now.limit <= before.limit / 2.0 && ratio >= before.ratio * 0.7
    }

    /// Whether the limit fell and stays there: either the server is overloaded, or what it is measured by is wrong.
    fn has_fallen(&self, gate: &Adaptive) -> bool {
        let low = self.limit < self.peak / 2.0 || self.whole() <= gate.settings.limit_min as usize;
        low && self.settled >= SETTLED
    }

    /// Measures latency without load at once, from nothing.
    fn measure_anew(&mut self, gate: &Adaptive, now: Instant, busiest: usize) {
        gate.methods.iter().for_each(|method| method.cohort.open(gate.settings.measure_samples));
        self.repeat = gate.settings.window * PATIENCE;
        self.probe(gate, now, busiest);
    }

    /// Measures latency without load when it is time.
    fn keep_measured(&mut self, gate: &Adaptive, now: Instant, busy: bool, busiest: usize) {
        if now >= self.measure_at {
            for method in gate.methods.iter().filter(|method| !method.cohort.is_open()) {
                method.cohort.open(gate.settings.measure_samples);
            }
            // Soon again at first: a measurement under half of a limit that was far too high still saw load. It lowers the
            // limit, and the next one sees less.
            self.schedule(gate, now);
            self.repeat = (self.repeat * 2).min(gate.settings.measure_interval);
            self.probe_after = now + self.window * PATIENCE;
        } else if busy && now >= self.probe_after && gate.methods[busiest].cohort.is_open() {
            self.probe(gate, now, busiest);
        }
    }

    fn schedule(&mut self, gate: &Adaptive, now: Instant) {
        self.measure_at = now + jittered(gate, self.repeat);
    }

    fn probe(&mut self, gate: &Adaptive, now: Instant, method: usize) {
        gate.halve(self.whole());
        self.probe = Some(Probe { method, since: now, until: now + self.window * PROBE_MAX });
        gate.look_at(now + gate.settings.window / 10);
    }

    fn end_probe(&mut self, gate: &Adaptive, now: Instant, measured: bool) {
        self.schedule(gate, now);
        if !measured {
            // What prevented it, such as nothing but failures, may go on.
            self.probe_after = now + gate.settings.measure_interval;
        }
        (self.settled, self.fall, self.peak) = (0, None, self.limit);
        let took = self.probe.take().map_or(Duration::ZERO, |probe| now - probe.since);
        gate.telemetry.report(&Event::ConcurrencyProbed { measured, took });
        // Of RPCs under half of the limit.
        gate.methods.iter().for_each(|method| method.window.clear());
        gate.was_busy();
        gate.put_in_force(self.whole());
        gate.look_at(now + self.window);
    }
}

/// How much slower than without load is still as good as that.
fn most(gate: &Adaptive) -> f64 {
    1.0 + f64::from(gate.settings.tolerance_percent) / 100.0
}

/// Takes the measurements that are over.
fn take_measurements(gate: &Adaptive, now: Instant) {
    for method in &gate.methods {
        if let Some(latency) = method.cohort.take(gate.settings.percentile, now) {
            method.set_baseline(latency);
            gate.telemetry.report(&Event::BaselineMeasured { method: &method.label, latency });
        }
    }
}

/// Somewhat longer than `interval`, by chance.
fn jittered(gate: &Adaptive, interval: Duration) -> Duration {
    let millionths = u32::try_from(gate.platform.random() % 1_000_000).unwrap_or_default();
    interval + interval / 100 * gate.settings.measure_jitter_percent / 1_000_000 * millionths
}

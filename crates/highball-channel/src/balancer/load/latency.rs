//! The latency of a backend: jumps to a peak at once, comes down slowly, fades when nothing is measured.
//!
//! After Finagle's `PeakEwma`: a slower answer replaces the estimate, a faster one is mixed in by the time that passed. Fading
//! gives a backend that was slow the chance to show that it no longer is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Estimates stop here. Below it a backend that idled would look free however many calls wait for it.
const FLOOR_SECONDS: f64 = 0.000_1;

/// How often a measurement tries to get in between others. A lost one is one of thousands.
const TRIES: u32 = 8;

const NANOS_PER_MILLI: u64 = 1_000_000;

/// Seconds as `f32` bits above, the milliseconds at which they were written below; 0 is not measured. One word, because a
/// value with another's time would be a wrong estimate.
#[derive(Debug, Default)]
pub(super) struct Latency(AtomicU64);

impl Latency {
    /// The estimate at `stamp` (nanoseconds), or `None` when nothing was measured.
    pub(super) fn estimate(&self, stamp: u64, decay: Duration) -> Option<Duration> {
        let (seconds, written) = unpack(self.0.load(Ordering::Relaxed))?;
        let faded = seconds * weight_of_the_past(written, millis(stamp), decay);
        Some(Duration::from_secs_f64(faded.max(FLOOR_SECONDS)))
    }

    /// Takes a measurement in.
    pub(super) fn observe(&self, measured: Duration, stamp: u64, decay: Duration) {
        let measured = measured.as_secs_f64();
        self.update(|present| match present {
            Some((past, written)) if measured <= past => {
                let keep = weight_of_the_past(written, millis(stamp), decay);
                pack(past * keep + measured * (1.0 - keep), millis(stamp))
            }
            _ => pack(measured, millis(stamp)),
        });
    }

    /// Takes in that an answer takes at least this long: a lower bound never lowers the estimate. It ends the fading, or a
    /// backend that only fails, and quickly, would look better all the time. `default` is the estimate while nothing was
    /// measured.
    pub(super) fn observe_at_least(&self, bound: Duration, stamp: u64, default: Duration) {
        self.update(|present| {
            let past = present.map_or(default.as_secs_f64(), |(past, _)| past);
            pack(past.max(bound.as_secs_f64()), millis(stamp))
        });
    }

    fn update(&self, next: impl Fn(Option<(f64, u32)>) -> u64) {
        let mut present = self.0.load(Ordering::Relaxed);
        for _ in 0..TRIES {
            let wanted = next(unpack(present));
            if wanted == present {
                return;
            }
            match self.0.compare_exchange_weak(present, wanted, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => present = other,
            }
        }
    }
}

fn millis(stamp: u64) -> u32 {
    // Wraps after 49 days. Differences stay right for backends measured more often than that.
    (stamp / NANOS_PER_MILLI) as u32
}

fn weight_of_the_past(written: u32, now: u32, decay: Duration) -> f64 {
    let passed = now.wrapping_sub(written);
    // A measurement from another thread may be a little ahead.
    let passed = if passed > u32::MAX / 2 { 0.0 } else { f64::from(passed) / 1_000.0 };
    (-passed / decay.as_secs_f64().max(0.001)).exp()
}

fn pack(seconds: f64, at: u32) -> u64 {
    u64::from((seconds.max(1e-9) as f32).to_bits()) << 32 | u64::from(at)
}

fn unpack(word: u64) -> Option<(f64, u32)> {
    (word != 0).then(|| (f64::from(f32::from_bits((word >> 32) as u32)), word as u32))
}

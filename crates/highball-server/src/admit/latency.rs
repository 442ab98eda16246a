//! Latencies of one method, counted without a lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::cohort::Cohort;

/// The finest latency told apart from nothing: 8 µs.
const SHIFT: u32 = 13;
/// Eight buckets for each doubling: a bucket is an eighth wide at most.
const STEPS: usize = 8;
/// Up to about two minutes; whatever takes longer counts as that.
const DOUBLINGS: usize = 21;

/// Counts latencies in buckets of an eighth each. One relaxed addition a sample; a reader that drains it while others count
/// may find a sample in this window or the next.
#[derive(Debug)]
pub(super) struct Histogram {
    buckets: Box<[AtomicU32]>,
}

impl Histogram {
    fn new() -> Self {
        Self { buckets: (0..STEPS * (DOUBLINGS + 1)).map(|_| AtomicU32::new(0)).collect() }
    }

    pub(super) fn add(&self, latency: Duration) {
        if let Some(bucket) = self.buckets.get(Self::index(latency)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn count(&self) -> u32 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).fold(0, u32::saturating_add)
    }

    pub(super) fn clear(&self) {
        self.drain();
    }

    /// The latency that `percent` of the samples stay below, and how many there were. Leaves none.
    pub(super) fn take(&self, percent: u32) -> (Duration, u32) {
        let counts = self.drain();
        let total = counts.iter().copied().fold(0, u32::saturating_add);
        let rank = f64::from(total) * f64::from(percent) / 100.0;
        let mut below = 0.0;
        for (index, count) in counts.iter().copied().map(f64::from).enumerate() {
            if count > 0.0 && below + count >= rank {
                let (from, to) = (Self::bound(index), Self::bound(index + 1));
                return (from + (to - from).mul_f64((rank - below) / count), total);
            }
            below += count;
        }
        (Duration::ZERO, 0)
    }

    fn drain(&self) -> Vec<u32> {
        let taken = |bucket: &AtomicU32| match bucket.load(Ordering::Relaxed) {
            0 => 0,
            _ => bucket.swap(0, Ordering::Relaxed),
        };
        self.buckets.iter().map(taken).collect()
    }

    fn index(latency: Duration) -> usize {
        let units = (latency.as_nanos() >> SHIFT).min(u128::from(u32::MAX)) as u32;
        let steps = STEPS as u32;
        if units < steps {
            return units as usize;
        }
        // The highest bit says which doubling, the three below it where in that.
        let doubling = units.ilog2() - steps.ilog2();
        let index = (doubling * steps + (units >> doubling)) as usize;
        index.min(STEPS * (DOUBLINGS + 1) - 1)
    }

    /// Where a bucket begins.
    fn bound(index: usize) -> Duration {
        let units = match index.checked_sub(STEPS) {
            None => index as u64,
            Some(above) => ((above % STEPS + STEPS) as u64) << (above / STEPS),
        };
        Duration::from_nanos(units << SHIFT)
    }
}

/// What is known of one method.
#[derive(Debug)]
pub(super) struct MethodLatency {
    /// Its metric label.
    pub(super) label: String,
    /// Samples since the last look, under whatever load.
    pub(super) window: Histogram,
    /// What measures latency without load.
    pub(super) cohort: Cohort,
    /// Latency without load, in nanoseconds; 0 while it is not known.
    baseline: AtomicU64,
}

impl MethodLatency {
    pub(super) fn new(label: String) -> Self {
        Self { label, window: Histogram::new(), cohort: Cohort::default(), baseline: AtomicU64::new(0) }
    }

    pub(super) fn baseline(&self) -> Option<Duration> {
        match self.baseline.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    pub(super) fn set_baseline(&self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.baseline.store(nanos.max(1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_lies_between_its_bounds_and_is_an_eighth_wide() {
        for nanos in (0..36).map(|power| 3_u64 << power) {
            let latency = Duration::from_nanos(nanos);
            let index = Histogram::index(latency);
            let (from, to) = (Histogram::bound(index), Histogram::bound(index + 1));
            assert!(from <= latency && latency < to, "{latency:?} is not in {from:?}..{to:?}");
            assert!(index < STEPS || (to - from) * 8 <= from, "{from:?}..{to:?}");
        }
        assert_eq!(Histogram::index(Duration::MAX), STEPS * (DOUBLINGS + 1) - 1);
    }

    #[test]
    fn a_percentile_is_near_the_true_one_and_taking_it_leaves_nothing() {
        let histogram = Histogram::new();
        for millis in 1..=1000 {
            histogram.add(Duration::from_millis(millis));
        }
        assert_eq!(histogram.count(), 1000);
        let (median, count) = histogram.take(50);
        assert_eq!(count, 1000);
        assert!(median.abs_diff(Duration::from_millis(500)) < Duration::from_millis(10), "{median:?}");
        assert_eq!(histogram.take(50), (Duration::ZERO, 0));
    }
}

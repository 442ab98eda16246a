//! Numbers that a seed decides.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// `SplitMix64`. Clones share one sequence.
#[derive(Debug, Clone)]
pub struct Random(Arc<AtomicU64>);

/// The odd constant of the algorithm: every state comes up once before the first one comes again.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// The sequence of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(AtomicU64::new(seed)))
    }

    /// A sequence of its own, so that what one part of a world draws does not depend on how much another does.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::new(self.bits())
    }

    /// 64 bits.
    #[must_use]
    pub fn bits(&self) -> u64 {
        let mut bits = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// One of `range`; its start when it is empty.
    #[must_use]
    pub fn of(&self, range: Range<u64>) -> u64 {
        range.start + self.bits() % range.end.saturating_sub(range.start).max(1)
    }

    /// So many milliseconds.
    #[must_use]
    pub fn millis(&self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.of(range))
    }

    /// Whether a throw with this chance of a hundred succeeds.
    #[must_use]
    pub fn percent(&self, chance: u64) -> bool {
        self.of(0..100) < chance
    }

    /// One of these.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn choose<T: Copy>(&self, from: &[T]) -> T {
        from[self.of(0..from.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_sequence_and_another_seed_another() {
        let draw = |seed| {
            (0..8)
                .map({
                    let random = Random::new(seed);
                    move |_| random.bits()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let random = Random::new(3);
        assert!((0..1000).all(|_| (5..8).contains(&random.of(5..8))));
        assert_eq!(random.of(7..7), 7);
    }
}

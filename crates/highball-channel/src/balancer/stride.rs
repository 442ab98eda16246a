//! Turns in proportion to weights, without a lock: the static stride scheduler of gRPC (gRFC A58).
//!
//! A counter walks over the backends again and again. In each round the heaviest backend has its turn; one of a third of its
//! weight has it in every third round. Which rounds is arithmetic on the counter, so threads share nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const MAX: u64 = u16::MAX as u64;

/// Whose turn it is.
#[derive(Debug)]
pub(super) struct Stride {
    /// Scaled so that the largest is [`MAX`]; `None` when all are equal.
    weights: Option<Box<[u16]>>,
    length: usize,
    /// Goes on from scheduler to scheduler: one that began anew would favour the first backends.
    sequence: Arc<AtomicU64>,
}

impl Stride {
    /// Equal turns for `length` backends, at least one.
    pub(super) fn even(length: usize, sequence: &Arc<AtomicU64>) -> Self {
        Self { weights: None, length: length.max(1), sequence: Arc::clone(sequence) }
    }

    /// Turns in proportion. What is not positive and finite gets the least.
    pub(super) fn weighted(weights: &[f64], sequence: &Arc<AtomicU64>) -> Self {
        let max = weights.iter().copied().filter(|weight| weight.is_finite()).fold(0.0, f64::max);
        // The cast saturates, and makes NaN zero. Nobody is left out for good.
        let scaled: Box<[u16]> =
            weights.iter().map(|weight| ((weight / max * MAX as f64).round() as u16).max(1)).collect();
        let even = Self::even(weights.len(), sequence);
        if scaled.iter().all(|weight| scaled.first() == Some(weight)) {
            return even;
        }
        Self { weights: Some(scaled), ..even }
    }

    /// An index below the number of backends.
    pub(super) fn next(&self) -> usize {
        let length = self.length as u64;
        let mut turn = self.sequence.fetch_add(1, Ordering::Relaxed);
        let Some(weights) = &self.weights else { return (turn % length) as usize };
        // Alone, a thread meets the heaviest backend within two rounds. Others may take those turns; it does not look
        // for its luck for ever.
        for _ in 0..length.saturating_mul(4) {
            let (round, place) = (turn / length, turn % length);
            let weight = weights.get(place as usize).copied().map_or(MAX, u64::from);
            // Shifting each backend's rounds keeps equal weights from skipping the same round.
            let phase = weight.wrapping_mul(round).wrapping_add(place * (MAX / 2)) % MAX;
            if phase >= MAX - weight {
                return place as usize;
            }
            turn = self.sequence.fetch_add(1, Ordering::Relaxed);
        }
        (turn % length) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(weights: &[f64], turns: usize) -> Vec<usize> {
        let stride = Stride::weighted(weights, &Arc::default());
        let mut shares = vec![0; weights.len()];
        (0..turns).for_each(|_| shares[stride.next()] += 1);
        shares
    }

    #[test]
    fn equal_weights_take_turns() {
        let sequence = Arc::new(AtomicU64::new(7));
        let stride = Stride::weighted(&[3.0, 3.0, 3.0], &sequence);
        assert_eq!((0..6).map(|_| stride.next()).collect::<Vec<_>>(), [1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn turns_are_in_proportion() {
        let shares = shares(&[1.0, 2.0, 4.0], 7_000);
        for (share, want) in shares.iter().zip([1_000, 2_000, 4_000]) {
            assert!(share.abs_diff(want) <= 20, "{shares:?}");
        }
    }

    #[test]
    fn a_weight_that_is_none_is_not_left_out() {
        let shares = shares(&[0.0, f64::NAN, 1.0, f64::INFINITY], 300_000);
        assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
    }

    proptest! {
        #[test]
        fn every_weighting_is_followed_within_two_turns_per_thousand(
            weights in prop::collection::vec(0.05_f64..1.0, 2..12),
        ) {
            let turns = 20_000;
            let sum: f64 = weights.iter().sum();
            for (share, weight) in shares(&weights, turns).into_iter().zip(&weights) {
                let want = weight / sum * turns as f64;
                prop_assert!((share as f64 - want).abs() <= turns as f64 / 500.0, "{share} of {want}");
            }
        }
    }
}

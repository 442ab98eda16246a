//! The hash ring (gRFC A42, as Envoy's `ring_hash_lb`).

use std::collections::HashMap;
use std::sync::Arc;

use twox_hash::XxHash64;

use crate::backend::Backend;

/// Entries at most, whatever the config says: the client-side cap of gRFC A42.
pub(super) const ENTRIES_MAX: u64 = 4096;

/// gRFC A42 keeps the ring near its smallest size: with every backend that leaves, the others get more points, and nearly
/// as many keys move to those as belonged to the one that left. A share of the smallest size that does not depend on the
/// number of backends keeps the points where they are; with the default sizes, from 8 to 32 backends of one weight.
const SPREAD: f64 = 8.0;

/// Every backend owns points on the ring, in proportion to its weight. A key belongs to the next point.
#[derive(Debug)]
pub(super) struct Ring {
    /// Hash and index of the backend, ascending.
    points: Vec<(u64, usize)>,
}

/// Where a backend stands, and how often.
pub(super) type Stake = (String, u32);

/// What places a backend on the ring: its `hash_key`, or else its first address (gRFC A76).
pub(super) fn stake(backend: &Arc<Backend>) -> Stake {
    let endpoint = backend.endpoint();
    let key = endpoint.attributes.hash_key.clone().filter(|key| !key.is_empty());
    (key.unwrap_or_else(|| endpoint.name()), endpoint.attributes.weight.unwrap_or(1).max(1))
}

impl Ring {
    /// A ring of `size_min` to `size_max` points. It is as large as it must be for the lightest backend to have a whole
    /// number of them, and an eighth of `size_min` at least.
    pub(super) fn new(stakes: &[Stake], size_min: u64, size_max: u64) -> Self {
        let size_max = size_max.clamp(1, ENTRIES_MAX);
        let size_min = size_min.clamp(1, size_max) as f64;
        // In 64 bits: weights of 32 bits add up to more than 32 bits hold.
        let sum = stakes.iter().map(|(_, weight)| u64::from(*weight)).sum::<u64>().max(1) as f64;
        let lightest = stakes.iter().map(|(_, weight)| f64::from(*weight) / sum).fold(1.0, f64::min);
        let points = (lightest * size_min).ceil().max((size_min / SPREAD).floor());
        let scale = (points / lightest).min(size_max as f64);

        // By key, not as the resolver listed them: fractions are rounded alike on every client.
        let mut order: Vec<(usize, &Stake)> = stakes.iter().enumerate().collect();
        order.sort_by_key(|(_, stake)| *stake);
        let mut points = Vec::with_capacity(scale.ceil() as usize);
        // Backends with the same key go on counting, or they would lie under each other.
        let mut counters: HashMap<&str, usize> = HashMap::new();
        let mut wanted = 0.0;
        for (index, (key, weight)) in order {
            wanted += scale * f64::from(*weight) / sum;
            let counter = counters.entry(key).or_default();
            while (points.len() as f64) < wanted && (points.len() as u64) < size_max {
                points.push((hash(format!("{key}_{counter}").as_bytes()), index));
                *counter += 1;
            }
        }
        points.sort_unstable();
        Self { points }
    }

    /// Indices of backends in the order of the ring, from `hash` on, once around. Repeats backends.
    pub(super) fn from(&self, hash: u64) -> impl Iterator<Item = usize> {
        let start = self.points.partition_point(|(point, _)| *point < hash);
        let (before, after) = self.points.split_at(start);
        after.iter().chain(before).map(|(_, index)| *index)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.points.len()
    }
}

/// XXH64 without a seed, as all gRPC clients hash (gRFC A42).
pub(super) fn hash(bytes: &[u8]) -> u64 {
    XxHash64::oneshot(0, bytes)
}

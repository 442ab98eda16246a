//! Latency without load, from RPCs that were chosen when they began.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// So many RPCs of one method, chosen as they come. The first to end are the quick ones: their median is not the median, and
/// a limit taken from it would be far too low. Those that were chosen and have not ended count as slow instead.
#[derive(Debug, Default)]
pub(super) struct Cohort {
    /// How many more are wanted; zero for nearly every RPC that looks.
    wanted: AtomicU32,
    generation: AtomicU32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    generation: u32,
    /// How many are chosen altogether; zero for no measurement.
    size: u32,
    /// The latencies of those that ended well; at most `size`.
    ended: Vec<Duration>,
    /// Those that ended otherwise.
    lost: u32,
    /// Since when none is wanted any more.
    full_since: Option<Instant>,
}

/// One of a cohort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member(u32);

impl Cohort {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts to choose `size` RPCs. Forgets those of before.
    pub(super) fn open(&self, size: u32) {
        let mut state = self.state();
        let generation = state.generation.wrapping_add(1);
        *state = State { generation, size, ..State::default() };
        self.generation.store(generation, Ordering::Relaxed);
        self.wanted.store(size, Ordering::Relaxed);
    }

    /// Whether a measurement goes on.
    pub(super) fn is_open(&self) -> bool {
        self.state().size > 0
    }

    /// Chooses an RPC that begins, if one is wanted.
    pub(super) fn join(&self) -> Option<Member> {
        if self.wanted.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let member = Member(self.generation.load(Ordering::Relaxed));
        let less = |wanted: u32| wanted.checked_sub(1);
        self.wanted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok().map(|_| member)
    }

    /// One of them ended: after `took`, or in a way that says nothing.
    pub(super) fn end(&self, member: Member, took: Option<Duration>) {
        let mut state = self.state();
        if state.generation != member.0 {
            return;
        }
        match took {
            Some(took) => state.ended.push(took),
            None => state.lost += 1,
        }
    }

    /// The latency that `percent` of them stay below, once it is known whatever the others take; then the measurement is
    /// over. It begins anew when most of them said nothing.
    pub(super) fn take(&self, percent: u32, now: Instant) -> Option<Duration> {
        let mut state = self.state();
        if state.size == 0 || self.wanted.load(Ordering::Relaxed) > 0 {
            return None;
        }
        if state.lost > state.size / 2 {
            let size = state.size;
            drop(state);
            self.open(size);
            return None;
        }
        let full_since = *state.full_since.get_or_insert(now);
        let rank = (state.size - state.lost).saturating_mul(percent) / 100;
        state.ended.sort_unstable();
        let latency = *state.ended.get(rank as usize)?;
        // Whoever has not ended took longer than that already.
        if now < full_since + latency {
            return None;
        }
        state.size = 0;
        state.ended = Vec::new();
        Some(latency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_quick_ones_end_first_and_are_not_taken_for_all() {
        let (cohort, start) = (Cohort::default(), Instant::now());
        assert_eq!(cohort.join(), None, "nothing is measured unless it is asked for");
        cohort.open(4);
        let members: Vec<_> = std::iter::from_fn(|| cohort.join()).collect();
        assert_eq!(members.len(), 4);
        cohort.end(members[0], Some(MS));
        cohort.end(members[1], Some(2 * MS));
        assert_eq!(cohort.take(50, start), None, "two of four are no median yet");
        cohort.end(members[2], Some(30 * MS));
        assert_eq!(cohort.take(50, start + 10 * MS), None, "the last might still be quicker than 30 ms");
        assert_eq!(cohort.take(50, start + 30 * MS), Some(30 * MS));
        assert_eq!((cohort.is_open(), cohort.join()), (false, None));
    }

    #[test]
    fn who_failed_is_left_out_and_who_belongs_to_an_earlier_measurement_too() {
        let (cohort, now) = (Cohort::default(), Instant::now());
        cohort.open(3);
        let early = cohort.join().unwrap();
        cohort.open(3);
        cohort.end(early, Some(MS));
        let members: Vec<_> = std::iter::from_fn(|| cohort.join()).collect();
        cohort.end(members[0], None);
        cohort.end(members[1], Some(5 * MS));
        cohort.end(members[2], Some(6 * MS));
        cohort.take(50, now);
        assert_eq!(cohort.take(50, now + MS * 6), Some(6 * MS));
        cohort.open(3);
        std::iter::from_fn(|| cohort.join()).for_each(|member| cohort.end(member, None));
        assert_eq!(cohort.take(50, now), None);
        assert!(cohort.join().is_some(), "a cohort that said nothing is chosen anew");
    }
}

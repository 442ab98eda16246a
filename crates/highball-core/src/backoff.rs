//! How long to wait before trying again.

use std::time::Duration;

/// How a [`Backoff`] grows. The defaults are those of grpc `doc/connection-backoff.md`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BackoffSettings {
    /// After the first failure. Default 1 s.
    pub initial: Duration,
    /// What each further failure multiplies the wait by; less than 1 counts as 1. Default 1.6.
    pub multiplier: f64,
    /// The wait stops growing here; jitter comes on top. Default 120 s.
    pub max: Duration,
    /// The share of the wait that chance adds or takes away, 0 to 1, so that those who failed together do not come back
    /// together. Default 0.2.
    pub jitter: f64,
}

impl Default for BackoffSettings {
    fn default() -> Self {
        Self { initial: Duration::from_secs(1), multiplier: 1.6, max: Duration::from_secs(120), jitter: 0.2 }
    }
}

/// Waits that grow with each failure in a row. Used for connections, health watches and resolvers.
///
/// It keeps no time and no randomness of its own: who waits says when and brings the bits.
#[derive(Debug, Clone)]
pub struct Backoff {
    settings: BackoffSettings,
    /// Before jitter.
    wait: Duration,
}

impl Backoff {
    /// As after a success.
    #[must_use]
    pub fn new(settings: BackoffSettings) -> Self {
        Self { settings, wait: settings.initial.min(settings.max) }
    }

    /// A failure happened: how long to wait now. The next one waits longer.
    pub fn next(&mut self, random: u64) -> Duration {
        let wait = jittered(self.wait, self.settings.jitter, random);
        // `max` also answers for NaN.
        self.wait = scaled(self.wait, self.settings.multiplier.max(1.0)).min(self.settings.max);
        wait
    }

    /// A success happened: the next failure is the first again.
    pub fn reset(&mut self) {
        *self = Self::new(self.settings);
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(BackoffSettings::default())
    }
}

/// `wait`, longer or shorter by up to the share `jitter` of itself, evenly spread over the random bits.
#[must_use]
pub fn jittered(wait: Duration, jitter: f64, random: u64) -> Duration {
    // A jitter that is not a number must not turn the wait into none.
    let jitter = if jitter.is_nan() { 0.0 } else { jitter.clamp(0.0, 1.0) };
    scaled(wait, 1.0 - jitter + 2.0 * jitter * fraction(random))
}

/// `duration * factor`, at most `Duration::MAX`; nothing for a factor that is negative or not a number.
#[must_use]
pub fn scaled(duration: Duration, factor: f64) -> Duration {
    let seconds = duration.as_secs_f64() * factor;
    // A negative number and NaN are no duration, and neither is too much.
    Duration::try_from_secs_f64(seconds).unwrap_or(if seconds > 0.0 { Duration::MAX } else { Duration::ZERO })
}

/// Random bits as a number of `[0, 1)`.
#[must_use]
pub fn fraction(random: u64) -> f64 {
    // As many bits as the number holds.
    (random >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits that leave the wait as it is.
    const MIDDLE: u64 = 1 << 63;

    #[test]
    fn waits_grow_to_the_cap_and_start_over_after_a_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..13).map(|_| backoff.next(MIDDLE).as_millis() as u64).collect();
        assert_eq!(
            waits,
            [
                1_000, 1_600, 2_560, 4_096, 6_553, 10_485, 16_777, 26_843, 42_949, 68_719, 109_951, 120_000,
                120_000
            ]
        );
        backoff.reset();
        assert_eq!(backoff.next(MIDDLE), Duration::from_secs(1));
    }

    #[test]
    fn chance_moves_a_wait_by_a_fifth_at_most() {
        let second = Duration::from_secs(1);
        assert_eq!(jittered(second, 0.2, 0), Duration::from_millis(800));
        let longest = jittered(second, 0.2, u64::MAX);
        assert!(longest <= Duration::from_millis(1_200) && longest > Duration::from_millis(1_199));
        assert_eq!(jittered(second, 0.0, 7), second);
        assert_eq!(jittered(second, f64::NAN, 7), second);
    }

    #[test]
    fn nonsense_settings_do_no_harm() {
        let mut backoff = Backoff::new(BackoffSettings {
            initial: Duration::from_secs(9),
            multiplier: f64::NAN,
            max: Duration::from_secs(5),
            jitter: f64::INFINITY,
        });
        for _ in 0..3 {
            assert!(backoff.next(u64::MAX) <= Duration::from_secs(10));
        }
        assert_eq!(scaled(Duration::MAX, 3.0), Duration::MAX);
        assert_eq!(scaled(Duration::from_secs(1), -1.0), Duration::ZERO);
        assert!(fraction(u64::MAX) < 1.0);
    }
}

//! Stops retries and hedges while too many calls fail (gRFC A6, "Throttling").

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A token, in the thousandths that are counted.
const TOKEN: u32 = 1000;

/// `retryThrottling` of the service config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThrottleSettings {
    max_thousandths: u32,
    ratio_thousandths: u32,
}

impl ThrottleSettings {
    /// `max_tokens` of 1 to 1,000, and a `token_ratio` of which three decimals count; `None` when nothing is left of either.
    #[must_use]
    pub fn new(max_tokens: u32, token_ratio: f64) -> Option<Self> {
        // Without the nudge 1.001 * 1000 would be cut to 1000.
        let ratio = (token_ratio * f64::from(TOKEN) + 1e-9).floor();
        let max_thousandths =
            max_tokens.checked_mul(TOKEN).filter(|max| (TOKEN..=1000 * TOKEN).contains(max))?;
        // More than all tokens is all of them.
        (ratio >= 1.0).then(|| Self {
            max_thousandths,
            ratio_thousandths: ratio.min(f64::from(max_thousandths)) as u32,
        })
    }
}

impl ThrottleSettings {
    /// Without `retryThrottling` in the service config: 100 tokens and a tenth of one for each success. gRPC has no default;
    /// then a policy meant for a hiccup multiplies the load of an outage.
    pub(crate) fn default_on() -> Option<Self> {
        Self::new(100, 0.1)
    }
}

/// The tokens of one channel. A failure takes one, a success gives a share of one back; with half of them gone nothing is
/// sent twice. Never blocks.
#[derive(Debug)]
pub(crate) struct Throttle {
    settings: ThrottleSettings,
    thousandths: AtomicU32,
}

impl Throttle {
    /// With all its tokens.
    #[must_use]
    pub(crate) fn new(settings: ThrottleSettings) -> Self {
        Self { settings, thousandths: AtomicU32::new(settings.max_thousandths) }
    }

    /// The throttle after a new service config. The same settings keep it; others take over the share of tokens that was
    /// left, so that a config published during an outage is no licence to retry.
    #[must_use]
    pub(crate) fn renew(now: Option<&Arc<Self>>, settings: Option<ThrottleSettings>) -> Option<Arc<Self>> {
        let settings = settings?;
        match now {
            None => Some(Arc::new(Self::new(settings))),
            Some(now) if now.settings == settings => Some(now.clone()),
            Some(now) => {
                let left = u64::from(now.thousandths.load(Ordering::Relaxed))
                    * u64::from(settings.max_thousandths)
                    / u64::from(now.settings.max_thousandths);
                // Left is not more than there were, so this is not more than there will be.
                let left = u32::try_from(left).unwrap_or(settings.max_thousandths);
                Some(Arc::new(Self { settings, thousandths: AtomicU32::new(left) }))
            }
        }
    }

    /// Whether a retry or a further hedge may be sent: more than half of the tokens are left.
    #[must_use]
    pub(crate) fn allows(&self) -> bool {
        self.is_enough(self.thousandths.load(Ordering::Relaxed))
    }

    /// An attempt succeeded.
    pub(crate) fn succeeded(&self) {
        self.change(|left| {
            left.saturating_add(self.settings.ratio_thousandths).min(self.settings.max_thousandths)
        });
    }

    /// An attempt failed with a retryable or non-fatal code, or was told not to retry. Other failures do not count, and
    /// neither do transparent retries. Returns what [`allows`](Self::allows) says right after.
    pub(crate) fn failed(&self) -> bool {
        let left = self.change(|left| left.saturating_sub(TOKEN));
        self.is_enough(left)
    }

    /// Tokens that are left, in thousandths, for people who ask.
    #[must_use]
    pub(crate) fn thousandths(&self) -> u32 {
        self.thousandths.load(Ordering::Relaxed)
    }

    fn is_enough(&self, left: u32) -> bool {
        left > self.settings.max_thousandths / 2
    }

    fn change(&self, next: impl Fn(u32) -> u32) -> u32 {
        // A success with all tokens there is the common case, and then nobody's cache line is touched.
        let mut left = self.thousandths.load(Ordering::Relaxed);
        loop {
            let after = next(left);
            if after == left {
                return after;
            }
            match self.thousandths.compare_exchange_weak(left, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return after,
                Err(now) => left = now,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(max_tokens: u32, token_ratio: f64) -> ThrottleSettings {
        ThrottleSettings::new(max_tokens, token_ratio).unwrap()
    }

    #[test]
    fn three_decimals_of_the_ratio_count() {
        for (ratio, thousandths) in
            [(0.1, 100), (1.001, 1001), (0.0019, 1), (0.1239, 123), (1.0, 1000), (1e9, 10_000)]
        {
            assert_eq!(settings(10, ratio).ratio_thousandths, thousandths, "{ratio}");
        }
        for (max, ratio) in
            [(0, 0.1), (1001, 0.1), (u32::MAX, 0.1), (10, 0.0), (10, 0.0009), (10, -1.0), (10, f64::NAN)]
        {
            assert_eq!(ThrottleSettings::new(max, ratio), None, "{max} {ratio}");
        }
    }

    #[test]
    fn half_of_the_tokens_is_not_enough() {
        let throttle = Throttle::new(settings(10, 0.1));
        for failure in 1..=4 {
            assert!(throttle.failed(), "failure {failure} leaves more than half");
        }
        assert!(!throttle.failed(), "five of ten are left");
        assert!(!throttle.allows());
        throttle.succeeded();
        assert!(throttle.allows(), "a tenth more than half");
    }

    #[test]
    fn tokens_stay_between_none_and_all() {
        let throttle = Throttle::new(settings(3, 0.7));
        throttle.succeeded();
        assert_eq!(throttle.thousandths(), 3000);
        for _ in 0..9 {
            throttle.failed();
        }
        assert_eq!(throttle.thousandths(), 0);
        throttle.succeeded();
        assert_eq!(throttle.thousandths(), 700);
    }

    #[test]
    fn a_new_config_gives_no_tokens_back() {
        let now = Arc::new(Throttle::new(settings(10, 0.1)));
        for _ in 0..8 {
            now.failed();
        }
        let same = Throttle::renew(Some(&now), Some(settings(10, 0.1))).unwrap();
        assert!(Arc::ptr_eq(&same, &now));
        let other = Throttle::renew(Some(&now), Some(settings(100, 0.1))).unwrap();
        assert_eq!(other.thousandths(), 20_000, "a fifth was left");
        assert!(Throttle::renew(Some(&now), None).is_none());
        let first = Throttle::renew(None, Some(settings(10, 0.1))).unwrap();
        assert_eq!(first.thousandths(), 10_000);
    }

    #[test]
    fn no_count_is_lost_between_threads() {
        let throttle = Throttle::new(settings(1000, 0.001));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        throttle.failed();
                    }
                });
            }
        });
        assert_eq!(throttle.thousandths(), 600_000);
    }
}

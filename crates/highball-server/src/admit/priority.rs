//! Who goes first when there is not room for everyone.

use std::fmt;

use crate::Settings;

/// How much a method matters when the server is full. A lower one may use only a share of the limit, so as the server fills
/// it is refused first and leaves the rest of the limit to those above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// May use 70 % of the limit: batches, prefetching, what somebody else will ask for again.
    Sheddable,
    /// May use 90 % of the limit, or all of it while no method is [`Critical`](Self::Critical): nothing is kept free for
    /// nobody. The default.
    #[default]
    Normal,
    /// May use all of the limit. For the few methods without which the others are in vain.
    Critical,
}

impl Priority {
    /// `sheddable`, `normal` or `critical`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sheddable => "sheddable",
            Self::Normal => "normal",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What each priority may use of a limit, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares([usize; 3]);

impl Shares {
    pub(crate) fn new(settings: &Settings) -> Self {
        let critical = settings.methods.iter().any(|own| own.priority == Some(Priority::Critical));
        Self([70, if critical { 90 } else { 100 }, 100])
    }

    /// The share of `limit` that RPCs of `priority` may bring the server to; at least one, or they would never run.
    pub(crate) fn of(self, priority: Priority, limit: usize) -> usize {
        let percent = self.0[priority as usize];
        // Hundreds first: the product of a large limit would not fit.
        (limit / 100 * percent + limit % 100 * percent / 100).max(1)
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [sheddable, normal, critical] = self.0;
        write!(f, "{sheddable} % / {normal} % / {critical} %")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MethodSettings;

    #[test]
    fn nothing_is_kept_free_for_critical_methods_that_do_not_exist() {
        let of = |settings: &Settings, priority| Shares::new(settings).of(priority, 1000);
        let plain = Settings::default();
        assert_eq!(of(&plain, Priority::Normal), 1000);
        assert_eq!(of(&plain, Priority::Sheddable), 700);
        let pay = MethodSettings { priority: Some(Priority::Critical), ..MethodSettings::default() };
        let with_critical = Settings { methods: vec![pay], ..Settings::default() };
        assert_eq!(of(&with_critical, Priority::Normal), 900);
        assert_eq!(of(&with_critical, Priority::Critical), 1000);
    }

    #[test]
    fn a_share_is_never_nothing_and_never_overflows() {
        let shares = Shares([70, 90, 100]);
        assert_eq!([1, 2, 3].map(|limit| shares.of(Priority::Sheddable, limit)), [1, 1, 2]);
        assert_eq!(shares.of(Priority::Critical, usize::MAX), usize::MAX);
    }
}

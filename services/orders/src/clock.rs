//! The one place that reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// A point in time, in microseconds since 1970 UTC: what the database keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Micros(pub(crate) i64);

impl Micros {
    /// Now. A clock set before 1970 reads as 1970.
    #[expect(
        clippy::disallowed_methods,
        reason = "the wall clock of the service; nothing is scheduled by it"
    )]
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// Whole seconds and the nanoseconds within the second.
    pub(crate) fn split(self) -> (i64, u32) {
        let nanos = self.0.rem_euclid(1_000_000) * 1_000;
        (self.0.div_euclid(1_000_000), u32::try_from(nanos).expect("below one second"))
    }
}

//! Bearer tokens: what happens to their keys, and, when somebody scrapes, the memory of verified ones.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tracing::{debug, error, info, warn};

use crate::{Telemetry, names};

/// A read of the keys of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JwksRefresh<'a> {
    /// They were read.
    Read {
        /// Keys that verify tokens.
        keys: usize,
        /// Keys that are of no use here.
        skipped: usize,
        /// Whether a key is gone or altered.
        removed: bool,
        /// What was wrong without keeping us from reading them.
        warning: Option<&'a str>,
    },
    /// They could not be read; those that are known stay for a while.
    Failed {
        /// Why.
        error: &'a str,
        /// Whether they are missing or too old, so that no token is accepted.
        stale: bool,
    },
}

impl JwksRefresh<'_> {
    /// The label of [`names::JWKS_REFRESHES`].
    pub(crate) fn result(&self) -> &'static str {
        match self {
            Self::Read { .. } => "read",
            Self::Failed { .. } => "failed",
        }
    }

    pub(crate) fn log(&self) {
        match *self {
            Self::Read { keys, skipped, removed, warning: Some(warning) } => {
                warn!(keys, skipped, removed, warning, "keys of tokens read");
            }
            Self::Read { keys, skipped, removed: true, warning: None } => {
                info!(keys, skipped, "keys of tokens read, and some are gone");
            }
            Self::Read { keys, skipped, removed: false, warning: None } => {
                debug!(keys, skipped, "keys of tokens read");
            }
            Self::Failed { error, stale: true } => {
                error!(error, "keys of tokens cannot be read, and no token is accepted");
            }
            Self::Failed { error, stale: false } => warn!(error, "keys of tokens cannot be read"),
        }
    }
}

/// How the verification of tokens does, at one moment. Counts start with the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tokens {
    /// Verified tokens that are remembered.
    pub entries: u64,
    /// Tokens that needed no signature check.
    pub hits: u64,
    /// Tokens that did, good or not.
    pub misses: u64,
    /// Tokens driven out by others at the bound.
    pub evictions: u64,
    /// How old the keys are; `None` where they are not followed, or were never read.
    pub keys_age: Option<Duration>,
}

impl Tokens {
    /// Counts are added, and the oldest keys are what to alarm on.
    fn and(self, other: Self) -> Self {
        Self {
            entries: self.entries + other.entries,
            hits: self.hits + other.hits,
            misses: self.misses + other.misses,
            evictions: self.evictions + other.evictions,
            keys_age: self.keys_age.max(other.keys_age),
        }
    }
}

type Reader = Box<dyn Fn() -> Option<Tokens> + Send + Sync>;

/// Reads when somebody scrapes, so that no RPC pays for it.
#[derive(Clone, Default)]
pub(crate) struct Readers(Arc<Mutex<Vec<Reader>>>);

impl Readers {
    fn lock(&self) -> MutexGuard<'_, Vec<Reader>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sum over all servers; `None` where nobody verifies tokens. Who is gone is forgotten.
    fn read(&self) -> Option<Tokens> {
        let mut sum = None;
        self.lock().retain(|read| match (read(), sum) {
            (Some(read), so_far) => {
                sum = Some(Tokens::and(so_far.unwrap_or_default(), read));
                true
            }
            (None, _) => false,
        });
        sum
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Readers")
    }
}

impl Collector for Readers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(tokens) = self.read() else { return Ok(()) };
        for (name, help, count) in [
            (names::TOKEN_CACHE_HITS, "Tokens that were remembered", tokens.hits),
            (names::TOKEN_CACHE_MISSES, "Tokens whose signature was checked", tokens.misses),
            (names::TOKEN_CACHE_EVICTIONS, "Remembered tokens driven out by others", tokens.evictions),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(count).encode(metric)?;
        }
        let help = "Tokens remembered now";
        let metric = encoder.encode_descriptor(names::TOKEN_CACHE_ENTRIES, help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::try_from(tokens.entries).unwrap_or(i64::MAX)).encode(metric)?;
        if let Some(age) = tokens.keys_age {
            let help = "Time since the keys of tokens were last read";
            let metric = encoder.encode_descriptor(names::JWKS_AGE, help, None, MetricType::Gauge)?;
            ConstGauge::new(age.as_secs_f64()).encode(metric)?;
        }
        Ok(())
    }
}

impl Telemetry {
    /// Shows how the verification of tokens does. `read` is called when metrics are rendered, must not block, and says `None`
    /// once what it reads is gone; it should hold it weakly.
    pub fn observe_tokens(&self, read: impl Fn() -> Option<Tokens> + Send + Sync + 'static) {
        self.families().tokens.lock().push(Box::new(read));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_added_up_and_the_oldest_keys_are_shown() {
        let telemetry = Telemetry::new();
        assert!(!telemetry.render().contains("token_cache"), "nobody verifies tokens");
        let alive = Arc::new(());
        for (hits, age) in [(3, None), (4, Some(Duration::from_secs(5)))] {
            let weak = Arc::downgrade(&alive);
            let tokens = Tokens { hits, keys_age: age, ..Tokens::default() };
            telemetry.observe_tokens(move || weak.upgrade().map(|_| tokens));
        }
        let page = telemetry.render();
        for line in ["token_cache_hits_total 7", "token_cache_entries 0", "jwks_age_seconds 5.0"] {
            assert!(page.contains(line), "{line}\n{page}");
        }
        drop(alive);
        assert!(!telemetry.render().contains("token_cache"));
    }
}

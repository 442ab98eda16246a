//! What the RPCs of one method record into. Every RPC comes here twice, so there are no locks: an RPC adds to three numbers,
//! and everything else is worked out of them when somebody scrapes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use highball_core::Code;
use highball_core::current::{Observer, Waste};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::metrics::MethodOnly;
use crate::names::{CALL_BUCKETS, REQUEST_BUCKETS};
use crate::{Event, Telemetry, names};

/// Labels of [`names::REQUESTS`].
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct MethodCode {
    method: String,
    code: &'static str,
}

/// Labels of [`names::SERVER_CALL_DURATION`], OpenTelemetry's names with dots turned into underscores.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RpcCall {
    rpc_system_name: &'static str,
    rpc_method: String,
    rpc_response_status_code: &'static str,
}

/// What one method records into, resolved once so that an RPC touches atomics only.
pub struct MethodMeter {
    label: String,
    telemetry: Telemetry,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    ended: [OnceLock<Box<Durations>>; Code::ALL.len()],
}

/// How long RPCs took that ended with one code. That code's count is the sum of the buckets.
#[derive(Default)]
struct Durations {
    /// Up to the bound of [`CALL_BUCKETS`] at the same place; the last has none.
    buckets: [AtomicU64; CALL_BUCKETS.len() + 1],
    nanos: AtomicU64,
}

/// [`CALL_BUCKETS`] in nanoseconds.
const BOUNDS: [u64; CALL_BUCKETS.len()] = {
    let mut bounds = [0; CALL_BUCKETS.len()];
    let mut place = 0;
    while place < bounds.len() {
        bounds[place] = (CALL_BUCKETS[place] * 1e9 + 0.5) as u64;
        place += 1;
    }
    bounds
};

impl Durations {
    fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let place = BOUNDS.iter().position(|bound| nanos <= *bound).unwrap_or(BOUNDS.len());
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

/// Durations as they were at one moment.
#[derive(Default, Clone, Copy)]
struct Seen {
    buckets: [u64; CALL_BUCKETS.len() + 1],
    nanos: u64,
}

impl Seen {
    fn of(durations: &Durations) -> Self {
        let buckets = durations.buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed));
        Self { buckets, nanos: durations.nanos.load(Ordering::Relaxed) }
    }

    fn and(mut self, other: &Self) -> Self {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(sum, more)| *sum += more);
        self.nanos += other.nanos;
        self
    }

    fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    fn seconds(&self) -> f64 {
        self.nanos as f64 / 1e9
    }

    /// By `bounds` that are among [`CALL_BUCKETS`], and one for what is beyond.
    fn by(&self, bounds: &[f64]) -> Vec<(f64, u64)> {
        let mut all = CALL_BUCKETS.into_iter().chain([f64::INFINITY]).zip(self.buckets).peekable();
        let bounds = bounds.iter().copied().chain([f64::INFINITY]);
        let up_to = |bound| {
            let mut sum = 0;
            while let Some((_, more)) = all.next_if(|(upper, _)| *upper <= bound) {
                sum += more;
            }
            (bound, sum)
        };
        bounds.map(up_to).collect()
    }
}

impl Counts {
    /// By code, those that occurred.
    fn codes(&self) -> impl Iterator<Item = (&'static str, Seen)> {
        let of = |(code, durations): (&Code, &OnceLock<Box<Durations>>)| {
            durations.get().map(|durations| (code.name(), Seen::of(durations)))
        };
        Code::ALL.iter().zip(&self.ended).filter_map(of)
    }

    fn all(&self) -> Seen {
        self.codes().fold(Seen::default(), |sum, (_, seen)| sum.and(&seen))
    }

    fn active(&self) -> i64 {
        // Those that ended first: whatever ends meanwhile has begun.
        let ended = self.all().count();
        i64::try_from(self.begun.load(Ordering::Acquire).saturating_sub(ended)).unwrap_or(i64::MAX)
    }
}

impl MethodMeter {
    /// The value of the `method` label.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Where else facts about it go.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// RPCs of this method begun and not ended.
    #[must_use]
    pub fn active(&self) -> i64 {
        self.counts.active()
    }

    /// An RPC began. Balanced by the one [`crate::Event::RpcEnded`] it reports.
    pub fn begin(&self) {
        self.counts.begun.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn end(&self, code: Code, duration: Duration) {
        self.counts.ended[code as usize].get_or_init(Box::default).observe(duration);
    }
}

impl Observer for MethodMeter {
    fn wasted(&self, waste: Waste) {
        self.telemetry.report(&Event::WorkWasted { method: &self.label, waste });
    }
}

impl fmt::Debug for MethodMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MethodMeter").field("label", &self.label).finish_non_exhaustive()
    }
}

impl Telemetry {
    /// The meters of one method. `label` must come from a closed set: resolve it once at start, not per RPC.
    #[must_use]
    pub fn method(&self, label: &str) -> Arc<MethodMeter> {
        let counts = self.families().methods.lock().entry(label.to_owned()).or_default().clone();
        Arc::new(MethodMeter { label: label.to_owned(), telemetry: self.clone(), counts })
    }
}

/// All methods that are metered; rendered by name.
#[derive(Clone, Default)]
pub(crate) struct Methods(Arc<Mutex<BTreeMap<String, Arc<Counts>>>>);

impl Methods {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Counts>>> {
        // Nothing panics while holding it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Methods").field("count", &self.lock().len()).finish()
    }
}

impl Collector for Methods {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let methods: Vec<_> = self.lock().clone().into_iter().collect();
        if methods.is_empty() {
            return Ok(());
        }
        let one = |method: &str| MethodOnly { method: method.to_owned() };

        let mut family = encoder.encode_descriptor(
            names::ACTIVE_REQUESTS,
            "RPCs begun and not ended",
            None,
            MetricType::Gauge,
        )?;
        for (method, counts) in &methods {
            ConstGauge::new(counts.active()).encode(family.encode_family(&one(method))?)?;
        }
        let help = "RPC duration, headers to end of response";
        let mut family =
            encoder.encode_descriptor(names::REQUEST_DURATION, help, None, MetricType::Histogram)?;
        for (method, counts) in &methods {
            let (seen, labels) = (counts.all(), one(method));
            let mut encoder = family.encode_family(&labels)?;
            let buckets = seen.by(&REQUEST_BUCKETS);
            encoder.encode_histogram::<NoLabelSet>(seen.seconds(), seen.count(), &buckets, None)?;
        }
        let codes: Vec<_> = methods
            .iter()
            .flat_map(|(method, counts)| counts.codes().map(move |(code, seen)| (method, code, seen)))
            .collect();
        if codes.is_empty() {
            return Ok(());
        }
        let mut family =
            encoder.encode_descriptor(names::REQUESTS, "Finished RPCs", None, MetricType::Counter)?;
        for (method, code, seen) in &codes {
            let labels = MethodCode { method: (*method).clone(), code };
            ConstCounter::new(seen.count()).encode(family.encode_family(&labels)?)?;
        }
        let help = "Duration of inbound RPCs";
        let mut family =
            encoder.encode_descriptor(names::SERVER_CALL_DURATION, help, None, MetricType::Histogram)?;
        for (method, code, seen) in &codes {
            let labels = RpcCall {
                rpc_system_name: "grpc",
                rpc_method: (*method).clone(),
                rpc_response_status_code: code,
            };
            let mut encoder = family.encode_family(&labels)?;
            let buckets = seen.by(&CALL_BUCKETS);
            encoder.encode_histogram::<NoLabelSet>(seen.seconds(), seen.count(), &buckets, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

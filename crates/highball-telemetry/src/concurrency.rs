//! How many RPCs are worked on, how many may be, and what the limit was taken from.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use crate::metrics::{LimitLabel, MethodOnly, ResultLabel};
use crate::{Limit, Telemetry, names};

/// A bound on what is done at once, and how much of it is used, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Occupancy {
    /// How many there may be, as of now.
    pub limit: u64,
    /// How many there are.
    pub in_flight: u64,
}

type Reader = Box<dyn Fn() -> Option<Occupancy> + Send + Sync>;

/// Reads what changes with every RPC when somebody scrapes, so that no RPC pays for it.
#[derive(Clone, Default)]
struct Readers(Arc<Mutex<Vec<(Limit, Reader)>>>);

impl Readers {
    fn lock(&self) -> MutexGuard<'_, Vec<(Limit, Reader)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sums by limit: an application may run two servers with one telemetry. Who is gone is forgotten.
    fn read(&self) -> BTreeMap<&'static str, Occupancy> {
        let mut sums = BTreeMap::<_, Occupancy>::new();
        self.lock().retain(|(limit, read)| {
            let Some(read) = read() else { return false };
            let sum = sums.entry(limit.label()).or_default();
            sum.limit = sum.limit.saturating_add(read.limit);
            sum.in_flight = sum.in_flight.saturating_add(read.in_flight);
            true
        });
        sums
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Readers")
    }
}

impl Collector for Readers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        type Value = fn(&Occupancy) -> u64;
        let gauges: [(&str, &str, Value); 2] = [
            (names::CONCURRENCY_LIMIT, "RPCs that may be worked on at once, as of now", |read| read.limit),
            (names::CONCURRENCY_IN_FLIGHT, "RPCs worked on, of those the limit counts", |read| {
                read.in_flight
            }),
        ];
        let sums = self.read();
        for (name, help, value) in gauges {
            let mut family: MetricEncoder<'_> =
                encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (limit, read) in &sums {
                let value = i64::try_from(value(read)).unwrap_or(i64::MAX);
                ConstGauge::new(value).encode(family.encode_family(&LimitLabel { limit })?)?;
            }
        }
        Ok(())
    }
}

/// The metrics of adaptive concurrency.
#[derive(Clone, Default)]
pub(crate) struct Adaptation {
    readers: Readers,
    pub(crate) baseline: Family<MethodOnly, Gauge<f64, AtomicU64>>,
    pub(crate) ratio: Gauge<f64, AtomicU64>,
    pub(crate) probes: Family<ResultLabel, Counter>,
}

impl Adaptation {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.readers.clone()));
        registry.register(
            names::CONCURRENCY_BASELINE,
            "Latency of a method without load, as last measured",
            self.baseline.clone(),
        );
        registry.register(
            names::CONCURRENCY_LATENCY_RATIO,
            "Latency of the last window over latency without load",
            self.ratio.clone(),
        );
        registry.register(
            names::CONCURRENCY_PROBES,
            "Times the limit was halved to measure latency without load",
            self.probes.clone(),
        );
    }
}

impl Telemetry {
    /// Shows how far a limit is used: `concurrency_limit{limit}` and `concurrency_in_flight{limit}`. `read` is called when
    /// metrics are rendered, must not block, and says `None` once what it reads is gone; it should hold it weakly.
    pub fn observe_occupancy(
        &self,
        limit: Limit,
        read: impl Fn() -> Option<Occupancy> + Send + Sync + 'static,
    ) {
        self.families().adaptation.readers.lock().push((limit, Box::new(read)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_share_a_telemetry_are_added_up_and_forgotten_when_they_are_gone() {
        let telemetry = Telemetry::new();
        let (one, two) = (Arc::new(3), Arc::new(4));
        for server in [&one, &two] {
            let weak = Arc::downgrade(server);
            let read = move || weak.upgrade().map(|used| Occupancy { limit: 10, in_flight: *used });
            telemetry.observe_occupancy(Limit::ConcurrentRpcs, read);
        }
        let page = telemetry.render();
        assert!(page.contains("concurrency_limit{limit=\"concurrent_rpcs\"} 20"), "{page}");
        assert!(page.contains("concurrency_in_flight{limit=\"concurrent_rpcs\"} 7"), "{page}");
        drop(one);
        let page = telemetry.render();
        assert!(page.contains("concurrency_in_flight{limit=\"concurrent_rpcs\"} 4"), "{page}");
        assert_eq!(telemetry.families().adaptation.readers.lock().len(), 1);
    }
}

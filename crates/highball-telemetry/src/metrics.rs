//! The registry, and the meters that RPCs record into.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter as RawCounter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::concurrency::Adaptation;
use crate::meter::Methods;
use crate::{channel, edge, log, names, tokens};

/// Where every room reports what happened. Cheap to clone; clones share one registry.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    registry: Mutex<Registry>,
    families: Families,
}

/// The families of this crate's own metrics; [`crate::Event`] records into them.
#[derive(Clone)]
pub(crate) struct Families {
    pub(crate) methods: Methods,
    pub(crate) wasted: Family<MethodAfter, Histogram, Buckets>,
    pub(crate) panics: Family<MethodOnly, RawCounter>,
    pub(crate) limit_hits: Family<LimitLabel, RawCounter>,
    pub(crate) adaptation: Adaptation,
    pub(crate) refused: Family<HttpStatusLabel, RawCounter>,
    pub(crate) abuse: Family<KindLabel, RawCounter>,
    pub(crate) denials: Family<ReasonLabel, RawCounter>,
    pub(crate) jwks_refreshes: Family<ResultLabel, RawCounter>,
    pub(crate) tokens: tokens::Readers,
    pub(crate) proxy_headers: Family<ReasonLabel, RawCounter>,
    pub(crate) tls_handshakes: Family<ResultLabel, RawCounter>,
    pub(crate) tls_expiry: Family<CertificateLabel, Gauge>,
    pub(crate) tls_reloads: Family<ResultLabel, RawCounter>,
    pub(crate) connections: RawCounter,
    pub(crate) connections_open: Gauge,
    pub(crate) worker_connections: Family<WorkerLabel, Gauge>,
    pub(crate) accept_failures: RawCounter,
    pub(crate) handovers: Family<ResultLabel, RawCounter>,
    pub(crate) channel: channel::Families,
    pub(crate) edge: edge::Families,
}

/// A method alone.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct MethodOnly {
    pub(crate) method: String,
}

/// Labels of [`names::WASTED_WORK`].
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct MethodAfter {
    pub(crate) method: String,
    pub(crate) after: &'static str,
}

/// The setting that refused something.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct LimitLabel {
    pub(crate) limit: &'static str,
}

/// What a peer did.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct KindLabel {
    pub(crate) kind: &'static str,
}

/// How something went.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct ResultLabel {
    pub(crate) result: &'static str,
}

/// Why, from a closed set.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct ReasonLabel {
    pub(crate) reason: &'static str,
}

/// A certificate of one of our own addresses.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct CertificateLabel {
    pub(crate) listener: String,
    pub(crate) certificate: String,
}

/// A worker thread, by its index.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct WorkerLabel {
    pub(crate) worker: u64,
}

/// An HTTP status.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct HttpStatusLabel {
    pub(crate) status: u16,
}

/// Builds histograms with fixed buckets.
#[derive(Clone)]
pub(crate) struct Buckets(pub(crate) &'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

impl Telemetry {
    /// A fresh registry with this workspace's metrics in it.
    #[must_use]
    pub fn new() -> Self {
        let families = Families {
            methods: Methods::default(),
            wasted: Family::new_with_constructor(Buckets(&names::WASTE_BUCKETS)),
            panics: Family::default(),
            limit_hits: Family::default(),
            adaptation: Adaptation::default(),
            refused: Family::default(),
            abuse: Family::default(),
            denials: Family::default(),
            jwks_refreshes: Family::default(),
            tokens: tokens::Readers::default(),
            proxy_headers: Family::default(),
            tls_handshakes: Family::default(),
            tls_expiry: Family::default(),
            tls_reloads: Family::default(),
            connections: RawCounter::default(),
            connections_open: Gauge::default(),
            worker_connections: Family::default(),
            accept_failures: RawCounter::default(),
            handovers: Family::default(),
            channel: channel::Families::new(),
            edge: edge::Families::default(),
        };
        let mut registry = Registry::default();
        families.register(&mut registry);
        Self(Arc::new(Inner { registry: Mutex::new(registry), families }))
    }

    /// Prometheus text (OpenMetrics 1.0), as `/metrics` serves it.
    #[must_use]
    pub fn render(&self) -> String {
        let mut page = String::new();
        // Writing into a String fails only when a label cannot be formatted; ours always can.
        if text::encode(&mut page, &self.registry()).is_err() {
            tracing::error!("a metric could not be rendered; /metrics is incomplete");
        }
        page
    }

    /// Registers a counter of the application's own, such as `orders_created`; it is rendered with `_total` appended.
    ///
    /// Registering one name twice gives two counters under one name, which scrapers refuse: call it once per name.
    #[must_use]
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        let counter = Counter::default();
        self.registry().register(name, help, counter.0.clone());
        counter
    }

    pub(crate) fn families(&self) -> &Families {
        &self.0.families
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        // A panic while rendering leaves the registry whole: it only reads.
        self.0.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Telemetry")
    }
}

impl Families {
    /// Changes the open connections of a worker, if it is one.
    pub(crate) fn of_worker(&self, worker: Option<usize>, change: impl FnOnce(&Gauge) -> i64) {
        if let Some(worker) = worker {
            change(&self.worker_connections.get_or_create(&WorkerLabel { worker: worker as u64 }));
        }
    }

    /// Counts what became of a handover.
    pub(crate) fn handed(&self, result: &'static str) {
        self.handovers.get_or_create(&ResultLabel { result }).inc();
    }

    /// Sets the date of a certificate, or forgets the certificate.
    pub(crate) fn certificate_expires(&self, listener: &str, certificate: &str, not_after: Option<i64>) {
        let label = CertificateLabel { listener: listener.to_owned(), certificate: certificate.to_owned() };
        if let Some(seconds) = not_after {
            self.tls_expiry.get_or_create(&label).set(seconds);
        } else {
            self.tls_expiry.remove(&label);
        }
    }

    fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.methods.clone()));
        registry.register(
            names::WASTED_WORK,
            "Time spent on RPCs after their deadline or cancellation: handlers that ran over, and detached work",
            self.wasted.clone(),
        );
        registry.register(names::PANICS, "Panics caught in handlers", self.panics.clone());
        registry.register(names::LIMIT_HITS, "Refusals by a limit", self.limit_hits.clone());
        self.adaptation.register(registry);
        registry.register(names::REFUSED_REQUESTS, "Requests that never became an RPC", self.refused.clone());
        registry.register(names::CONNECTIONS, "Connections accepted", self.connections.clone());
        registry.register(names::CONNECTIONS_OPEN, "Connections open now", self.connections_open.clone());
        registry.register(
            names::WORKER_CONNECTIONS_OPEN,
            "Connections open now, by worker thread",
            self.worker_connections.clone(),
        );
        registry.register(
            names::ACCEPT_FAILURES,
            "Failures to accept a connection",
            self.accept_failures.clone(),
        );
        registry.register(
            names::HANDOVERS,
            "Listening sockets passed on or taken over",
            self.handovers.clone(),
        );
        registry.register(
            names::ABUSE,
            "Connections ended because the client misbehaved",
            self.abuse.clone(),
        );
        registry.register(names::JWKS_REFRESHES, "Reads of the keys of tokens", self.jwks_refreshes.clone());
        registry.register_collector(Box::new(self.tokens.clone()));
        registry.register(names::PROXY_HEADERS_REFUSED, "PROXY headers refused", self.proxy_headers.clone());
        registry.register(names::DENIALS, "RPCs denied to their caller", self.denials.clone());
        registry.register(names::TLS_HANDSHAKES, "TLS handshakes", self.tls_handshakes.clone());
        registry.register(names::TLS_CERTIFICATE_EXPIRY, "Expiry of a certificate", self.tls_expiry.clone());
        registry.register(names::TLS_RELOADS, "Reloads of TLS files that changed", self.tls_reloads.clone());
        self.channel.register(registry);
        self.edge.register(registry);
        registry.register_collector(Box::new(log::DroppedLines));
    }
}

/// A monotonic count of the application's own. Clones share the count.
#[derive(Debug, Clone, Default)]
pub struct Counter(RawCounter);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.0.inc();
    }

    /// The count so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_counter_is_rendered() {
        let telemetry = Telemetry::new();
        let orders = telemetry.counter("orders_created", "Orders created");
        orders.inc();
        assert!(telemetry.render().contains("orders_created_total 1"), "{}", telemetry.render());
    }
}

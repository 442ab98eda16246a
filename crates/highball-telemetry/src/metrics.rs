//! The registry, and the meters that RPCs record into.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use highball_core::Code;
use highball_core::current::{Observer, Waste};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter as RawCounter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::concurrency::Adaptation;
use crate::{Event, channel, log, names, tokens};

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
    pub(crate) requests: Family<MethodCode, RawCounter>,
    pub(crate) duration: Family<MethodOnly, Histogram, Buckets>,
    pub(crate) active: Family<MethodOnly, Gauge>,
    pub(crate) call_duration: Family<RpcCall, Histogram, Buckets>,
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
    pub(crate) tls_expiry: Family<ListenerLabel, Gauge>,
    pub(crate) tls_reloads: Family<ResultLabel, RawCounter>,
    pub(crate) connections: RawCounter,
    pub(crate) connections_open: Gauge,
    pub(crate) accept_failures: RawCounter,
    pub(crate) channel: channel::Families,
}

/// Labels of [`names::REQUESTS`].
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct MethodCode {
    method: String,
    code: &'static str,
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

/// Labels of [`names::SERVER_CALL_DURATION`], OpenTelemetry's names with dots turned into underscores.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct RpcCall {
    rpc_system_name: &'static str,
    rpc_method: String,
    rpc_response_status_code: &'static str,
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

/// One of our own addresses.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct ListenerLabel {
    pub(crate) listener: String,
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
            requests: Family::default(),
            duration: Family::new_with_constructor(Buckets(&names::REQUEST_BUCKETS)),
            active: Family::default(),
            call_duration: Family::new_with_constructor(Buckets(&names::CALL_BUCKETS)),
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
            accept_failures: RawCounter::default(),
            channel: channel::Families::new(),
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

    /// The meters of one method. `label` must come from a closed set: resolve it once at start, not per RPC.
    #[must_use]
    pub fn method(&self, label: &str) -> Arc<MethodMeter> {
        let families = self.families();
        let method = MethodOnly { method: label.to_owned() };
        Arc::new(MethodMeter {
            duration: families.duration.get_or_create_owned(&method),
            active: families.active.get_or_create_owned(&method),
            codes: [const { OnceLock::new() }; Code::ALL.len()],
            label: label.to_owned(),
            telemetry: self.clone(),
        })
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
    fn register(&self, registry: &mut Registry) {
        registry.register(names::REQUESTS, "Finished RPCs", self.requests.clone());
        registry.register(
            names::REQUEST_DURATION,
            "RPC duration, headers to end of response",
            self.duration.clone(),
        );
        registry.register(names::ACTIVE_REQUESTS, "RPCs begun and not ended", self.active.clone());
        registry.register(
            names::SERVER_CALL_DURATION,
            "Duration of inbound RPCs",
            self.call_duration.clone(),
        );
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
            names::ACCEPT_FAILURES,
            "Failures to accept a connection",
            self.accept_failures.clone(),
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
        registry.register(
            names::TLS_CERTIFICATE_EXPIRY,
            "Expiry of the certificate",
            self.tls_expiry.clone(),
        );
        registry.register(names::TLS_RELOADS, "Reloads of TLS files that changed", self.tls_reloads.clone());
        self.channel.register(registry);
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

/// What one method records into, resolved once so that an RPC touches atomics and one histogram lock only.
pub struct MethodMeter {
    label: String,
    telemetry: Telemetry,
    duration: Histogram,
    active: Gauge,
    codes: [OnceLock<CodeMeter>; Code::ALL.len()],
}

struct CodeMeter {
    requests: RawCounter,
    call_duration: Histogram,
}

impl MethodMeter {
    /// The value of the `method` label.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// RPCs of this method begun and not ended.
    #[must_use]
    pub fn active(&self) -> i64 {
        self.active.get()
    }

    /// An RPC began. Balanced by the one [`crate::Event::RpcEnded`] it reports.
    pub fn begin(&self) {
        self.active.inc();
    }

    pub(crate) fn end(&self, code: Code, duration: Duration) {
        self.active.dec();
        self.duration.observe(duration.as_secs_f64());
        let meter = self.codes[code as usize].get_or_init(|| {
            let requests = MethodCode { method: self.label.clone(), code: code.name() };
            let call = RpcCall {
                rpc_system_name: "grpc",
                rpc_method: self.label.clone(),
                rpc_response_status_code: code.name(),
            };
            let families = self.telemetry.families();
            CodeMeter {
                requests: families.requests.get_or_create_owned(&requests),
                call_duration: families.call_duration.get_or_create_owned(&call),
            }
        });
        meter.requests.inc();
        meter.call_duration.observe(duration.as_secs_f64());
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

#[cfg(test)]
mod tests {
    use highball_core::current::Abandoned;

    use super::*;

    #[test]
    fn an_rpc_is_counted_under_every_vocabulary() {
        let telemetry = Telemetry::new();
        let meter = telemetry.method("shop.v1.Orders/Get");
        meter.begin();
        assert!(telemetry.render().contains("grpc_active_requests{method=\"shop.v1.Orders/Get\"} 1"));
        meter.end(Code::NotFound, Duration::from_millis(7));
        let page = telemetry.render();
        for line in [
            "grpc_active_requests{method=\"shop.v1.Orders/Get\"} 0",
            "grpc_requests_total{method=\"shop.v1.Orders/Get\",code=\"NOT_FOUND\"} 1",
            "grpc_request_duration_seconds_bucket{le=\"0.01\",method=\"shop.v1.Orders/Get\"} 1",
            "grpc_request_duration_seconds_bucket{le=\"0.005\",method=\"shop.v1.Orders/Get\"} 0",
            "rpc_server_call_duration_seconds_count{rpc_system_name=\"grpc\",rpc_method=\"shop.v1.Orders/Get\",rpc_response_status_code=\"NOT_FOUND\"} 1",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
    }

    #[test]
    fn time_spent_for_nobody_is_metered_by_method_and_reason() {
        let telemetry = Telemetry::new();
        let meter = telemetry.method("shop.v1.Orders/Get");
        for (after, millis) in
            [(Abandoned::Deadline, 2), (Abandoned::Deadline, 20), (Abandoned::Cancellation, 5)]
        {
            meter.wasted(Waste { after, time: Duration::from_millis(millis) });
        }
        let page = telemetry.render();
        for line in [
            "grpc_wasted_work_seconds_sum{method=\"shop.v1.Orders/Get\",after=\"deadline\"} 0.022",
            "grpc_wasted_work_seconds_count{method=\"shop.v1.Orders/Get\",after=\"deadline\"} 2",
            "grpc_wasted_work_seconds_count{method=\"shop.v1.Orders/Get\",after=\"cancellation\"} 1",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
    }

    #[test]
    fn an_application_counter_is_rendered() {
        let telemetry = Telemetry::new();
        let orders = telemetry.counter("orders_created", "Orders created");
        orders.inc();
        assert!(telemetry.render().contains("orders_created_total 1"), "{}", telemetry.render());
    }
}

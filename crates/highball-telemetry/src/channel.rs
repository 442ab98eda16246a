//! What happens to a channel and its calls.

mod log;

use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use highball_core::{Code, Status};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::metrics::Buckets;
use crate::{Telemetry, names};

/// A fact about a channel. `target` is the name its user gave; endpoints are addresses and appear in the log only.
#[derive(Debug)]
#[non_exhaustive]
pub enum ChannelEvent<'a> {
    /// A connection was made, or could not be.
    Connect {
        /// The channel.
        target: &'a str,
        /// Where to.
        endpoint: &'a str,
        /// Why it failed.
        error: Option<&'a str>,
    },
    /// A connection takes no more calls.
    Disconnect {
        /// The channel.
        target: &'a str,
        /// Where to.
        endpoint: &'a str,
        /// Why.
        why: &'a str,
    },
    /// Health was to be watched, but the server has no health service: it is taken as healthy.
    HealthUnsupported {
        /// The channel.
        target: &'a str,
        /// Which server.
        endpoint: &'a str,
        /// Whether the service config asked for it: then somebody expects it to work.
        configured: bool,
    },
    /// A stream of load reports out of band ended. UNIMPLEMENTED: the server has none, and is not asked again on this
    /// connection.
    LoadReportsEnded {
        /// The channel.
        target: &'a str,
        /// Which server.
        endpoint: &'a str,
        /// How.
        status: &'a Status,
    },
    /// A TLS handshake with a server is over (gRFC A118).
    TlsHandshake {
        /// The channel.
        target: &'a str,
        /// `SUCCESS`, or a reason of a closed set.
        result: &'static str,
    },
    /// The target was resolved.
    Resolved {
        /// The channel.
        target: &'a str,
        /// Endpoints there are now.
        endpoints: usize,
    },
    /// The target could not be resolved; what was known stays.
    ResolveFailed {
        /// The channel.
        target: &'a str,
        /// Why.
        error: &'a str,
        /// Endpoints that stay.
        endpoints: usize,
    },
    /// A service config could not be read; the one before stays in force.
    ConfigRefused {
        /// The channel.
        target: &'a str,
        /// What is wrong with it.
        error: &'a str,
    },
    /// TLS files changed, and were taken or refused.
    TlsReload {
        /// The channel.
        target: &'a str,
        /// Why the new files cannot be used; the old ones stay in force.
        error: Option<&'a str>,
    },
    /// A call could not be given its credentials.
    CredentialsFailed {
        /// The channel.
        target: &'a str,
        /// Why.
        error: &'a str,
    },
    /// The credentials of calls were renewed, or could not be.
    CredentialsRenewed {
        /// The channel.
        target: &'a str,
        /// Why they could not be.
        error: Option<&'a str>,
        /// Whether there are some to present.
        usable: bool,
    },
    /// Outlier detection took an endpoint out of the choice, spared it, or put it back.
    Ejection {
        /// The channel.
        target: &'a str,
        /// Which.
        endpoint: &'a str,
        /// What was done.
        what: Ejection,
        /// Why.
        why: &'a str,
    },
    /// A call is tried again.
    Retry {
        /// The channel.
        target: &'a str,
        /// Why it may be.
        kind: Retry,
        /// How the attempt before ended.
        status: &'a Status,
        /// Time until the next.
        wait: Duration,
    },
    /// A call ended. Reported exactly once per call.
    CallEnded {
        /// Where it is metered.
        meter: &'a CallMeter,
        /// The outcome; CANCELLED when the application gave up first.
        status: &'a Status,
        /// From the call to the end of the response.
        duration: Duration,
        /// How often it was sent.
        attempts: u32,
    },
}

/// What outlier detection did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ejection {
    /// Taken out.
    Ejected,
    /// Found out, but a rule protects it.
    Spared,
    /// Put back.
    Back,
}

/// Why a call may be tried again (gRFC A6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The server never saw it.
    Transparent,
    /// The retry policy says so.
    Policy,
    /// The hedging policy says so.
    Hedge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TargetResult {
    target: String,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TargetOnly {
    target: String,
}

/// Labels of [`names::CLIENT_CALL_DURATION`], OpenTelemetry's names with dots turned into underscores.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Call {
    rpc_system_name: &'static str,
    rpc_method: String,
    server_address: String,
    rpc_response_status_code: &'static str,
}

/// The families of channels.
#[derive(Clone)]
pub(crate) struct Families {
    calls: Family<Call, Histogram, Buckets>,
    retries: Family<TargetResult, Counter>,
    connects: Family<TargetResult, Counter>,
    disconnects: Family<TargetOnly, Counter>,
    resolutions: Family<TargetResult, Counter>,
    endpoints: Family<TargetOnly, Gauge>,
    ejections: Family<TargetResult, Counter>,
    configs_refused: Family<TargetOnly, Counter>,
    credentials_failed: Family<TargetOnly, Counter>,
    tls_reloads: Family<TargetResult, Counter>,
    tls_handshakes: Family<TargetResult, Counter>,
    credentials_renewals: Family<TargetResult, Counter>,
    load_report_ends: Family<TargetResult, Counter>,
}

impl Families {
    pub(crate) fn new() -> Self {
        Self {
            calls: Family::new_with_constructor(Buckets(&names::CALL_BUCKETS)),
            retries: Family::default(),
            connects: Family::default(),
            disconnects: Family::default(),
            resolutions: Family::default(),
            endpoints: Family::default(),
            ejections: Family::default(),
            configs_refused: Family::default(),
            credentials_failed: Family::default(),
            tls_reloads: Family::default(),
            tls_handshakes: Family::default(),
            credentials_renewals: Family::default(),
            load_report_ends: Family::default(),
        }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(names::CLIENT_CALL_DURATION, "Duration of outbound RPCs", self.calls.clone());
        registry.register(names::CHANNEL_RETRIES, "Attempts after the first", self.retries.clone());
        registry.register(names::CHANNEL_CONNECTS, "Attempts to connect", self.connects.clone());
        registry.register(names::CHANNEL_DISCONNECTS, "Connections that ended", self.disconnects.clone());
        registry.register(names::CHANNEL_RESOLUTIONS, "Resolutions of the target", self.resolutions.clone());
        registry.register(names::CHANNEL_ENDPOINTS, "Endpoints known", self.endpoints.clone());
        registry.register(names::CHANNEL_EJECTIONS, "Findings of outlier detection", self.ejections.clone());
        let reloads = self.tls_reloads.clone();
        registry.register(names::CHANNEL_TLS_RELOADS, "Reloads of TLS files that changed", reloads);
        let handshakes = self.tls_handshakes.clone();
        registry.register(names::CLIENT_TLS_HANDSHAKES, "TLS handshakes with servers", handshakes);
        let renewals = self.credentials_renewals.clone();
        registry.register(names::CHANNEL_CREDENTIALS_RENEWALS, "Renewals of credentials", renewals);
        let ends = self.load_report_ends.clone();
        registry.register(names::CHANNEL_LOAD_REPORT_ENDS, "Ends of load report streams", ends);
        let failed = self.credentials_failed.clone();
        registry.register(names::CHANNEL_CREDENTIALS_FAILED, "Calls without their credentials", failed);
        registry.register(
            names::CHANNEL_CONFIGS_REFUSED,
            "Bad service configs",
            self.configs_refused.clone(),
        );
    }
}

/// What the calls of one method of one channel record into.
#[derive(Debug)]
pub struct CallMeter {
    target: String,
    method: String,
    codes: [OnceLock<Histogram>; Code::ALL.len()],
}

impl Telemetry {
    /// The meters of one method of a channel. Both must come from bounded sets.
    #[must_use]
    pub fn call(&self, target: &str, method: &str) -> Arc<CallMeter> {
        let codes = [const { OnceLock::new() }; Code::ALL.len()];
        Arc::new(CallMeter { target: target.to_owned(), method: method.to_owned(), codes })
    }

    /// Records a fact about a channel and logs it.
    pub fn report_channel(&self, event: &ChannelEvent<'_>) {
        self.families().channel.record(event);
        event.log();
    }
}

impl Families {
    fn record(&self, event: &ChannelEvent<'_>) {
        let target = |target: &str| TargetOnly { target: target.to_owned() };
        let with = |target: &str, result| TargetResult { target: target.to_owned(), result };
        let result = |error: Option<&str>| if error.is_some() { "failure" } else { "success" };
        match event {
            ChannelEvent::Connect { target, error, .. } => {
                self.connects.get_or_create(&with(target, result(*error))).inc();
            }
            ChannelEvent::Disconnect { target: name, .. } => {
                self.disconnects.get_or_create(&target(name)).inc();
            }
            ChannelEvent::HealthUnsupported { .. } => {}
            ChannelEvent::TlsReload { target, error } => {
                self.tls_reloads.get_or_create(&with(target, result(*error))).inc();
            }
            ChannelEvent::LoadReportsEnded { target, status, .. } => {
                self.load_report_ends.get_or_create(&with(target, status.code().name())).inc();
            }
            ChannelEvent::TlsHandshake { target, result } => {
                self.tls_handshakes.get_or_create(&with(target, result)).inc();
            }
            ChannelEvent::CredentialsRenewed { target, error, .. } => {
                self.credentials_renewals.get_or_create(&with(target, result(*error))).inc();
            }
            ChannelEvent::CredentialsFailed { target: name, .. } => {
                self.credentials_failed.get_or_create(&target(name)).inc();
            }
            ChannelEvent::Resolved { target: name, endpoints } => {
                self.resolutions.get_or_create(&with(name, "success")).inc();
                self.set_endpoints(target(name), *endpoints);
            }
            ChannelEvent::ResolveFailed { target: name, endpoints, .. } => {
                self.resolutions.get_or_create(&with(name, "failure")).inc();
                self.set_endpoints(target(name), *endpoints);
            }
            ChannelEvent::ConfigRefused { target: name, .. } => {
                self.configs_refused.get_or_create(&target(name)).inc();
            }
            ChannelEvent::Ejection { target, what, .. } => {
                self.ejections.get_or_create(&with(target, what.label())).inc();
            }
            ChannelEvent::Retry { target, kind, .. } => {
                self.retries.get_or_create(&with(target, kind.label())).inc();
            }
            ChannelEvent::CallEnded { meter, status, duration, .. } => {
                let histogram = meter.codes[status.code() as usize].get_or_init(|| {
                    self.calls.get_or_create_owned(&Call {
                        rpc_system_name: "grpc",
                        rpc_method: meter.method.clone(),
                        server_address: meter.target.clone(),
                        rpc_response_status_code: status.code().name(),
                    })
                });
                histogram.observe(duration.as_secs_f64());
            }
        }
    }

    fn set_endpoints(&self, target: TargetOnly, endpoints: usize) {
        self.endpoints.get_or_create(&target).set(i64::try_from(endpoints).unwrap_or(i64::MAX));
    }
}

impl Ejection {
    fn label(self) -> &'static str {
        match self {
            Self::Ejected => "ejected",
            Self::Spared => "spared",
            Self::Back => "back",
        }
    }
}

impl Retry {
    fn label(self) -> &'static str {
        match self {
            Self::Transparent => "transparent",
            Self::Policy => "policy",
            Self::Hedge => "hedge",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_connections_of_a_channel_are_counted_under_its_target() {
        let telemetry = Telemetry::new();
        let meter = telemetry.call("dns:///shop", "shop.v1.Orders/Get");
        let status = Status::new(Code::Unavailable, "");
        let duration = Duration::from_millis(3);
        telemetry.report_channel(&ChannelEvent::CallEnded {
            meter: &meter,
            status: &status,
            duration,
            attempts: 2,
        });
        let target = "dns:///shop";
        telemetry.report_channel(&ChannelEvent::Connect {
            target,
            endpoint: "10.0.0.1:1",
            error: Some("refused"),
        });
        telemetry.report_channel(&ChannelEvent::Resolved { target, endpoints: 3 });
        telemetry.report_channel(&ChannelEvent::TlsHandshake { target, result: "SUCCESS" });
        let page = telemetry.render();
        for line in [
            "rpc_client_call_duration_seconds_count{rpc_system_name=\"grpc\",rpc_method=\"shop.v1.Orders/Get\",server_address=\"dns:///shop\",rpc_response_status_code=\"UNAVAILABLE\"} 1",
            "channel_connects_total{target=\"dns:///shop\",result=\"failure\"} 1",
            "channel_endpoints{target=\"dns:///shop\"} 3",
            "grpc_client_tls_handshakes_total{target=\"dns:///shop\",result=\"SUCCESS\"} 1",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
        assert!(!page.contains("10.0.0.1"), "addresses are no labels");
    }
}

//! Every fact that is observed, with the log line and the metric it owns.

use std::sync::Arc;
use std::time::Duration;

use highball_core::current::{Abandoned, Waste};
use highball_core::{Rpc, Status};
use tracing::{debug, error, info, warn};

use crate::metrics::{
    HttpStatusLabel, KindLabel, LimitLabel, MethodAfter, MethodOnly, ReasonLabel, ResultLabel,
};
use crate::{JwksRefresh, Limit, MethodMeter, Telemetry, TraceId};

/// How one RPC went. Reported exactly once per RPC.
#[derive(Debug)]
pub struct RpcEnd<'a> {
    /// The record.
    pub rpc: &'a Rpc,
    /// Where the method is metered.
    pub meter: &'a Arc<MethodMeter>,
    /// The outcome; CANCELLED when the caller went away first.
    pub status: &'a Status,
    /// From the request's headers to the end of the response.
    pub duration: Duration,
    /// Messages and bytes received, prefixes included.
    pub inbound: (u64, u64),
    /// Messages and bytes sent, prefixes included.
    pub outbound: (u64, u64),
    /// From `traceparent`, when the caller sent a valid one.
    pub trace: Option<TraceId>,
    /// Probes and the like: logged at debug level only.
    pub quiet: bool,
}

/// A fact.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// An RPC ended.
    RpcEnded(RpcEnd<'a>),
    /// A handler or its response body panicked; the caller got INTERNAL.
    HandlerPanicked {
        /// The metric label of the method.
        method: &'a str,
        /// What the panic said and where.
        message: &'a str,
        /// Frames, as captured by the hook.
        backtrace: &'a str,
    },
    /// A handler's response could not be used as it was.
    HandlerMisbehaved {
        /// The metric label of the method.
        method: &'a str,
        /// What was wrong.
        what: &'a str,
    },
    /// Work went on for an RPC after its deadline or its cancellation.
    WorkWasted {
        /// The metric label of the method.
        method: &'a str,
        /// For how long, and why nobody waited.
        waste: Waste,
    },
    /// A limit refused something.
    LimitHit {
        /// Which.
        limit: Limit,
    },
    /// Adaptive concurrency looked at a window of RPCs.
    ConcurrencyAdapted {
        /// The limit from now on.
        limit: u32,
        /// Latency of the window over latency without load; 1 is a server at ease.
        ratio: f64,
    },
    /// The latency of a method without load was measured.
    BaselineMeasured {
        /// The metric label of the method.
        method: &'a str,
        /// The latency.
        latency: Duration,
    },
    /// The limit was halved for a moment, to measure latency without load.
    ConcurrencyProbed {
        /// Whether there were RPCs enough to measure it.
        measured: bool,
        /// For how long.
        took: Duration,
    },
    /// A request that is not an RPC was refused.
    RequestRefused {
        /// The HTTP status it got.
        status: u16,
        /// Why.
        why: &'a str,
    },
    /// A connection was accepted.
    ConnectionOpened {
        /// Its number.
        id: u64,
        /// Who connected.
        peer: &'a str,
        /// The worker thread that serves it, when there are workers.
        worker: Option<usize>,
    },
    /// A connection ended.
    ConnectionClosed {
        /// Its number.
        id: u64,
        /// The worker thread that served it.
        worker: Option<usize>,
        /// Why, when it was not an orderly end.
        error: Option<&'a str>,
    },
    /// A connection was ended because its client did what no well-behaved client does.
    ConnectionAbused {
        /// Its number.
        id: u64,
        /// Who it was.
        peer: &'a str,
        /// What it did: a member of a closed set.
        kind: &'static str,
    },
    /// A caller may not call what it called: a line of the audit log.
    Denied {
        /// The record, with the caller as far as it was proven.
        rpc: &'a Rpc,
        /// Why, from a closed set.
        reason: &'static str,
        /// The rule of the policy that denied it.
        rule: Option<&'a str>,
    },
    /// A connection that should begin with a PROXY header did not.
    ProxyHeaderRefused {
        /// Who connected.
        proxy: &'a str,
        /// Why, from a closed set.
        reason: &'static str,
        /// Why, for the log.
        error: &'a str,
    },
    /// A TLS handshake ended.
    TlsHandshake {
        /// Who connected.
        peer: &'a str,
        /// `SUCCESS`, or a reason of a closed set (gRFC A118).
        result: &'static str,
        /// Why it failed, for the log.
        error: Option<&'a str>,
    },
    /// The keys of tokens were read, or could not be.
    Jwks(JwksRefresh<'a>),
    /// A certificate of a listener is in force, or no longer.
    TlsCertificate {
        /// The listener.
        listener: &'a str,
        /// The first name that clients are shown it for; no two of a listener share one, and there are 256 at most.
        certificate: &'a str,
        /// When it expires, in seconds since 1970; `None` for one that is no longer in force, whose gauge goes.
        not_after_seconds: Option<i64>,
    },
    /// TLS files changed, and were taken or refused.
    TlsReload {
        /// The listener.
        listener: &'a str,
        /// Why the new files cannot be used; the old ones stay in force.
        error: Option<&'a str>,
    },
    /// A connection could not be accepted.
    AcceptFailed {
        /// On which listener.
        listener: &'a str,
        /// The system's reason.
        error: &'a str,
    },
    /// A listener accepts.
    Listening {
        /// `grpc` or `admin`.
        role: &'a str,
        /// Where, with the real port.
        addr: &'a str,
    },
    /// The descriptors ask for a way in that cannot be had; it is left out.
    GatewayRuleIgnored {
        /// What and why.
        problem: &'a str,
    },
    /// A process that is to replace this one is being started.
    SuccessorStarting,
    /// It took over; this process drains.
    HandedOver {
        /// Its process id.
        pid: u32,
    },
    /// It did not take over; everything is as before.
    HandoverFailed {
        /// Why, from a closed set.
        reason: &'static str,
        /// Why, for people.
        error: &'a str,
    },
    /// This process replaced another.
    TookOver {
        /// The other was gone before it let go.
        abandoned: bool,
    },
    /// The drain entered a phase.
    Draining {
        /// `lame_duck`, `drain` or `force`.
        phase: &'a str,
        /// RPCs in flight at that moment.
        rpcs: u64,
        /// Connections open at that moment.
        connections: u64,
    },
    /// The drain is over.
    Drained {
        /// RPCs that were in flight at the start or came later, and finished.
        finished: u64,
        /// RPCs that were cut.
        cut: u64,
        /// Connections closed without an orderly end.
        connections_cut: u64,
        /// From the signal to the end.
        took: Duration,
    },
}

impl Telemetry {
    /// Records a fact: its metric and its log line.
    pub fn report(&self, event: &Event<'_>) {
        self.measure(event);
        log(event);
    }

    fn measure(&self, event: &Event<'_>) {
        let families = self.families();
        match event {
            Event::RpcEnded(end) => end.meter.end(end.status.code(), end.duration),
            Event::HandlerPanicked { method, .. } => {
                families.panics.get_or_create(&MethodOnly { method: (*method).to_owned() }).inc();
            }
            Event::WorkWasted { method, waste } => {
                let labels = MethodAfter { method: (*method).to_owned(), after: after(waste.after) };
                families.wasted.get_or_create(&labels).observe(waste.time.as_secs_f64());
            }
            Event::LimitHit { limit } => {
                families.limit_hits.get_or_create(&LimitLabel { limit: limit.label() }).inc();
            }
            Event::ConcurrencyAdapted { ratio, .. } => {
                families.adaptation.ratio.set(*ratio);
            }
            Event::BaselineMeasured { method, latency } => {
                let method = MethodOnly { method: (*method).to_owned() };
                families.adaptation.baseline.get_or_create(&method).set(latency.as_secs_f64());
            }
            Event::ConcurrencyProbed { measured, .. } => {
                let result = if *measured { "measured" } else { "abandoned" };
                families.adaptation.probes.get_or_create(&ResultLabel { result }).inc();
            }
            Event::RequestRefused { status, .. } => {
                families.refused.get_or_create(&HttpStatusLabel { status: *status }).inc();
            }
            Event::ConnectionOpened { worker, .. } => {
                families.connections.inc();
                families.connections_open.inc();
                families.of_worker(*worker, |open| open.inc());
            }
            Event::ConnectionClosed { worker, .. } => {
                families.connections_open.dec();
                families.of_worker(*worker, |open| open.dec());
            }
            Event::ConnectionAbused { kind, .. } => {
                families.abuse.get_or_create(&KindLabel { kind }).inc();
            }
            Event::ProxyHeaderRefused { reason, .. } => {
                families.proxy_headers.get_or_create(&ReasonLabel { reason }).inc();
            }
            Event::Denied { reason, .. } => {
                families.denials.get_or_create(&ReasonLabel { reason }).inc();
            }
            Event::TlsHandshake { result, .. } => {
                families.tls_handshakes.get_or_create(&ResultLabel { result }).inc();
            }
            Event::TlsCertificate { listener, certificate, not_after_seconds } => {
                families.certificate_expires(listener, certificate, *not_after_seconds);
            }
            Event::TlsReload { error, .. } => {
                let result = if error.is_some() { "rejected" } else { "taken" };
                families.tls_reloads.get_or_create(&ResultLabel { result }).inc();
            }
            Event::Jwks(refresh) => {
                families.jwks_refreshes.get_or_create(&ResultLabel { result: refresh.result() }).inc();
            }
            Event::AcceptFailed { .. } => {
                families.accept_failures.inc();
            }
            Event::HandedOver { .. } => families.handed("passed"),
            Event::HandoverFailed { reason, .. } => families.handed(reason),
            Event::TookOver { abandoned: false } => families.handed("taken"),
            Event::TookOver { abandoned: true } => families.handed("abandoned"),
            Event::HandlerMisbehaved { .. }
            | Event::SuccessorStarting
            | Event::Listening { .. }
            | Event::GatewayRuleIgnored { .. }
            | Event::Draining { .. }
            | Event::Drained { .. } => {}
        }
    }
}

fn log(event: &Event<'_>) {
    match event {
        Event::RpcEnded(end) => log_rpc(end),
        Event::HandlerPanicked { method, message, backtrace } => {
            error!(method, panic = message, backtrace, "handler panicked");
        }
        Event::HandlerMisbehaved { method, what } => error!(method, what, "handler misbehaved"),
        // The RPC's own line says that its deadline passed; a second line would only feed an overload.
        Event::WorkWasted { method, waste } => {
            debug!(method, after = after(waste.after), ms = millis(waste.time), "work for nobody");
        }
        // The RPC's own line carries the refusal; a second line per shed RPC would only feed an overload.
        Event::LimitHit { limit } => debug!(limit = limit.label(), "limit hit"),
        Event::ConcurrencyAdapted { limit, ratio } => debug!(limit, ratio, "concurrency adapted"),
        Event::BaselineMeasured { method, latency } => {
            debug!(method, latency_ms = millis(*latency), "latency without load measured");
        }
        Event::ConcurrencyProbed { measured, took } => {
            debug!(measured, took_ms = millis(*took), "concurrency halved to measure");
        }
        Event::RequestRefused { status, why } => debug!(status, why, "request refused"),
        Event::ConnectionOpened { id, peer, worker } => {
            debug!(connection = id, peer, worker, "connection opened");
        }
        Event::ConnectionClosed { id, error, .. } => debug!(connection = id, error, "connection closed"),
        Event::ConnectionAbused { id, peer, kind } => warn!(connection = id, peer, kind, "abusive client"),
        // Health checks of proxies connect and say nothing.
        Event::ProxyHeaderRefused { proxy, reason: "silent", error } => {
            debug!(proxy, error, "no proxy header")
        }
        Event::ProxyHeaderRefused { proxy, reason, error } => warn!(proxy, reason, error, "no proxy header"),
        Event::Denied { rpc, reason, rule } => warn!(
            target: "highball::audit",
            method = cut(rpc.method.full_name()),
            caller = %rpc.caller,
            peer = %rpc.connection.peer,
            reason,
            rule,
            "denied"
        ),
        Event::TlsHandshake { peer, result, error } => match error {
            Some(error) => info!(peer, result, error, "tls handshake failed"),
            None => debug!(peer, result, "tls handshake"),
        },
        Event::TlsCertificate { listener, certificate, not_after_seconds } => {
            debug!(listener, certificate, not_after_seconds, "certificate")
        }
        Event::TlsReload { listener, error: Some(error) } => error!(listener, error, "tls files refused"),
        Event::TlsReload { listener, error: None } => info!(listener, "tls files reloaded"),
        Event::Jwks(refresh) => refresh.log(),
        Event::AcceptFailed { listener, error } => warn!(listener, error, "accept failed"),
        Event::Listening { role, addr } => info!(role, addr, "listening"),
        Event::GatewayRuleIgnored { problem } => warn!(problem, "the gateway leaves out an http rule"),
        Event::SuccessorStarting => info!("starting a successor"),
        Event::HandedOver { pid } => info!(pid, "handed over"),
        Event::HandoverFailed { reason, error } => error!(reason, error, "not handed over"),
        Event::TookOver { abandoned: false } => info!("took over from the predecessor"),
        Event::TookOver { abandoned: true } => warn!("took over: the predecessor is gone"),
        Event::Draining { phase, rpcs, connections } => info!(phase, rpcs, connections, "draining"),
        Event::Drained { finished, cut, connections_cut, took } => {
            info!(finished, cut, connections_cut, took_ms = millis(*took), "drained");
        }
    }
}

/// The target of [the access log](log_rpc).
pub(crate) const RPC_TARGET: &str = rpc_target!();

macro_rules! rpc_target {
    () => {
        "highball::rpc"
    };
}
pub(crate) use rpc_target;

/// The access log: one line per RPC. Straight into our own log, if this process has one; `log::rpc` spells the same keys.
pub(crate) fn log_rpc(end: &RpcEnd<'_>) {
    let wanted = if end.quiet {
        tracing::enabled!(target: RPC_TARGET, tracing::Level::DEBUG).then_some("DEBUG")
    } else {
        tracing::enabled!(target: RPC_TARGET, tracing::Level::INFO).then_some("INFO")
    };
    let Some(level) = wanted else { return };
    if crate::log::rpc(level, end) {
        return;
    }
    macro_rules! line {
        ($level:ident) => {
            $level!(
                target: RPC_TARGET,
                method = cut(end.rpc.method.full_name()),
                code = end.status.code().name(),
                // Only failures carry their sentence; OK has none.
                error = (!end.status.message().is_empty()).then(|| end.status.message()),
                duration_ms = millis(end.duration),
                peer = %end.rpc.connection.peer,
                caller = (!end.rpc.caller.is_anonymous()).then(|| tracing::field::display(&end.rpc.caller)),
                connection = end.rpc.connection.id,
                dialect = %end.rpc.dialect,
                deadline_ms = end.rpc.deadline.map(|deadline| millis(deadline.allowed())),
                messages_in = end.inbound.0,
                bytes_in = end.inbound.1,
                messages_out = end.outbound.0,
                bytes_out = end.outbound.1,
                trace_id = end.trace.map(tracing::field::display),
                "rpc"
            )
        };
    }
    if end.quiet { line!(debug) } else { line!(info) }
}

fn after(why: Abandoned) -> &'static str {
    match why {
        Abandoned::Deadline => "deadline",
        Abandoned::Cancellation => "cancellation",
    }
}

/// Paths come from the caller and may be as long as its headers.
pub(crate) fn cut(method: &str) -> &str {
    method.split_at(method.floor_char_boundary(256)).0
}

fn millis(duration: Duration) -> f64 {
    // Microseconds are plenty, and keep the line short.
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

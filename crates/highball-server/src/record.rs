//! The guard that ends each RPC exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use highball_auth::Denial;
use highball_core::current::TraceContext;
use highball_core::{Body, Code, Current, Envelopes, Rpc, Status};
use highball_net::{Draining, Phase};
use highball_telemetry::{Event, MethodMeter, RpcEnd, Telemetry, TraceId};
use http::{HeaderMap, HeaderValue, Response};
use tokio::time::Instant;

use crate::admit::Permit;
use crate::limit::Received;

/// RPCs in flight, and what became of them while the server drained.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    now: AtomicU64,
    finished_in_drain: AtomicU64,
    cut: AtomicU64,
}

impl InFlight {
    pub(crate) fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    pub(crate) fn finished_in_drain(&self) -> u64 {
        self.finished_in_drain.load(Ordering::Relaxed)
    }

    pub(crate) fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }
}

/// One RPC from its headers to the end of its response. Whoever holds it must [`end`](Self::end) it; dropping it unended
/// means that the caller went away, and ends it as CANCELLED.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) rpc: Rpc,
    pub(crate) telemetry: Telemetry,
    pub(crate) received: Arc<Received>,
    pub(crate) sent: Envelopes,
    /// What the service finds by itself; `None` until it is known who calls.
    pub(crate) current: Option<Current>,
    meter: Arc<MethodMeter>,
    in_flight: Arc<InFlight>,
    draining: Draining,
    trace: Option<TraceId>,
    quiet: bool,
    permit: Option<Permit>,
    ended: bool,
}

/// What a record needs beside the RPC itself.
pub(crate) struct Start<'a> {
    pub(crate) meter: &'a Arc<MethodMeter>,
    pub(crate) telemetry: &'a Telemetry,
    pub(crate) in_flight: &'a Arc<InFlight>,
    pub(crate) draining: &'a Draining,
    pub(crate) trace: Option<TraceId>,
    pub(crate) quiet: bool,
    pub(crate) message_size_bytes_max: usize,
}

impl Record {
    /// Boxed, because it travels: from the walk into the response body, whose futures would hold it several times.
    pub(crate) fn start(rpc: Rpc, start: &Start<'_>) -> Box<Self> {
        start.meter.begin();
        start.in_flight.now.fetch_add(1, Ordering::Relaxed);
        Box::new(Self {
            rpc,
            telemetry: start.telemetry.clone(),
            received: Arc::default(),
            sent: Envelopes::new(start.message_size_bytes_max),
            current: None,
            meter: start.meter.clone(),
            in_flight: start.in_flight.clone(),
            draining: start.draining.clone(),
            trace: start.trace,
            quiet: start.quiet,
            permit: None,
            ended: false,
        })
    }

    /// Who calls is known and may: whatever the service calls from here on finds the RPC by itself.
    pub(crate) fn publish(&mut self, headers: &HeaderMap) {
        let trace = self.trace.and_then(|_| trace_context(headers));
        self.current = Some(Current::new(self.rpc.clone(), trace, self.meter.clone()));
    }

    /// The service's code ran until `now`. It never begins after the deadline, so what is beyond was for nobody.
    pub(crate) fn ran(&self, now: Instant) {
        if let Some(current) = &self.current {
            current.ran(self.rpc.started, now);
        }
    }

    /// Keeps a permit until the RPC ends.
    pub(crate) fn hold(&mut self, permit: Permit) {
        self.permit = Some(permit);
    }

    /// The metric label of the method.
    pub(crate) fn label(&self) -> &str {
        self.meter.label()
    }

    /// Ends the RPC of a caller who may not call it. The reason is for the audit log; the caller gets the status alone.
    pub(crate) fn deny(self: Box<Self>, denial: Denial) -> Response<Body> {
        self.telemetry.report(&Event::Denied {
            rpc: &self.rpc,
            reason: denial.reason.name(),
            rule: denial.rule.as_deref(),
        });
        self.refuse(denial.status)
    }

    /// Ends the RPC before its service answered.
    pub(crate) fn refuse(mut self: Box<Self>, status: Status) -> Response<Body> {
        self.end(&status);
        status.into_response()
    }

    /// Ends the RPC: once, whatever is called after.
    pub(crate) fn end(&mut self, status: &Status) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let now = Instant::now();
        let duration = now.saturating_duration_since(self.rpc.started);
        if let Some(permit) = self.permit.take() {
            permit.end(&self.rpc, status.code(), duration);
        }
        self.received.end();
        if let Some(current) = &self.current {
            current.ended(status.code(), now);
        }
        self.in_flight.now.fetch_sub(1, Ordering::Relaxed);
        match self.draining.phase() {
            // Probes and reflection are no work that a drain saves or loses.
            _ if self.quiet => 0,
            Phase::Forced => self.in_flight.cut.fetch_add(1, Ordering::Relaxed),
            Phase::LameDuck | Phase::Draining => {
                self.in_flight.finished_in_drain.fetch_add(1, Ordering::Relaxed)
            }
            Phase::Serving => 0,
        };
        self.telemetry.report(&Event::RpcEnded(RpcEnd {
            rpc: &self.rpc,
            meter: &self.meter,
            status,
            duration,
            inbound: self.received.totals(),
            outbound: (self.sent.messages(), self.sent.bytes()),
            trace: self.trace,
            quiet: self.quiet,
        }));
    }
}

/// What is passed on of a trace whose `traceparent` is known to be valid.
fn trace_context(headers: &HeaderMap) -> Option<TraceContext> {
    let traceparent = headers.get("traceparent")?.clone();
    let states: Vec<&[u8]> = headers.get_all("tracestate").iter().map(HeaderValue::as_bytes).collect();
    // Several headers are one list (W3C Trace Context, section 3.3.1); a legal value stays one when it is joined.
    let joined = (!states.is_empty()).then(|| HeaderValue::from_bytes(&states.join(&b',')).ok());
    Some(TraceContext { traceparent, tracestate: joined.flatten() })
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // Either the caller went away, or the connection was closed under it.
        let status = match self.draining.phase() {
            Phase::Forced => Status::new(Code::Unavailable, "the server is shutting down"),
            _ => Status::new(Code::Cancelled, "the caller went away"),
        };
        self.end(&status);
    }
}

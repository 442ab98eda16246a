//! The guard that ends each RPC exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use highball_auth::Denial;
use highball_core::current::{Observer, TraceContext, Waste};
use highball_core::{Body, Caller, Code, Current, Envelopes, MethodKind, Rpc, Status};
use highball_net::Phase;
use highball_telemetry::{Event, RpcEnd, TraceId};
use http::{HeaderMap, HeaderValue, Response};
use tokio::time::Instant;

use crate::admit::Permit;
use crate::limit::Received;
use crate::methods::{Entry, ServedBy};
use crate::rpc::Host;

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

/// What an RPC shares with its request's body, which may be read elsewhere, and keeps for whatever its handler calls. It
/// holds nothing of the server: work that goes on elsewhere may keep it for long.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) entry: Arc<Entry>,
    pub(crate) received: Received,
}

impl Call {
    pub(crate) fn report(&self, event: &Event<'_>) {
        self.entry.meter.telemetry().report(event);
    }
}

impl Observer for Call {
    fn wasted(&self, waste: Waste) {
        self.entry.meter.wasted(waste);
    }
}

/// One RPC from its headers to the end of its response. Whoever holds it must [`end`](Self::end) it; dropping it unended
/// means that the caller went away, and ends it as CANCELLED.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) host: Arc<Host>,
    pub(crate) sent: Envelopes,
    call: Current<Call>,
    trace: Option<TraceId>,
    permit: Option<Permit>,
    ended: bool,
}

impl Record {
    /// Boxed, because it travels: from the walk into the response body, whose futures would hold it several times.
    pub(crate) fn start(host: &Arc<Host>, entry: &Arc<Entry>, rpc: Rpc, trace: Option<TraceId>) -> Box<Self> {
        entry.meter.begin();
        host.in_flight.now.fetch_add(1, Ordering::Relaxed);
        let call = Call { entry: entry.clone(), received: Received::default() };
        Box::new(Self {
            host: host.clone(),
            sent: Envelopes::new(entry.limits.message_size_bytes_max),
            call: Current::new(rpc, None, call),
            trace,
            permit: None,
            ended: false,
        })
    }

    pub(crate) fn rpc(&self) -> &Rpc {
        self.call.rpc()
    }

    /// A handle for the body of the request.
    pub(crate) fn call(&self) -> Current<Call> {
        self.call.clone()
    }

    /// What its handler finds.
    pub(crate) fn current(&self) -> Current {
        self.call.shared()
    }

    pub(crate) fn received(&self) -> &Received {
        &self.call.observer().received
    }

    /// How long its stream may be silent: what its handler says, else the settings; `None` for ever.
    pub(crate) fn silence_max(&self) -> Option<Duration> {
        let settings = self.entry().limits.stream_idle;
        let allowed = self.call.silence().filter(|_| self.rpc().kind != MethodKind::Unary);
        allowed.map_or(settings, |allowed| Some(allowed).filter(|allowed| !allowed.is_zero()))
    }

    pub(crate) fn report(&self, event: &Event<'_>) {
        self.host.telemetry.report(event);
    }

    /// Who calls was verified.
    pub(crate) fn verified(&mut self, caller: Caller) {
        // Nobody has been given another handle yet.
        if let Some((rpc, _)) = self.call.complete() {
            rpc.caller = caller;
        }
    }

    /// Who calls is known and may: whatever the service calls from here on finds the RPC by itself.
    pub(crate) fn publish(&mut self, headers: &HeaderMap) -> Current {
        if self.trace.is_some()
            && let Some((_, trace)) = self.call.complete()
        {
            *trace = trace_context(headers).map(Box::new);
        }
        self.current()
    }

    /// The service's code ran until `now`. It never begins after the deadline, so what is beyond was for nobody.
    pub(crate) fn ran(&self, now: Instant) {
        self.call.ran(self.rpc().started, now);
    }

    /// Keeps a permit until the RPC ends.
    pub(crate) fn hold(&mut self, permit: Permit) {
        self.permit = Some(permit);
    }

    /// The metric label of the method.
    pub(crate) fn label(&self) -> &str {
        self.entry().meter.label()
    }

    /// Ends the RPC of a caller who may not call it. The reason is for the audit log; the caller gets the status alone.
    pub(crate) fn deny(self, denial: Denial) -> Response<Body> {
        self.report(&Event::Denied {
            rpc: self.rpc(),
            reason: denial.reason.name(),
            rule: denial.rule.as_deref(),
        });
        self.refuse(denial.status)
    }

    /// Ends the RPC before its service answered.
    pub(crate) fn refuse(mut self, status: Status) -> Response<Body> {
        self.end(&status);
        status.into_response()
    }

    /// Ends the RPC: once, whatever is called after.
    pub(crate) fn end(&mut self, status: &Status) {
        self.end_at(status, Instant::now());
    }

    /// The same, for whoever has just looked at the clock.
    pub(crate) fn end_at(&mut self, status: &Status, now: Instant) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let duration = now.saturating_duration_since(self.rpc().started);
        if let Some(permit) = self.permit.take() {
            permit.end(self.rpc(), status.code(), duration);
        }
        self.received().end();
        self.call.ended(status.code(), now);
        let (in_flight, quiet) = (&self.host.in_flight, self.is_quiet());
        in_flight.now.fetch_sub(1, Ordering::Relaxed);
        match self.host.draining.phase() {
            _ if quiet => 0,
            Phase::Forced => in_flight.cut.fetch_add(1, Ordering::Relaxed),
            Phase::LameDuck | Phase::Draining => in_flight.finished_in_drain.fetch_add(1, Ordering::Relaxed),
            Phase::Serving => 0,
        };
        self.report(&Event::RpcEnded(RpcEnd {
            rpc: self.rpc(),
            meter: &self.entry().meter,
            status,
            duration,
            inbound: self.received().totals(),
            outbound: (self.sent.messages(), self.sent.bytes()),
            trace: self.trace,
            quiet,
        }));
    }

    fn entry(&self) -> &Entry {
        &self.call.observer().entry
    }

    /// Probes and reflection are no work that a drain saves or loses, and no news for the log.
    fn is_quiet(&self) -> bool {
        self.entry().served_by != ServedBy::Hosted
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
        let status = match self.host.draining.phase() {
            Phase::Forced => Status::new(Code::Unavailable, "the server is shutting down"),
            _ => Status::new(Code::Cancelled, "the caller went away"),
        };
        self.end(&status);
    }
}

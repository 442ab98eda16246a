//! The guard that ends each RPC exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use highball_auth::Denial;
use highball_core::{Body, Code, Envelopes, Rpc, Status};
use highball_net::{Draining, Phase};
use highball_telemetry::{Event, MethodMeter, RpcEnd, Telemetry, TraceId};
use http::Response;

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
            meter: start.meter.clone(),
            in_flight: start.in_flight.clone(),
            draining: start.draining.clone(),
            trace: start.trace,
            quiet: start.quiet,
            permit: None,
            ended: false,
        })
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
        self.permit = None;
        self.received.end();
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
            duration: self.rpc.started.elapsed(),
            inbound: self.received.totals(),
            outbound: (self.sent.messages(), self.sent.bytes()),
            trace: self.trace,
            quiet: self.quiet,
        }));
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // Either the caller went away, or the connection was closed under it.
        let status = match self.draining.phase() {
            Phase::Forced => Status::new(Code::Unavailable, "the server is shutting down"),
            _ => Status::new(Code::Cancelled, "the caller went away"),
        };
        self.end(&status);
    }
}

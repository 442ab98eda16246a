//! The record of one call, ended exactly once.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use highball_core::{Body, Code, Deadline, DeadlineOrigin, Method, Status};
use highball_telemetry::{CallMeter, ChannelEvent, Retry, Telemetry, names};
use http::Response;
use tokio::time::Instant;

use crate::attempt::Fate;
use crate::picture::Shared;
use crate::throttle::Throttle;

/// What is known of a call from its beginning to the end of its response. Dropped before that, the application gave up.
pub(crate) struct Record {
    shared: Arc<Shared>,
    meter: Arc<CallMeter>,
    started: Instant,
    deadline: Option<Deadline>,
    attempts: u32,
    throttle: Option<Arc<Throttle>>,
    ended: bool,
}

impl Record {
    /// A call begins; wakes an idle channel.
    pub(crate) fn start(shared: Arc<Shared>, method: &Method) -> Self {
        shared.enter();
        shared.wake();
        let meter = shared.meters.find(method);
        let started = Instant::now();
        Self { shared, meter, started, deadline: None, attempts: 0, throttle: None, ended: false }
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    pub(crate) fn deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    /// The earlier deadline wins.
    pub(crate) fn narrow(&mut self, allowed: Option<Duration>, origin: DeadlineOrigin) {
        let Some(allowed) = allowed else { return };
        let deadline = Deadline::after(self.started, allowed, origin);
        if self.deadline.is_none_or(|known| deadline.at() < known.at()) {
            self.deadline = Some(deadline);
        }
    }

    /// Whom to tell of a success.
    pub(crate) fn throttle(&mut self, throttle: Option<Arc<Throttle>>) {
        self.throttle = throttle;
    }

    /// An attempt is made.
    pub(crate) fn attempt(&mut self) {
        self.attempts += 1;
    }

    /// Another one will be.
    pub(crate) fn retry(&self, status: &Status, fate: Fate, wait: Duration) {
        let kind = match fate {
            Fate::NeverLeft | Fate::Refused if wait.is_zero() => Retry::Transparent,
            _ => Retry::Policy,
        };
        self.report(kind, status, wait);
    }

    /// Another one is made beside those that run.
    pub(crate) fn hedge(&self, wait: Duration) {
        self.report(Retry::Hedge, &Status::new(Code::Unknown, "no answer yet"), wait);
    }

    fn report(&self, kind: Retry, status: &Status, wait: Duration) {
        let target = &self.shared.name;
        self.shared.telemetry.report_channel(&ChannelEvent::Retry { target, kind, status, wait });
    }

    /// Ends with a status of this side.
    pub(crate) fn refuse(mut self, status: Status) -> Response<Body> {
        self.end(&status);
        status.into_response()
    }

    /// The time is up. `waited_for` says what it went into.
    pub(crate) fn expire(self, waited_for: &str) -> Response<Body> {
        let by = self.deadline.map(|deadline| deadline.to_string()).unwrap_or_default();
        self.refuse(Status::new(Code::DeadlineExceeded, format!("deadline exceeded: {by}; {waited_for}")))
    }

    /// Ends it; later ends are ignored.
    pub(crate) fn end(&mut self, status: &Status) {
        self.end_at(status, Instant::now());
    }

    /// The same, for whoever has just looked at the clock.
    pub(crate) fn end_at(&mut self, status: &Status, now: Instant) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if let Some(throttle) = self.throttle.as_ref().filter(|_| status.code() == Code::Ok) {
            throttle.succeeded();
        }
        let duration = now.saturating_duration_since(self.started);
        let (meter, attempts) = (&*self.meter, self.attempts);
        self.shared.telemetry.report_channel(&ChannelEvent::CallEnded { meter, status, duration, attempts });
        self.shared.leave(now);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.ended {
            self.end(&Status::new(Code::Cancelled, "the application gave up"));
        }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("attempts", &self.attempts)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// Methods of one channel that are metered under their own names. The names come from the application, but a proxy's come
/// from its callers: more than these are metered together.
const METHODS_MAX: usize = 1000;

/// The meters of a channel's methods. Reading is one atomic load; a new method copies the map.
pub(crate) struct Meters {
    known: ArcSwap<HashMap<String, Arc<CallMeter>>>,
    other: Arc<CallMeter>,
    telemetry: Telemetry,
    target: String,
}

impl Meters {
    pub(crate) fn new(telemetry: Telemetry, target: &str) -> Self {
        let other = telemetry.call(target, names::OTHER_METHOD);
        Self { known: ArcSwap::default(), other, telemetry, target: target.to_owned() }
    }

    fn find(&self, method: &Method) -> Arc<CallMeter> {
        let known = self.known.load();
        if let Some(meter) = known.get(method.full_name()) {
            return meter.clone();
        }
        if known.len() >= METHODS_MAX {
            return self.other.clone();
        }
        let meter = self.telemetry.call(&self.target, method.full_name());
        // Two calls may race; then the later map wins, and both meters record into the same family.
        self.known.rcu(|known| {
            let mut more = HashMap::clone(known);
            more.insert(method.full_name().to_owned(), meter.clone());
            more
        });
        meter
    }
}

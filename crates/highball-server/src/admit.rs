//! Who may start: a bound on the RPCs this process works on at once.

mod adaptive;
mod cohort;
mod control;
mod latency;
mod priority;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use highball_core::{Code, Rpc, Status};
use highball_net::Platform;
use highball_telemetry::{Event, Limit, Occupancy, Telemetry};

use crate::Settings;
use adaptive::{Adaptive, Visit};

pub use priority::Priority;
pub(crate) use priority::Shares;
pub use settings::AdaptiveConcurrency;

/// When a refused caller may come back, give or take half of it: all at once, they would be refused again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What admission knows of a method, resolved once at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lane {
    pub(crate) priority: Priority,
    /// For a unary method of the hosted service, its place in the list that [`Admission::new`] gets. Others are not counted
    /// by the adaptive limit.
    pub(crate) unary: Option<usize>,
}

/// The right to work on one RPC, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    _place: Arc<()>,
    visit: Option<Visit>,
}

/// Places for `concurrent_rpcs_max` RPCs, fewer for unary ones when `adaptive_concurrency` says so. There is no queue:
/// waiting would only hide an overload until deadlines pass.
#[derive(Debug)]
pub(crate) struct Admission {
    /// Every permit holds it, so that its reference count is the count of RPCs: one addition for a permit, one subtraction
    /// when it goes.
    places: Arc<()>,
    max: usize,
    /// What each [`Priority`] may use of it.
    shares: [usize; 3],
    adaptive: Option<Arc<Adaptive>>,
    telemetry: Telemetry,
    platform: Arc<dyn Platform>,
}

impl Admission {
    /// `unary` are the metric labels of the unary methods, in the order of their [`Lane`]s.
    pub(crate) fn new(
        settings: &Settings,
        unary: &[String],
        telemetry: Telemetry,
        platform: Arc<dyn Platform>,
    ) -> Self {
        let (places, max, shares) = (Arc::new(()), settings.concurrent_rpcs_max, Shares::new(settings));
        let of = |priority| shares.of(priority, max);
        let weak = Arc::downgrade(&places);
        telemetry.observe_occupancy(Limit::ConcurrentRpcs, move || {
            let held = weak.strong_count().checked_sub(1)?;
            Some(Occupancy { limit: max as u64, in_flight: held as u64 })
        });
        let adaptive = settings.adaptive_concurrency.clone().map(|own| {
            let adaptive = Adaptive::new(own, shares, unary, telemetry.clone(), platform.clone());
            let adaptive = Arc::new(adaptive);
            let weak = Arc::downgrade(&adaptive);
            telemetry.observe_occupancy(Limit::AdaptiveConcurrency, move || {
                weak.upgrade().map(|adaptive| adaptive.occupancy())
            });
            adaptive
        });
        let shares = [Priority::Sheddable, Priority::Normal, Priority::Critical].map(of);
        Self { places, max, shares, adaptive, telemetry, platform }
    }

    /// A permit, or RESOURCE_EXHAUSTED naming the setting and when to come back.
    pub(crate) fn admit(&self, lane: Lane) -> Result<Permit, Status> {
        let share = self.shares[lane.priority as usize];
        let held = || Arc::strong_count(&self.places) - 1;
        let refuse = || {
            let what = ("concurrent RPCs", "concurrent_rpcs_max");
            self.refuse(Limit::ConcurrentRpcs, what, lane.priority, share, self.max)
        };
        // Looked at first, because refused RPCs must not fight for the count with those that get a place.
        if held() >= share {
            return Err(refuse());
        }
        let place = self.places.clone();
        if held() > share {
            return Err(refuse());
        }
        let visit = match (&self.adaptive, lane.unary) {
            (Some(adaptive), Some(method)) => {
                Some(adaptive.enter(method, lane.priority).map_err(|full| {
                    let what = ("concurrent unary RPCs", "adaptive_concurrency");
                    self.refuse(Limit::AdaptiveConcurrency, what, lane.priority, full.share, full.limit)
                })?)
            }
            _ => None,
        };
        Ok(Permit { _place: place, visit })
    }

    fn refuse(
        &self,
        limit: Limit,
        (what, setting): (&str, &str),
        priority: Priority,
        share: usize,
        max: usize,
    ) -> Status {
        self.telemetry.report(&Event::LimitHit { limit });
        let sentence = if share < max {
            format!("{priority} RPCs may use {share} of the {max} {what} (methods.priority, {setting})")
        } else {
            format!("the server is at its limit of {max} {what} ({setting})")
        };
        let percent = 50 + u32::try_from(self.platform.random() % 101).unwrap_or(50);
        Status::new(Code::ResourceExhausted, sentence).with_retry_after(RETRY_AFTER * percent / 100)
    }
}

/// What the end of an RPC says about the latency of its method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It took as long as it takes.
    Served,
    /// It would have taken longer.
    Expired,
    /// Nothing: failures are fast or slow for reasons of their own, and who left did not wait.
    Silent,
}

impl Outcome {
    fn of(rpc: &Rpc, code: Code, took: Duration) -> Self {
        match code {
            Code::Ok => Self::Served,
            Code::DeadlineExceeded => Self::Expired,
            // The clock of the caller began to run before ours: when its deadline passes, it leaves before we notice. Seen
            // as mere cancellations, the worst overload would be invisible.
            Code::Cancelled if rpc.deadline.is_some_and(|deadline| took >= deadline.allowed() * 9 / 10) => {
                Self::Expired
            }
            _ => Self::Silent,
        }
    }
}

impl Permit {
    /// Gives the permit back and learns from how its RPC went.
    pub(crate) fn end(mut self, rpc: &Rpc, code: Code, took: Duration) {
        if let Some(visit) = self.visit.take() {
            visit.end(Outcome::of(rpc, code, took), rpc.started + took, took);
        }
    }
}

//! The limit of unary RPCs that follows what the service can bear: what every RPC passes.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use highball_net::Platform;
use highball_telemetry::{Occupancy, Telemetry};
use tokio::time::Instant;

use super::cohort::Member;
use super::control::Control;
use super::latency::MethodLatency;
use super::priority::Shares;
use super::{AdaptiveConcurrency, Outcome, Priority};

/// Counts unary RPCs and their latencies. Nobody waits for [`Control`]: it is run by whoever ends an RPC after a window is
/// over, and by one at a time.
pub(super) struct Adaptive {
    pub(super) settings: AdaptiveConcurrency,
    pub(super) telemetry: Telemetry,
    pub(super) platform: Arc<dyn Platform>,
    pub(super) methods: Vec<MethodLatency>,
    shares: Shares,
    in_flight: AtomicUsize,
    /// In force now.
    limit: AtomicUsize,
    /// RPCs in flight among which one meets no load.
    calm: AtomicUsize,
    /// RPCs in flight above which the limit is in use.
    half: AtomicUsize,
    /// Whether more than that were in flight since [`Control`] last looked.
    busy: AtomicBool,
    origin: Instant,
    /// When [`Control`] wants to look again, in nanoseconds after `origin`.
    look_at: AtomicU64,
    control: Mutex<Control>,
}

/// Why there is no place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full {
    pub(super) share: usize,
    pub(super) limit: usize,
}

impl Adaptive {
    pub(super) fn new(
        settings: AdaptiveConcurrency,
        shares: Shares,
        unary: &[String],
        telemetry: Telemetry,
        platform: Arc<dyn Platform>,
    ) -> Self {
        let origin = Instant::now();
        let adaptive = Self {
            control: Mutex::new(Control::new(&settings, origin)),
            methods: unary.iter().cloned().map(MethodLatency::new).collect(),
            shares,
            in_flight: AtomicUsize::new(0),
            limit: AtomicUsize::new(0),
            calm: AtomicUsize::new(0),
            half: AtomicUsize::new(0),
            busy: AtomicBool::new(false),
            origin,
            look_at: AtomicU64::new(0),
            settings,
            telemetry,
            platform,
        };
        adaptive.methods.iter().for_each(|method| method.cohort.open(adaptive.settings.measure_samples));
        adaptive.put_in_force(adaptive.settings.limit_initial as usize);
        adaptive.look_at(origin + adaptive.settings.window);
        adaptive
    }

    pub(super) fn occupancy(&self) -> Occupancy {
        let [limit, in_flight] = [&self.limit, &self.in_flight].map(|n| n.load(Ordering::Relaxed) as u64);
        Occupancy { limit, in_flight }
    }

    /// A place for an RPC of this method.
    ///
    /// # Errors
    /// [`Full`], when its priority has none left.
    pub(super) fn enter(self: &Arc<Self>, method: usize, priority: Priority) -> Result<Visit, Full> {
        let limit = self.limit.load(Ordering::Relaxed);
        let share = self.shares.of(priority, limit);
        let before = self.in_flight.load(Ordering::Relaxed);
        if before >= share {
            self.set_busy();
            return Err(Full { share, limit });
        }
        // The count has moved on when others came meanwhile; the visit leaves again when it goes.
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let mut visit = Visit { adaptive: self.clone(), method, member: None };
        if before < self.calm.load(Ordering::Relaxed) {
            visit.member = self.methods.get(method).and_then(|method| method.cohort.join());
        }
        if before >= self.half.load(Ordering::Relaxed) {
            self.set_busy();
        }
        if before >= share { Err(Full { share, limit }) } else { Ok(visit) }
    }

    fn set_busy(&self) {
        // Most find it set; a store would take the line from every other core.
        if !self.busy.load(Ordering::Relaxed) {
            self.busy.store(true, Ordering::Relaxed);
        }
    }

    /// Whether more than half of the limit was in use since the last call.
    pub(super) fn was_busy(&self) -> bool {
        self.busy.swap(false, Ordering::Relaxed)
    }

    /// Makes `limit` what the limit is.
    pub(super) fn put_in_force(&self, limit: usize) {
        let half = limit / 2;
        self.limit.store(limit, Ordering::Relaxed);
        self.half.store(half, Ordering::Relaxed);
        self.calm.store(self.halved(limit), Ordering::Relaxed);
    }

    /// Halves the limit until the next [`put_in_force`](Self::put_in_force).
    pub(super) fn halve(&self, limit: usize) {
        self.limit.store(self.halved(limit), Ordering::Relaxed);
    }

    fn halved(&self, limit: usize) -> usize {
        (limit / 2).max(self.settings.limit_min as usize)
    }

    pub(super) fn look_at(&self, then: Instant) {
        self.look_at.store(self.nanos(then), Ordering::Relaxed);
    }

    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX)
    }

    fn look(&self, now: Instant) {
        let due = || self.nanos(now) >= self.look_at.load(Ordering::Relaxed);
        if !due() {
            return;
        }
        let mut control: MutexGuard<'_, Control> = match self.control.try_lock() {
            Ok(control) => control,
            // What it holds is whole after every statement.
            Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            Err(TryLockError::WouldBlock) => return,
        };
        // Somebody else may have looked just before.
        if due() {
            control.look(self, now);
        }
    }
}

impl fmt::Debug for Adaptive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adaptive").field("occupancy", &self.occupancy()).finish_non_exhaustive()
    }
}

/// One unary RPC among those that are counted.
#[derive(Debug)]
pub(super) struct Visit {
    adaptive: Arc<Adaptive>,
    method: usize,
    /// It came when there was no load, and is one of those that show what that is like.
    member: Option<Member>,
}

impl Visit {
    /// Leaves, and tells how it was.
    pub(super) fn end(self, outcome: Outcome, now: Instant, took: Duration) {
        let adaptive = &self.adaptive;
        if let Some(method) = adaptive.methods.get(self.method) {
            let counts = match outcome {
                Outcome::Served => true,
                // A caller with less patience than the method takes at best says nothing about load.
                Outcome::Expired => method.baseline().is_some_and(|baseline| took > baseline),
                Outcome::Silent => false,
            };
            if counts {
                method.window.add(took);
            }
            match (self.member, outcome) {
                (Some(member), Outcome::Served) => method.cohort.end(member, Some(took)),
                // Slower than that, however slow: it stays among those that have not ended.
                (Some(_), Outcome::Expired) if counts => {}
                (Some(member), _) => method.cohort.end(member, None),
                (None, _) => {}
            }
        }
        adaptive.look(now);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.adaptive.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

//! What a channel knows and does, for people.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use highball_core::Method;
use serde::Serialize;

use crate::backend::Backend;
use crate::picture::Shared;
use crate::{Endpoint, State};

/// Picks that are remembered.
const PICKS_MAX: usize = 16;

/// The last picks.
#[derive(Debug, Default)]
pub(crate) struct Picks {
    last: Mutex<VecDeque<(Method, Arc<Endpoint>, &'static str)>>,
}

/// One pick and its reason.
#[derive(Debug, Clone, Serialize)]
pub struct Picked {
    /// What was called.
    pub method: String,
    /// The endpoint's first address.
    pub endpoint: String,
    /// Why this one.
    pub why: &'static str,
}

impl Picks {
    /// Remembers a pick, unless another call is just doing so: a pick waits for nobody.
    pub(crate) fn note(&self, method: &Method, backend: &Arc<Backend>, why: &'static str) {
        let Ok(mut last) = self.last.try_lock() else { return };
        if last.len() == PICKS_MAX {
            last.pop_front();
        }
        // Spelt out when somebody asks. The endpoint, because a backend would keep its connections.
        last.push_back((method.clone(), backend.endpoint(), why));
    }

    fn list(&self) -> Vec<Picked> {
        let last: MutexGuard<'_, _> = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let spelt = |(method, endpoint, why): &(Method, Arc<Endpoint>, &'static str)| Picked {
            method: method.full_name().to_owned(),
            endpoint: endpoint.name(),
            why,
        };
        last.iter().map(spelt).collect()
    }
}

/// A channel at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    /// As its user wrote it.
    pub target: String,
    /// `READY` and so on.
    pub state: &'static str,
    /// Name of the load balancing policy.
    pub policy: &'static str,
    /// Calls under way.
    pub calls: usize,
    /// Calls that wait for an endpoint.
    pub waiting: usize,
    /// Retry tokens that are left, where retries are throttled: with half of them gone nothing is sent twice.
    pub retry_tokens: Option<f64>,
    /// Bytes of requests kept for another attempt.
    pub replay_bytes: usize,
    /// Why nothing is ready.
    pub trouble: Option<String>,
    /// Why the target could not be resolved the last time.
    pub resolve_error: Option<String>,
    /// Why the last service config was refused.
    pub config_error: Option<String>,
    /// All endpoints, in the resolver's order.
    pub endpoints: Vec<EndpointSnapshot>,
    /// The last picks, oldest first.
    pub picks: Vec<Picked>,
}

/// An endpoint at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct EndpointSnapshot {
    /// Its addresses.
    pub addresses: Vec<String>,
    /// As the balancer sees it.
    pub state: &'static str,
    /// For how long.
    pub since_ms: u128,
    /// Connections that take calls.
    pub connections: usize,
    /// Calls in flight.
    pub active: usize,
    /// Latency as measured, in microseconds.
    pub latency_us: Option<u128>,
    /// Why it is not ready.
    pub trouble: Option<String>,
    /// Why outlier detection has taken it out.
    pub ejected: Option<String>,
    /// Attempts to connect, and those that failed.
    pub connects: (u64, u64),
}

impl Snapshot {
    pub(crate) fn take(shared: &Shared) -> Self {
        let picture = shared.picture();
        Self {
            target: shared.name.clone(),
            state: picture.state.name(),
            policy: picture.policy,
            calls: shared.calls(),
            waiting: shared.waiting(),
            retry_tokens: picture
                .throttle
                .as_ref()
                .map(|throttle| f64::from(throttle.thousandths()) / 1000.0),
            replay_bytes: shared.budget.kept(),
            trouble: picture.trouble.clone(),
            resolve_error: shared.resolve_error.load().as_deref().cloned(),
            config_error: shared.config_error.load().as_deref().cloned(),
            endpoints: picture.backends.iter().map(|backend| EndpointSnapshot::take(backend)).collect(),
            picks: shared.picks.list(),
        }
    }
}

impl EndpointSnapshot {
    fn take(backend: &Backend) -> Self {
        let state: State = backend.state();
        let story = backend.story().clone();
        Self {
            addresses: backend.endpoint().addresses.iter().map(ToString::to_string).collect(),
            state: state.name(),
            since_ms: story.since.elapsed().as_millis(),
            connections: backend.connections().len(),
            active: backend.load.active(),
            latency_us: backend.load.measured().map(|latency: Duration| latency.as_micros()),
            trouble: story.trouble.map(|trouble| trouble.whole),
            ejected: story.ejection.map(|(why, _)| why),
            connects: story.connects,
        }
    }
}

//! Choosing among backends.
//!
//! A [`Policy`] belongs to the manager and sees every change; what it publishes is a [`Picker`], an immutable snapshot that
//! every call reads with one atomic load. A pick never blocks and never takes a lock.
//!
//! All policies of this crate avoid backends that earlier attempts of a call went to, skip backends that are full, and use
//! the lowest [`priority`](crate::Attributes::priority) that is not in TRANSIENT_FAILURE.

mod least_request;
pub(crate) mod load;
mod members;
mod peak_ewma;
mod pick_first;
mod pool;
mod priority;
mod random;
mod ring_hash;
mod round_robin;
mod slow_start;
mod stride;
mod weighted_round_robin;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use highball_core::{Method, Status};
use http::HeaderMap;
use tokio::time::Instant;

use self::load::Tuning;
pub(crate) use self::members::members;
use crate::backend::Backend;
use crate::service_config::balancing::{Balancing, OutlierConfig, PolicyConfig};
use crate::{Address, Endpoint, State};

/// What a pick may look at.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// What is called.
    pub method: &'a Method,
    /// The request's headers, for policies that hash one.
    pub headers: &'a HeaderMap,
    /// Backends that earlier attempts of the same call went to, at most a handful: avoided while there is another.
    pub tried: &'a [Arc<Backend>],
    /// Fresh random bits.
    pub random: u64,
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone)]
pub enum Pick {
    /// Send it there. The text says why in a few words, for people who ask; it names no address.
    To(Arc<Backend>, &'static str),
    /// Nothing is ready yet: wait for the next picker.
    Queue,
    /// Nothing will be ready soon: calls that do not wait for ready end with this.
    Fail(Status),
    /// Refused: every call ends with this, also one that waits for ready, because no later picker announces that there is
    /// room again. Not retried (gRFC A6 on calls dropped by the balancer).
    Drop(Status),
}

/// An immutable choice among backends.
pub trait Picker: Send + Sync + 'static {
    /// Chooses. Must be quick, must not block, must not lock.
    fn pick(&self, ask: &Ask<'_>) -> Pick;
}

/// What a policy publishes.
pub struct Published {
    /// For calls.
    pub picker: Arc<dyn Picker>,
    /// Of the channel as a whole.
    pub state: State,
    /// When to build again although nothing happened, because weights or slow starts move with time.
    pub rebuild_after: Option<Duration>,
}

/// A load balancing policy. Owned by the manager, which calls it with every change of backends or their states.
pub trait Policy: Send + 'static {
    /// Its name in the service config.
    fn name(&self) -> &'static str;

    /// Whether backends connect only when a pick asks for them ([`Backend::connect`]).
    fn is_lazy(&self) -> bool {
        false
    }

    /// Builds the picker for these backends and their present states.
    fn build(&mut self, backends: &[Arc<Backend>], now: Instant) -> Published;
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { picker: _, state, rebuild_after } = self;
        f.debug_struct("Published")
            .field("state", state)
            .field("rebuild_after", rebuild_after)
            .finish_non_exhaustive()
    }
}

/// What the service config wants, with our defaults where it is silent: `round_robin`, for one endpoint as well, so that the
/// connection stays when a second one comes; outlier detection as in [`OutlierConfig::default_on`] for every policy that has a choice.
pub(crate) fn effective(wanted: Option<&Balancing>) -> Balancing {
    let policy = PolicyConfig::RoundRobin;
    let default = || Balancing { policy, outlier: None, subset: None, slow_start: None };
    let mut balancing = wanted.cloned().unwrap_or_else(default);
    // What `pick_first` calls its only backend is several, and ejecting it would leave none.
    match balancing.policy {
        PolicyConfig::PickFirst { .. } => balancing.outlier = None,
        _ => balancing.outlier = balancing.outlier.or_else(|| Some(OutlierConfig::default_on())),
    }
    balancing
}

/// A new policy. Every backend it is given is tuned with `tuning`. `seed` decides where round robins start and rings begin.
pub(crate) fn policy_for(balancing: &Balancing, tuning: &Arc<Tuning>, seed: u64) -> Box<dyn Policy> {
    let (config, slow_start) = (balancing.policy.clone(), balancing.slow_start.clone());
    let make = move |seed: u64| -> Box<dyn Policy> {
        let slow_start = slow_start.clone();
        match &config {
            PolicyConfig::PickFirst { .. } => Box::new(pick_first::PickFirst),
            PolicyConfig::RoundRobin => Box::new(round_robin::RoundRobin::new(slow_start, seed)),
            PolicyConfig::LeastRequest { choice_count } => {
                Box::new(least_request::LeastRequest::new(*choice_count, slow_start))
            }
            PolicyConfig::RingHash(config) => Box::new(ring_hash::RingHash::new(config.clone(), seed)),
            PolicyConfig::WeightedRoundRobin(config) => {
                Box::new(weighted_round_robin::WeightedRoundRobin::new(config.clone(), slow_start, seed))
            }
            PolicyConfig::PeakEwma { decay, default_rtt } => {
                Box::new(peak_ewma::PeakEwma::new(*decay, *default_rtt, slow_start))
            }
        }
    };
    Box::new(priority::Priorities::new(Box::new(make), Arc::clone(tuning), seed))
}

/// The picker of a policy over so many endpoints, all of them ready and none of them real: for measuring what a pick costs.
/// `None` is the default policy.
#[must_use]
pub fn ready_picker(balancing: Option<&Balancing>, endpoints: usize) -> Arc<dyn Picker> {
    let backends: Vec<_> = (0..endpoints)
        .map(|number| {
            let port = u16::try_from(number % 60_000).unwrap_or_default();
            let host = u32::try_from(number).unwrap_or_default();
            let addr = SocketAddr::from((Ipv4Addr::from_bits(0x0a00_0000 | host), port));
            let backend = Backend::new(Endpoint::new(Address::Tcp(addr)));
            backend.set_state(State::Ready);
            backend
        })
        .collect();
    policy_for(&effective(balancing), &Arc::default(), 0).build(&backends, Instant::now()).picker
}

#[cfg(test)]
pub(crate) mod tests;

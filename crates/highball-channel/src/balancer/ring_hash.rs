//! `ring_hash_experimental` (gRFC A42, A61, A76, A117): calls with the same key go to the same backend, and few keys move when
//! backends come and go.
//!
//! Backends connect when a call wants them. A full backend, and one that an earlier attempt of the call went to, passes the
//! call on to the next ready one on its ring.

mod ring;

use std::hash::Hasher as _;
use std::sync::Arc;

use http::HeaderName;
use tokio::time::Instant;
use twox_hash::XxHash64;

use self::ring::{Ring, Stake, stake};
use super::pool::{Fit, failed, full};
use super::random::{below, mix};
use super::{Ask, Pick, Picker, Policy, Published};
use crate::State;
use crate::backend::Backend;
use crate::service_config::balancing::RingHashConfig;

/// Keeps the ring as long as the backends on it stay the same.
#[derive(Debug)]
pub(super) struct RingHash {
    config: RingHashConfig,
    known: Option<(Vec<Stake>, Arc<Ring>)>,
    /// Random enough to choose whom to connect to without being asked.
    bits: u64,
    /// Who was, last.
    woken: Option<Arc<Backend>>,
}

impl RingHash {
    pub(super) fn new(config: RingHashConfig, seed: u64) -> Self {
        Self { config, known: None, bits: seed, woken: None }
    }

    fn ring(&mut self, backends: &[Arc<Backend>]) -> Arc<Ring> {
        let stakes: Vec<_> = backends.iter().map(stake).collect();
        match &self.known {
            Some((known, ring)) if *known == stakes => Arc::clone(ring),
            _ => {
                let ring = Arc::new(Ring::new(&stakes, self.config.ring_size_min, self.config.ring_size_max));
                self.known = Some((stakes, Arc::clone(&ring)));
                ring
            }
        }
    }

    /// Without ready backends somebody must be connecting, or a channel that gets no calls never recovers. Which one is
    /// random, or all clients would come to the same one (gRFC A117).
    fn wake(&mut self, backends: &[Arc<Backend>]) {
        let idle: Vec<_> = backends.iter().filter(|backend| backend.state() == State::Idle).collect();
        // The one that was woken may not have said yet that it is connecting: not another one for each change in between.
        let again =
            idle.iter().find(|backend| self.woken.as_ref().is_some_and(|woken| Arc::ptr_eq(woken, backend)));
        self.bits = mix(self.bits);
        if let Some(backend) = again.or_else(|| idle.get(below(self.bits, idle.len()))) {
            backend.connect();
            self.woken = Some(Arc::clone(backend));
        }
    }
}

impl Policy for RingHash {
    fn name(&self) -> &'static str {
        "ring_hash_experimental"
    }

    fn is_lazy(&self) -> bool {
        true
    }

    fn build(&mut self, backends: &[Arc<Backend>], _: Instant) -> Published {
        let states: Vec<_> = backends.iter().map(|backend| backend.state()).collect();
        let state = aggregate(&states);
        let busy = states.contains(&State::Connecting);
        if matches!(state, State::Connecting | State::TransientFailure) && !busy {
            self.wake(backends);
        } else {
            self.woken = None;
        }
        let (ring, header) = (self.ring(backends), self.config.header.clone());
        let picker = Arc::new(Walk { backends: backends.to_vec(), ring, header });
        Published { picker, state, rebuild_after: None }
    }
}

/// gRFC A42, "Aggregated Connectivity State". Two failures are taken for the failure of all: with backends that connect only
/// when asked it would take for ever to see every one fail.
fn aggregate(states: &[State]) -> State {
    let count = |wanted: State| states.iter().filter(|state| **state == wanted).count();
    let failed = count(State::TransientFailure);
    if count(State::Ready) > 0 {
        State::Ready
    } else if failed >= 2 {
        State::TransientFailure
    } else if count(State::Connecting) > 0 || (failed == 1 && states.len() > 1) {
        State::Connecting
    } else if count(State::Idle) > 0 {
        State::Idle
    } else {
        State::TransientFailure
    }
}

struct Walk {
    backends: Vec<Arc<Backend>>,
    ring: Arc<Ring>,
    header: Option<HeaderName>,
}

impl Picker for Walk {
    fn pick(&self, ask: &Ask<'_>) -> Pick {
        match self.key(ask) {
            Some(hash) => self.owner(hash, ask),
            None => self.anybody(ask),
        }
    }
}

impl Walk {
    /// The hash of the header's values, joined with commas; `None` without any text in them (gRFC A76).
    fn key(&self, ask: &Ask<'_>) -> Option<u64> {
        let name = self.header.as_ref()?;
        let mut hasher = XxHash64::with_seed(0);
        let mut empty = true;
        for (place, value) in ask.headers.get_all(name).iter().enumerate() {
            if place > 0 {
                hasher.write(b",");
            }
            hasher.write(value.as_bytes());
            empty &= place == 0 && value.is_empty();
        }
        (!empty).then(|| hasher.finish())
    }

    fn along(&self, hash: u64) -> impl Iterator<Item = &Arc<Backend>> {
        self.ring.from(hash).filter_map(|index| self.backends.get(index))
    }

    /// The first on the ring that is not in TRANSIENT_FAILURE decides (gRFC A61): failed ones reconnect by themselves.
    fn owner(&self, hash: u64, ask: &Ask<'_>) -> Pick {
        let mut passed = Passed::default();
        for backend in self.along(hash) {
            match (backend.state(), Fit::of(backend, ask)) {
                (State::Ready, Fit::Good) if passed.is_empty() => {
                    return Pick::To(Arc::clone(backend), "ring_hash: header");
                }
                (State::Ready, Fit::Good) => {
                    return Pick::To(Arc::clone(backend), "ring_hash: header, next on the ring");
                }
                (State::Ready, fit) => passed.note(backend, fit),
                // Once somebody ready was passed over, only another ready one will do.
                (State::Idle, _) if passed.is_empty() => {
                    backend.connect();
                    return Pick::Queue;
                }
                (State::Connecting, _) if passed.is_empty() => return Pick::Queue,
                _ => {}
            }
        }
        passed.end(Pick::Fail(failed()))
    }

    /// The first ready one from a random point on. At most one idle one is woken, and none while another is connecting
    /// (gRFC A76).
    fn anybody(&self, ask: &Ask<'_>) -> Pick {
        let mut passed = Passed::default();
        // Looked up only when it matters: over all backends, while a pick must cost the same for any number of them.
        let connecting = || self.backends.iter().any(|backend| backend.state() == State::Connecting);
        let mut coming = None;
        for backend in self.along(ask.random) {
            match (backend.state(), Fit::of(backend, ask)) {
                (State::Ready, Fit::Good) => return Pick::To(Arc::clone(backend), "ring_hash: random"),
                (State::Ready, fit) => passed.note(backend, fit),
                (State::Idle, _) if !*coming.get_or_insert_with(connecting) => {
                    backend.connect();
                    coming = Some(true);
                }
                _ => {}
            }
        }
        let coming = coming.unwrap_or_else(connecting);
        passed.end(if coming { Pick::Queue } else { Pick::Fail(failed()) })
    }
}

/// Ready backends the walk went past.
#[derive(Default)]
struct Passed<'a> {
    tried: Option<&'a Arc<Backend>>,
    full: bool,
    /// No longer ready when it was looked at again: another picker is on its way.
    gone: bool,
}

impl<'a> Passed<'a> {
    fn is_empty(&self) -> bool {
        self.tried.is_none() && !self.full && !self.gone
    }

    fn note(&mut self, backend: &'a Arc<Backend>, fit: Fit) {
        match fit {
            Fit::Tried => self.tried = self.tried.or(Some(backend)),
            Fit::Full => self.full = true,
            Fit::Gone => self.gone = true,
            Fit::Good => {}
        }
    }

    /// The whole ring was seen.
    fn end(self, nobody: Pick) -> Pick {
        match self {
            Self { tried: Some(backend), .. } => {
                Pick::To(Arc::clone(backend), "ring_hash: every endpoint was tried")
            }
            Self { gone: true, .. } => Pick::Queue,
            Self { full: true, .. } => full(),
            Self { .. } => nobody,
        }
    }
}

#[cfg(test)]
mod tests;

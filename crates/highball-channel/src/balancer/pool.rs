//! What policies over a list of ready backends have in common.

use std::sync::Arc;
use std::time::Duration;

use highball_core::{Code, Status};

use super::{Ask, Pick, Picker, Published};
use crate::State;
use crate::backend::Backend;

/// How well a backend fits a call, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// No longer ready; a picker without it is on its way.
    Gone,
    /// Ready, but it has as many calls in flight as it may.
    Full,
    /// An earlier attempt of the call went there.
    Tried,
    /// Nothing speaks against it.
    Good,
}

impl Fit {
    pub(super) fn of(backend: &Arc<Backend>, ask: &Ask<'_>) -> Self {
        // The state is read again: it may be newer than the picker.
        if backend.state() != State::Ready {
            Self::Gone
        } else if !backend.load.has_room() {
            Self::Full
        } else if ask.tried.iter().any(|tried| Arc::ptr_eq(tried, backend)) {
            Self::Tried
        } else {
            Self::Good
        }
    }
}

/// Looks at all of `ready` when the first choice does not fit: the best fit, among those the lowest cost, among those the
/// next from `start` on.
pub(super) fn search(
    ready: &[Arc<Backend>],
    start: usize,
    ask: &Ask<'_>,
    cost: impl Fn(&Backend) -> f64,
) -> Pick {
    let (before, from) = ready.split_at(start.min(ready.len()));
    let mut best: Option<(Fit, f64, &Arc<Backend>)> = None;
    for backend in from.iter().chain(before) {
        let (fit, cost) = (Fit::of(backend, ask), cost(backend));
        if best.is_none_or(|(known, lowest, _)| fit > known || (fit == known && cost < lowest)) {
            best = Some((fit, cost, backend));
        }
    }
    match best {
        Some((Fit::Good, _, backend)) => Pick::To(Arc::clone(backend), "the first choice was tried or full"),
        Some((Fit::Tried, _, backend)) => Pick::To(Arc::clone(backend), "every endpoint was tried"),
        Some((Fit::Full, ..)) => full(),
        Some((Fit::Gone, ..)) | None => Pick::Queue,
    }
}

/// Every ready backend is full.
pub(super) fn full() -> Pick {
    let sentence = "every ready endpoint has as many calls in flight as it may (endpoint_calls_max)";
    Pick::Drop(Status::new(Code::Unavailable, sentence))
}

/// Nothing is ready, and nothing will be soon. The channel knows why.
pub(super) fn failed() -> Status {
    Status::new(Code::Unavailable, "no endpoint is ready")
}

/// What a policy over ready backends publishes: `picker` for them if there are any, otherwise one that waits or fails.
pub(super) fn publish(
    backends: &[Arc<Backend>],
    picker: impl FnOnce(Vec<Arc<Backend>>) -> (Arc<dyn Picker>, Option<Duration>),
) -> Published {
    // Each state is read once: the picker and the whole must agree.
    let states: Vec<_> = backends.iter().map(|backend| backend.state()).collect();
    let with = |wanted: State| {
        let pairs = backends.iter().zip(&states).filter(move |(_, state)| **state == wanted);
        pairs.map(|(backend, _)| Arc::clone(backend)).collect()
    };
    let state = State::of_any(states.iter().copied());
    let (picker, rebuild_after): (Arc<dyn Picker>, _) = match state {
        State::Ready => picker(with(State::Ready)),
        State::TransientFailure => (Arc::new(Failing(failed())), None),
        _ => (Arc::new(Waiting { idle: with(State::Idle) }), None),
    };
    Published { picker, state, rebuild_after }
}

/// Calls wait, and wake what sleeps.
struct Waiting {
    idle: Vec<Arc<Backend>>,
}

impl Picker for Waiting {
    fn pick(&self, _: &Ask<'_>) -> Pick {
        self.idle.iter().for_each(|backend| backend.connect());
        Pick::Queue
    }
}

/// Calls fail.
pub(super) struct Failing(pub(super) Status);

impl Picker for Failing {
    fn pick(&self, _: &Ask<'_>) -> Pick {
        Pick::Fail(self.0.clone())
    }
}

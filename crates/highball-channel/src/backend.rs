//! One endpoint with its connections and what is known of it. Shared by every picker, so that nothing is forgotten when a
//! new picker is published.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use highball_net::client::{Connection, Slot};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::balancer::load::Load;
use crate::connector::Made;
use crate::{Address, Endpoint, State};

/// One endpoint.
pub struct Backend {
    endpoint: ArcSwap<Endpoint>,
    /// As its connections and its health say.
    state: AtomicU8,
    /// Taken out by outlier detection.
    ejected: AtomicBool,
    /// It says that it is not healthy, but nobody asked for that to be decisive.
    unwell: AtomicBool,
    /// Unwell while others are not.
    avoided: AtomicBool,
    /// Those that take new streams, the oldest first, and where they lead.
    connections: ArcSwap<Vec<Made>>,
    story: Mutex<Story>,
    /// Somebody wants it connected.
    wanted: Notify,
    /// Every connection is full.
    crowded: Notify,
    /// In flight, latency, weights, failures.
    pub(crate) load: Load,
}

/// How it came to its state, for people.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    pub(crate) since: Instant,
    /// Why it is not ready; kept until it is.
    pub(crate) trouble: Option<Trouble>,
    /// Attempts to connect, and those that failed.
    pub(crate) connects: (u64, u64),
    /// Why and since when outlier detection has taken it out.
    pub(crate) ejection: Option<(String, Instant)>,
}

/// Why a backend is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// A few words without an address: `connection refused`.
    pub(crate) brief: String,
    /// All that is known, for the operator.
    pub(crate) whole: String,
}

impl Backend {
    /// An idle backend.
    pub(crate) fn new(endpoint: Endpoint) -> Arc<Self> {
        let story = Story { since: Instant::now(), trouble: None, connects: (0, 0), ejection: None };
        Arc::new(Self {
            endpoint: ArcSwap::from_pointee(endpoint),
            state: AtomicU8::new(State::Idle as u8),
            ejected: AtomicBool::new(false),
            unwell: AtomicBool::new(false),
            avoided: AtomicBool::new(false),
            connections: ArcSwap::default(),
            story: Mutex::new(story),
            wanted: Notify::new(),
            crowded: Notify::new(),
            load: Load::default(),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn endpoint(&self) -> Arc<Endpoint> {
        self.endpoint.load_full()
    }

    /// The resolver knows more of it, or another order of its addresses.
    pub(crate) fn set_endpoint(&self, endpoint: Endpoint) {
        self.endpoint.store(Arc::new(endpoint));
    }

    /// As the balancer sees it: an ejected or avoided backend is in TRANSIENT_FAILURE although it is connected.
    #[must_use]
    pub fn state(&self) -> State {
        match self.own_state() {
            State::Ready if self.is_ejected() || self.avoided.load(Ordering::Acquire) => {
                State::TransientFailure
            }
            state => state,
        }
    }

    /// Without regard to outlier detection.
    pub(crate) fn own_state(&self) -> State {
        State::from_u8(self.state.load(Ordering::Acquire))
    }

    /// Whether it changed anything.
    pub(crate) fn set_state(&self, state: State) -> bool {
        let before = State::from_u8(self.state.swap(state as u8, Ordering::AcqRel));
        if before == state {
            return false;
        }
        let mut story = self.story();
        story.since = Instant::now();
        if state == State::Ready {
            story.trouble = None;
            self.load.ready(story.since);
        }
        true
    }

    /// Not ready, and why.
    pub(crate) fn fail(&self, trouble: Trouble) -> bool {
        self.story().trouble = Some(trouble);
        self.set_state(State::TransientFailure)
    }

    /// Whether outlier detection has taken it out.
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        self.ejected.load(Ordering::Acquire)
    }

    /// Ready, though it says why it would rather not be used; or well again.
    pub(crate) fn set_unwell(&self, why: Option<Trouble>) {
        self.unwell.store(why.is_some(), Ordering::Release);
        self.set_state(State::Ready);
        self.story().trouble = why;
    }

    /// Whether it can be used and does not mind.
    pub(crate) fn is_well(&self) -> bool {
        self.own_state() == State::Ready && !self.unwell.load(Ordering::Acquire) && !self.is_ejected()
    }

    /// Avoids it if it is unwell and `others` are not.
    pub(crate) fn avoid(&self, others: bool) {
        self.avoided.store(others && self.unwell.load(Ordering::Acquire), Ordering::Release);
    }

    /// Takes it out, saying why, or back in.
    pub(crate) fn eject(&self, why: Option<String>) {
        self.ejected.store(why.is_some(), Ordering::Release);
        self.story().ejection = why.map(|why| (why, Instant::now()));
    }

    pub(crate) fn story(&self) -> MutexGuard<'_, Story> {
        // Nothing panics while holding it.
        self.story.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a connection. Remembered until it is heard; idempotent; never blocks.
    pub(crate) fn connect(&self) {
        self.wanted.notify_one();
    }

    /// Resolves when somebody asked for a connection. Cancel safe; one listener.
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    pub(crate) fn set_connections(&self, connections: Vec<Made>) {
        self.connections.store(Arc::new(connections));
    }

    /// Those that take new streams.
    pub(crate) fn connections(&self) -> Vec<Connection> {
        self.connections.load().iter().map(|(connection, _)| connection.clone()).collect()
    }

    /// Whether it is connected, and to these addresses only.
    pub(crate) fn is_connected_within(&self, addresses: &[Address]) -> bool {
        let connections = self.connections.load();
        !connections.is_empty() && connections.iter().all(|(_, address)| addresses.contains(address))
    }

    /// A place for one stream on the oldest connection that has one (gRFC A105). Without one, asks for another connection.
    pub(crate) fn reserve(&self) -> Option<Slot> {
        let connections = self.connections.load();
        let slot = connections.iter().find_map(|(connection, _)| connection.reserve());
        if slot.is_none() && !connections.is_empty() {
            self.crowded.notify_one();
        }
        slot
    }

    /// Resolves when a call found no place. Cancel safe; one listener.
    pub(crate) async fn crowded(&self) {
        self.crowded.notified().await;
    }

    /// No more calls for this one: streams that run may end, then its connections close.
    pub(crate) fn retire(&self) {
        self.set_state(State::Shutdown);
        for (connection, _) in self.connections.swap(Arc::default()).iter() {
            connection.close();
        }
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, .. } = self;
        f.debug_struct("Backend")
            .field("endpoint", &*endpoint.load())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

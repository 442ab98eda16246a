//! The life of one backend: idle, connecting, ready, and over again. The only writer of its connections and state.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use highball_core::backoff::Backoff;
use highball_net::client::Leaving;
use highball_telemetry::ChannelEvent;
use tokio::time::Instant;

use crate::State;
use crate::backend::{Backend, Trouble};
use crate::connector::Made;
use crate::health;
use crate::picture::Shared;
use crate::reports::Reports;

/// A connection that lived so long was a good one: the next failure starts the backoff from its beginning. A peer that
/// takes connections and drops them at once is not hammered.
const GOOD_LIFE: Duration = Duration::from_secs(10);

/// The same for one that the server ended with a GOAWAY that complains of nothing: it wants to be connected to again. One that
/// says so at once is not hammered either.
const POLITE_LIFE: Duration = Duration::from_secs(1);

/// Streams after which such a goodbye is never too early, however short the time: many servers and proxies count streams, not
/// seconds, and a thousand are soon through. Above those of our own, for health and load reports.
const POLITE_STREAMS: u32 = 4;

/// How long a connection waits for what the server says of its health, when nobody asked for that.
const HEALTH_PATIENCE: Duration = Duration::from_secs(1);

/// What a subchannel is told at its start.
pub(crate) struct Subchannel {
    pub(crate) backend: Arc<Backend>,
    pub(crate) shared: Arc<Shared>,
    /// The service whose health decides, if any (gRFC A17).
    pub(crate) health: Option<health::Wanted>,
    /// Connections at most (gRFC A105).
    pub(crate) connections_max: usize,
}

/// A number for each connection, by which it is found when it leaves; why it does, and the streams it took.
type Departures = FuturesUnordered<BoxFuture<'static, (u64, Leaving, u32)>>;

impl Subchannel {
    /// Runs until it is dropped. Connections are then left to [`Backend::retire`].
    pub(crate) async fn run(self) {
        let mut backoff = Backoff::new(self.shared.settings.backoff);
        // Connections in a row that broke too soon to be called a success.
        let mut short = 0_u32;
        self.backend.wanted().await;
        loop {
            let connection = self.connect(&mut backoff).await;
            let born = Instant::now();
            let (why, streams) = self.live(connection).await;
            let polite = matches!(why, Leaving::GoAway { code: 0, .. });
            let useful = polite && streams >= POLITE_STREAMS;
            // Where it was, another may be now.
            self.shared.refresh.notify_one();
            if !useful && born.elapsed() < if polite { POLITE_LIFE } else { GOOD_LIFE } {
                short = short.saturating_add(1);
            } else {
                short = 0;
                backoff.reset();
            }
            // A server that was restarted is connected to again at once; only a second time is suspicious.
            if short > 1 && !polite {
                // Calls do not wait for what does not last.
                self.fail(fleeting());
            } else {
                self.set(State::Idle);
                self.backend.wanted().await;
            }
            if short > 1 {
                tokio::time::sleep(backoff.next(self.random())).await;
            }
        }
    }

    /// Tries until it succeeds, each try at least a backoff after the one before.
    async fn connect(&self, backoff: &mut Backoff) -> Made {
        loop {
            // What has failed stays so until it is ready, though it is tried again (gRFC A62).
            if self.backend.own_state() != State::TransientFailure {
                self.set(State::Connecting);
            }
            let next = Instant::now() + backoff.next(self.random());
            match self.attempt().await {
                Ok(made) => return made,
                Err(trouble) => {
                    self.fail(trouble);
                    self.shared.refresh.notify_one();
                }
            }
            tokio::time::sleep_until(next).await;
        }
    }

    async fn attempt(&self) -> Result<Made, Trouble> {
        self.backend.story().connects.0 += 1;
        let made = self.shared.connector.connect(&self.backend.endpoint()).await;
        let error = made.as_ref().err().map(|trouble| trouble.whole.as_str());
        let endpoint = self.backend.endpoint().name();
        self.report(&ChannelEvent::Connect { target: &self.shared.name, endpoint: &endpoint, error });
        if made.is_err() {
            self.backend.story().connects.1 += 1;
        }
        made
    }

    /// From the first connection to the moment when none is left that takes new streams; why the last one does not, and how
    /// many it took.
    async fn live(&self, first: Made) -> (Leaving, u32) {
        let mut connections = Connections::default();
        connections.add(first);
        self.publish(&connections);
        let mut health = self.watch(&connections);
        let mut reports = self.reports(&connections);
        if self.health.is_none() {
            self.set(State::Ready);
        }
        // Nobody asked for health: a server that does not answer is used without it.
        let optional = self.health.as_ref().is_some_and(|wanted| !wanted.configured);
        let mut patience = optional.then(|| Box::pin(tokio::time::sleep(HEALTH_PATIENCE)));
        let mut growing = None;
        let mut grow_after = Instant::now();
        let mut grow_backoff = Backoff::new(self.shared.settings.backoff);
        loop {
            let room = connections.list.len() < self.connections_max;
            tokio::select! {
                // Whoever leaves is gone before anything else is decided.
                biased;
                Some((id, why, streams)) = connections.departures.next() => {
                    let watched = connections.remove(id);
                    self.publish(&connections);
                    self.left(&why);
                    if connections.list.is_empty() {
                        return (why, streams);
                    }
                    if watched {
                        health = self.watch(&connections);
                        reports = self.reports(&connections);
                    }
                }
                heard = health.next() => self.hear(heard),
                () = some(&mut patience) => {
                    patience = None;
                    self.set(State::Ready);
                }
                never = &mut reports => match never {},
                grown = some(&mut growing) => {
                    growing = None;
                    // A failure is not the end: the connections there are go on, and the next call that finds no place asks
                    // again, after a backoff.
                    grow_after = Instant::now() + grow_backoff.next(self.random());
                    if let Ok(made) = grown {
                        grow_after = Instant::now();
                        grow_backoff.reset();
                        connections.add(made);
                        self.publish(&connections);
                    }
                }
                () = self.backend.crowded(), if room && growing.is_none() => {
                    growing = Some(self.grow(grow_after));
                }
            }
        }
    }

    /// Watches on the oldest connection.
    fn watch(&self, connections: &Connections) -> health::Watch {
        match (&self.health, connections.list.first()) {
            (Some(wanted), Some((_, (connection, _)))) => health::Watch::start(
                connection.clone(),
                wanted.clone(),
                self.shared.connector.head(),
                Backoff::new(self.shared.settings.backoff),
                self.shared.platform.clone(),
            ),
            _ => health::Watch::none(),
        }
    }

    /// Follows the load reports on the oldest connection.
    fn reports(&self, connections: &Connections) -> BoxFuture<'static, Infallible> {
        let Some((_, (connection, _))) = connections.list.first() else { return Box::pin(pending()) };
        let (connection, backend, shared) = (connection.clone(), self.backend.clone(), self.shared.clone());
        Box::pin(Reports { connection, backend, shared }.run())
    }

    fn hear(&self, heard: health::Heard) {
        let configured = self.health.as_ref().is_some_and(|wanted| wanted.configured);
        let unwell = match heard {
            health::Heard::Healthy => None,
            health::Heard::Unhealthy(brief) => Some(Trouble { whole: brief.clone(), brief }),
            health::Heard::Unsupported => {
                let (target, endpoint) = (&*self.shared.name, self.backend.endpoint().name());
                self.report(&ChannelEvent::HealthUnsupported { target, endpoint: &endpoint, configured });
                None
            }
        };
        match unwell {
            Some(trouble) if configured => self.fail(trouble),
            // Nobody asked for it: it steers the choice among endpoints, and never leaves none.
            unwell => {
                self.backend.set_unwell(unwell);
                self.shared.changed.notify_one();
            }
        }
    }

    /// One more connection, not before `after`.
    fn grow(&self, after: Instant) -> BoxFuture<'_, Result<Made, Trouble>> {
        Box::pin(async move {
            tokio::time::sleep_until(after).await;
            self.attempt().await
        })
    }

    fn left(&self, why: &Leaving) {
        if why.is_too_many_pings() {
            self.shared.connector.ping_less();
        }
        let (endpoint, why) = (self.backend.endpoint().name(), describe(why));
        self.report(&ChannelEvent::Disconnect { target: &self.shared.name, endpoint: &endpoint, why: &why });
    }

    fn publish(&self, connections: &Connections) {
        self.backend.set_connections(connections.list.iter().map(|(_, made)| made.clone()).collect());
        self.shared.changed.notify_one();
    }

    fn set(&self, state: State) {
        if self.backend.set_state(state) {
            self.shared.changed.notify_one();
        }
    }

    fn fail(&self, trouble: Trouble) {
        self.backend.fail(trouble);
        // Even if it had failed before: the reason may be another.
        self.shared.changed.notify_one();
    }

    fn report(&self, event: &ChannelEvent<'_>) {
        self.shared.telemetry.report_channel(event);
    }

    fn random(&self) -> u64 {
        self.shared.platform.random()
    }
}

/// The connections of a backend that take new streams, the oldest first.
#[derive(Default)]
struct Connections {
    list: Vec<(u64, Made)>,
    departures: Departures,
    made: u64,
}

impl Connections {
    fn add(&mut self, made: Made) {
        self.made += 1;
        let (id, connection) = (self.made, made.0.clone());
        self.departures
            .push(Box::pin(async move { (id, connection.leaving().await, connection.streams_taken()) }));
        self.list.push((id, made));
    }

    /// Whether it was the oldest. Its streams go on; nothing new is opened on it.
    fn remove(&mut self, id: u64) -> bool {
        let Some(place) = self.list.iter().position(|(known, _)| *known == id) else { return false };
        self.list.remove(place);
        place == 0
    }
}

/// Connections are made, and do not stay.
fn fleeting() -> Trouble {
    let brief = "each connection ends at once".to_owned();
    Trouble { whole: brief.clone(), brief }
}

fn describe(why: &Leaving) -> String {
    match why {
        Leaving::GoAway { code, debug } => format!("GOAWAY {code} {}", debug.escape_ascii()),
        Leaving::KeepaliveTimeout => "no sign of life within keepalive_timeout".to_owned(),
        Leaving::Lost(why) => why.clone(),
        Leaving::Closed => "closed".to_owned(),
    }
}

/// The output of a future that may be there.
async fn some<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

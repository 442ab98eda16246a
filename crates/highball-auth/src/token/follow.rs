//! Follows a JWKS: one task reads it and writes the state, everybody else reads that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use highball_net::Platform;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::jwks;
use super::key::KeySet;
use super::keys::{KeysEvent, KeysReport};
use super::{Document, JwksSettings, JwksSource, World};

/// The readers' end: the task that follows the document is the only writer, and ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Followed {
    state: watch::Receiver<State>,
    wanted: Arc<Notify>,
    fresh: Arc<Freshness>,
    interval_min: Duration,
}

/// What one hot read needs to know, without the lock of `state`.
#[derive(Debug)]
struct Freshness {
    generation: AtomicU64,
    started: Instant,
    /// Milliseconds after `started` at which the document is too old.
    stale_at: AtomicU64,
}

#[derive(Debug, Clone, Default)]
struct State {
    keys: Arc<KeySet>,
    /// Changes when a key goes; a key that comes spoils nothing.
    generation: u64,
    fetched: Option<Instant>,
    attempted: Option<Instant>,
    in_flight: bool,
    attempts: u64,
    failures: u64,
    error: Option<String>,
    /// Of the last document that was read.
    removed: bool,
    warning: Option<String>,
}

impl Followed {
    /// Starts to follow a document and waits for the first read, good or not.
    pub(crate) async fn start(source: Arc<dyn JwksSource>, settings: JwksSettings, world: &World) -> Self {
        let (sender, mut state) = watch::channel(State::default());
        let wanted = Arc::new(Notify::new());
        let fresh = Arc::new(Freshness {
            generation: AtomicU64::new(0),
            started: Instant::now(),
            stale_at: AtomicU64::new(0),
        });
        let interval_min = settings.refresh_interval_min;
        let follower = Follower {
            state: sender,
            wanted: wanted.clone(),
            fresh: fresh.clone(),
            source,
            settings,
            platform: world.platform.clone(),
        };
        world.spawner.spawn(follower.follow());
        // An error means that the owner of tasks is gone: then there are no keys, and nothing is accepted.
        state.wait_for(|state| state.attempts > 0).await.ok();
        Self { state, wanted, fresh, interval_min }
    }

    /// See [`Keys::generation`](super::keys::Keys::generation).
    pub(crate) fn generation(&self) -> Option<u64> {
        self.fresh.generation()
    }

    /// See [`Keys::current`](super::keys::Keys::current).
    pub(crate) fn current(&self) -> Option<(Arc<KeySet>, u64)> {
        self.fresh.generation()?;
        let state = self.state.borrow();
        Some((state.keys.clone(), state.generation))
    }

    pub(crate) fn report(&self) -> KeysReport {
        let state = self.state.borrow();
        KeysReport {
            keys: state.keys.keys.len(),
            skipped: state.keys.skipped,
            age: state.fetched.map(|at| at.elapsed()),
            usable: self.fresh.generation().is_some(),
            refreshes: state.attempts,
            failures: state.failures,
            error: state.error.clone(),
        }
    }

    /// See [`Verifier::watch_keys`](super::Verifier::watch_keys).
    pub(crate) async fn watch(&self, mut report: impl FnMut(&KeysEvent<'_>) + Send) {
        let mut state = self.state.clone();
        let mut told = 0;
        loop {
            // A copy, so that the one writer does not wait for whoever listens.
            let now = state.borrow_and_update().clone();
            if now.attempts != told {
                told = now.attempts;
                report(&now.event(self.fresh.generation().is_none()));
            }
            if state.changed().await.is_err() {
                return;
            }
        }
    }

    /// See [`Keys::refreshed`](super::keys::Keys::refreshed).
    pub(crate) async fn refreshed(&self) -> bool {
        let mut state = self.state.clone();
        let seen = {
            let state = state.borrow_and_update();
            if !state.in_flight {
                if state.attempted.is_some_and(|at| at.elapsed() < self.interval_min) {
                    return false;
                }
                self.wanted.notify_one();
            }
            state.attempts
        };
        // Whoever asks while a read is under way shares it; each read ends within `fetch_timeout`, and an owner that stops
        // the task drops the sender.
        state.wait_for(|state| state.attempts > seen).await.is_ok()
    }
}

impl State {
    /// What the last read came to.
    fn event(&self, stale: bool) -> KeysEvent<'_> {
        match &self.error {
            None => KeysEvent::Refreshed {
                keys: self.keys.keys.len(),
                skipped: self.keys.skipped,
                removed: self.removed,
                warning: self.warning.as_deref(),
            },
            Some(error) => {
                KeysEvent::RefreshFailed { error, age: self.fetched.map(|at| at.elapsed()), stale }
            }
        }
    }
}

impl Freshness {
    fn generation(&self) -> Option<u64> {
        let age = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Acquire: whoever sees a later end also sees the generation it belongs to.
        (age < self.stale_at.load(Ordering::Acquire)).then(|| self.generation.load(Ordering::Acquire))
    }

    fn renew(&self, generation: u64, stale_max: Duration) {
        self.generation.store(generation, Ordering::Release);
        let end = self.started.elapsed().saturating_add(stale_max).as_millis();
        self.stale_at.store(u64::try_from(end).unwrap_or(u64::MAX), Ordering::Release);
    }
}

/// The one writer.
struct Follower {
    state: watch::Sender<State>,
    wanted: Arc<Notify>,
    fresh: Arc<Freshness>,
    source: Arc<dyn JwksSource>,
    settings: JwksSettings,
    platform: Arc<dyn Platform>,
}

impl Follower {
    /// Reads the document at its pace and on demand, until nobody reads the state any more.
    async fn follow(self) {
        let mut next = Instant::now();
        loop {
            // Every branch only waits: dropping one loses nothing, and a request that comes meanwhile is kept.
            tokio::select! {
                () = self.state.closed() => return,
                () = tokio::time::sleep_until(next) => {}
                () = self.wanted.notified() => {
                    // Asked for before the read that has just ended.
                    if self.is_early() {
                        continue;
                    }
                }
            }
            let pause = self.attempt().await;
            next = Instant::now() + self.jittered(pause);
        }
    }

    fn is_early(&self) -> bool {
        self.state.borrow().attempted.is_some_and(|at| at.elapsed() < self.settings.refresh_interval_min)
    }

    /// One read, and how long to wait until the next: less than the interval when the document asks for that, or when there
    /// is none.
    async fn attempt(&self) -> Duration {
        self.state.send_modify(|state| {
            state.in_flight = true;
            state.attempted = Some(Instant::now());
        });
        match self.fetch().await {
            Ok((keys, document)) => {
                self.publish(keys, document.warning);
                let often = self.settings.refresh_interval;
                document.fresh_for.map_or(often, |fresh| fresh.max(self.least()).min(often))
            }
            Err(error) => {
                self.fail(error);
                self.least()
            }
        }
    }

    fn least(&self) -> Duration {
        self.settings.refresh_interval_min.min(self.settings.refresh_interval)
    }

    async fn fetch(&self) -> Result<(KeySet, Document), String> {
        let (size_bytes_max, timeout) = (self.settings.document_size_bytes_max, self.settings.fetch_timeout);
        let document = match tokio::time::timeout(timeout, self.source.fetch(size_bytes_max)).await {
            Ok(document) => document.map_err(|cause| cause.to_string())?,
            Err(_) => return Err(format!("{} did not answer within {timeout:?}", self.source)),
        };
        if document.content.len() > size_bytes_max {
            return Err(format!("{} is larger than {size_bytes_max} bytes", self.source));
        }
        let keys = jwks::parse(&document.content, self.settings.keys_max);
        Ok((keys.map_err(|error| format!("{} {error}", self.source))?, document))
    }

    fn publish(&self, keys: KeySet, warning: Option<String>) {
        let (removed, generation) = {
            let state = self.state.borrow();
            let removed = !keys.keeps_all_of(&state.keys);
            (removed, state.generation + u64::from(removed))
        };
        // First what is remembered, then the keys: between the two a token is verified once more, never once less.
        self.fresh.renew(generation, self.settings.stale_max);
        self.state.send_modify(|state| {
            state.keys = Arc::new(keys);
            state.generation = generation;
            state.fetched = Some(Instant::now());
            state.in_flight = false;
            state.attempts += 1;
            state.error = None;
            (state.removed, state.warning) = (removed, warning);
        });
    }

    fn fail(&self, error: String) {
        self.state.send_modify(|state| {
            state.in_flight = false;
            state.attempts += 1;
            state.failures += 1;
            state.error = Some(error);
        });
    }

    /// ±10 %, so that the processes of a deployment do not ask the issuer at the same moment.
    fn jittered(&self, pause: Duration) -> Duration {
        let permille = u32::try_from(self.platform.random() % 201).unwrap_or(100) + 900;
        pause.saturating_mul(permille) / 1_000
    }
}

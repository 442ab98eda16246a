//! A token that is asked for before it ends, by one at a time.
//!
//! Nobody asks in advance: the first call that finds the token due starts a renewal and goes on with the old token. Without
//! one it waits, as do all others that find none, and all hear of the same outcome. The renewal is a task under an owner that
//! goes with the credentials, not with a call: a caller that gives up takes nothing from those who wait.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use highball_core::backoff::{Backoff, BackoffSettings, jittered};
use highball_net::{Platform, Tasks};
use http::HeaderValue;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{CredentialsError, CredentialsEvent, Report};

/// The share of its lifetime after which a token is renewed, and how far chance moves that.
const DUE: f64 = 0.8;
const DUE_JITTER: f64 = 0.05;

/// A token is not presented at the very end of its life, because it has to arrive, too: a tenth of it, and no more than this.
const MARGIN_MAX: Duration = Duration::from_secs(10);

/// A longer lifetime counts as this.
pub(super) const LIFETIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// Where tokens come from.
pub(super) trait Source: fmt::Debug + Send + Sync + 'static {
    /// Asks for one. Called by one task at a time; must end by itself.
    fn ask(&self) -> BoxFuture<'_, Result<Granted, CredentialsError>>;
}

/// A token, and for how long after it was asked for it is good.
#[derive(Debug, Clone)]
pub(super) struct Granted {
    pub(super) value: HeaderValue,
    pub(super) lifetime: Duration,
}

/// Renews. Dropping it stops a renewal that runs.
#[derive(Debug)]
pub(super) struct Renewal {
    core: Arc<Core>,
    tasks: Tasks,
}

#[derive(Debug)]
struct Core {
    source: Box<dyn Source>,
    platform: Arc<dyn Platform>,
    state: watch::Sender<State>,
}

#[derive(Debug)]
struct State {
    token: Option<Token>,
    running: bool,
    /// Renewals that ended.
    ended: u64,
    /// How the last one failed, if it did.
    error: Option<CredentialsError>,
    /// Not before, after a failure.
    again_at: Option<Instant>,
    backoff: Backoff,
}

#[derive(Debug)]
struct Token {
    value: HeaderValue,
    renew_at: Instant,
    ends_at: Instant,
}

/// What a call does.
enum Step {
    Present(HeaderValue),
    Fail(CredentialsError),
    /// Waits for the end of the renewal after so many.
    Wait(u64),
}

impl Renewal {
    /// Asks nobody yet.
    pub(super) fn new(
        source: Box<dyn Source>,
        backoff: BackoffSettings,
        platform: Arc<dyn Platform>,
    ) -> Self {
        let state = State {
            token: None,
            running: false,
            ended: 0,
            error: None,
            again_at: None,
            backoff: Backoff::new(backoff),
        };
        let core = Core { source, platform, state: watch::Sender::new(state) };
        Self { core: Arc::new(core), tasks: Tasks::new() }
    }

    /// The token to present now. Waits only where there is none and nothing has just failed. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// How the last renewal failed.
    ///
    /// # Cancel safety
    /// Cancel safe: a renewal that runs goes on.
    pub(super) async fn token(&self) -> Result<HeaderValue, CredentialsError> {
        if let Some(value) = self.core.state.borrow().fresh(Instant::now()) {
            return Ok(value);
        }
        match self.step() {
            Step::Present(value) => Ok(value),
            Step::Fail(error) => Err(error),
            Step::Wait(seen) => {
                let mut state = self.core.state.subscribe();
                // The other end is here, so there is no error to be had.
                let state = state.wait_for(|state| state.ended > seen).await;
                let state = state.map_err(|_| interrupted())?;
                state.value(Instant::now()).ok_or_else(|| state.reason())
            }
        }
    }

    /// Starts a renewal if it is time.
    fn step(&self) -> Step {
        let (now, mut step, mut start) = (Instant::now(), None, false);
        self.core.state.send_if_modified(|state| {
            if !state.running && state.fresh(now).is_none() && state.again_at.is_none_or(|at| now >= at) {
                (state.running, start) = (true, true);
            }
            step = Some(match state.value(now) {
                Some(value) => Step::Present(value),
                None if state.running => Step::Wait(state.ended),
                None => Step::Fail(state.reason()),
            });
            // Nobody waits for a beginning.
            false
        });
        if start {
            self.tasks.spawn(Attempt { core: self.core.clone(), asked: Instant::now(), over: false }.run());
        }
        step.unwrap_or_else(|| Step::Fail(interrupted()))
    }

    /// See [`Credentials::watch`](super::Credentials::watch).
    pub(super) async fn watch(&self, report: &mut Report<'_>) {
        let mut state = self.core.state.subscribe();
        let mut told = 0;
        loop {
            // A copy, so that nobody waits for whoever listens.
            let (ended, error, usable) = {
                let state = state.borrow_and_update();
                (state.ended, state.error.clone(), state.value(Instant::now()).is_some())
            };
            if ended != told {
                told = ended;
                match &error {
                    None => report(&CredentialsEvent::Renewed),
                    Some(error) => report(&CredentialsEvent::Failed { error, usable }),
                }
            }
            if state.changed().await.is_err() {
                return;
            }
        }
    }
}

impl State {
    /// A token that is still good.
    fn value(&self, now: Instant) -> Option<HeaderValue> {
        self.token.as_ref().filter(|token| now < token.ends_at).map(|token| token.value.clone())
    }

    /// A token that need not be renewed.
    fn fresh(&self, now: Instant) -> Option<HeaderValue> {
        self.token
            .as_ref()
            .filter(|token| now < token.renew_at.min(token.ends_at))
            .map(|token| token.value.clone())
    }

    fn reason(&self) -> CredentialsError {
        self.error.clone().unwrap_or_else(interrupted)
    }
}

impl Core {
    /// A renewal that was begun at `asked` is over.
    fn end(&self, asked: Instant, outcome: Result<Granted, CredentialsError>) {
        let (now, random) = (Instant::now(), self.platform.random());
        let token = outcome.map(|granted| {
            // From the question: the answer does not say when it was written.
            let lifetime = granted.lifetime.min(LIFETIME_MAX);
            Token {
                value: granted.value,
                renew_at: asked + jittered(lifetime.mul_f64(DUE), DUE_JITTER, random),
                ends_at: asked + (lifetime - (lifetime / 10).min(MARGIN_MAX)),
            }
        });
        let token = token.and_then(|token| match token {
            token if now < token.ends_at => Ok(token),
            _ => Err(CredentialsError::new("the token had ended before it arrived")),
        });
        self.state.send_modify(|state| {
            state.running = false;
            state.ended += 1;
            match token {
                Ok(token) => {
                    (state.token, state.error, state.again_at) = (Some(token), None, None);
                    state.backoff.reset();
                }
                Err(error) => {
                    state.again_at = Some(now + state.backoff.next(random));
                    state.error = Some(error);
                }
            }
        });
    }
}

/// One renewal. However its task ends, those who wait hear of it.
struct Attempt {
    core: Arc<Core>,
    asked: Instant,
    over: bool,
}

impl Attempt {
    async fn run(mut self) {
        let outcome = self.core.source.ask().await;
        self.over = true;
        self.core.end(self.asked, outcome);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.over {
            self.core.end(self.asked, Err(interrupted()));
        }
    }
}

fn interrupted() -> CredentialsError {
    CredentialsError::new("the renewal of the token was interrupted")
}

#[cfg(test)]
mod tests;

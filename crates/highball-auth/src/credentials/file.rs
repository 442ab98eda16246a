//! A token in a file that something else keeps good: a projected service account, an agent beside the process.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::BoxFuture;
use highball_net::Platform;
use http::HeaderValue;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::bearer::{authorization, bearer};
use super::{Credentials, CredentialsError, CredentialsEvent, Headers, Report, TOKEN_SIZE_BYTES_MAX};
use crate::token::read_bounded;

/// The file is read again by the first call that comes so long after the last read.
pub const REREAD_INTERVAL: Duration = Duration::from_secs(1);

/// How long the last good token is presented while the file is bad or missing, where the token itself does not say when it
/// ends: long enough to repair what writes the file, short enough that somebody notices.
pub const STALE_MAX: Duration = Duration::from_secs(600);

/// The bearer token in a file, trimmed.
///
/// A call reads the file when the last read is [`REREAD_INTERVAL`] ago; one call does, others go on with what is known. The
/// file is local and small, so that is no longer than a page fault. Without calls it is not read.
///
/// While the file is missing, or holds no token or one that has ended, the last good token is presented: until its own end
/// if it is a JWT with `exp`, else for [`STALE_MAX`]. Then calls fail. `exp` is compared with the wall clock and not verified: this
/// is the side that presents it.
///
/// Replace the file by renaming a new one over it. One that is half written is read as a token that servers refuse.
pub struct TokenFile {
    path: PathBuf,
    platform: Arc<dyn Platform>,
    born: Instant,
    /// Milliseconds since `born` before which the file is not read again.
    next_read: AtomicU64,
    state: watch::Sender<State>,
}

#[derive(Debug)]
struct State {
    good: Good,
    /// Changes to be told: another token, another problem, or the end of one.
    changes: u64,
    /// What is wrong with the file now.
    error: Option<CredentialsError>,
}

/// The last good token.
#[derive(Debug, Clone)]
struct Good {
    value: HeaderValue,
    /// `exp`.
    ends: Option<SystemTime>,
    read: Instant,
}

impl TokenFile {
    /// Reads the file for the first time. Blocks for as long as that takes.
    ///
    /// # Errors
    /// [`CredentialsError`] names the file: it cannot be read, is no regular file, is larger than [`TOKEN_SIZE_BYTES_MAX`], holds no
    /// token, or one that has ended.
    pub fn open(path: impl Into<PathBuf>, platform: Arc<dyn Platform>) -> Result<Self, CredentialsError> {
        let path = path.into();
        let good = read(&path, platform.wall_clock())?;
        let state = watch::Sender::new(State { good, changes: 0, error: None });
        let next_read = AtomicU64::new(millis(REREAD_INTERVAL));
        Ok(Self { path, platform, born: Instant::now(), next_read, state })
    }

    fn token(&self) -> Result<HeaderValue, CredentialsError> {
        let now = self.platform.wall_clock();
        self.look(now);
        let state = self.state.borrow();
        if state.usable(now) {
            return Ok(state.good.value.clone());
        }
        // It may have ended since the last read.
        Err(state.error.clone().unwrap_or_else(|| ended(&self.path)))
    }

    /// Reads the file if it is time, and nobody else does.
    fn look(&self, now: SystemTime) {
        let elapsed = millis(self.born.elapsed());
        let due = self.next_read.load(Ordering::Relaxed);
        let next = elapsed.saturating_add(millis(REREAD_INTERVAL));
        if elapsed < due
            || self.next_read.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return;
        }
        let found = read(&self.path, now);
        self.state.send_if_modified(|state| state.take(found));
    }
}

impl State {
    /// Whether that changed anything that is worth telling.
    fn take(&mut self, found: Result<Good, CredentialsError>) -> bool {
        let changed = match found {
            Ok(good) => {
                let changed = good.value != self.good.value || self.error.is_some();
                (self.good, self.error) = (good, None);
                changed
            }
            Err(error) => {
                let changed = self.error.as_ref() != Some(&error);
                self.error = Some(error);
                changed
            }
        };
        self.changes += u64::from(changed);
        changed
    }

    fn usable(&self, now: SystemTime) -> bool {
        match self.good.ends {
            Some(ends) => now < ends,
            None => self.error.is_none() || self.good.read.elapsed() < STALE_MAX,
        }
    }
}

impl Credentials for TokenFile {
    fn headers<'a>(&'a self, _audience: &'a str) -> BoxFuture<'a, Result<Headers, CredentialsError>> {
        Box::pin(std::future::ready(self.token().map(|value| authorization(&value))))
    }

    fn watch<'a>(&'a self, report: &'a mut Report<'_>) -> BoxFuture<'a, ()> {
        Box::pin(async {
            let mut state = self.state.subscribe();
            let mut told = state.borrow_and_update().changes;
            while state.changed().await.is_ok() {
                // A copy, so that no call waits for whoever listens.
                let (changes, error, usable) = {
                    let state = state.borrow_and_update();
                    (state.changes, state.error.clone(), state.usable(self.platform.wall_clock()))
                };
                match &error {
                    _ if changes == told => {}
                    None => report(&CredentialsEvent::Renewed),
                    Some(error) => report(&CredentialsEvent::Failed { error, usable }),
                }
                told = changes;
            }
        })
    }
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFile").field("path", &self.path).finish_non_exhaustive()
    }
}

fn read(path: &Path, now: SystemTime) -> Result<Good, CredentialsError> {
    let problem = |problem: &str| CredentialsError::new(format!("the token in {} {problem}", path.display()));
    let bytes = read_bounded(path, TOKEN_SIZE_BYTES_MAX);
    let bytes = bytes.map_err(|error| CredentialsError::new(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| problem("is no text"))?;
    let token = text.trim();
    let value = bearer(token).map_err(|why| problem(&why))?;
    let ends = end(token);
    if ends.is_some_and(|ends| ends <= now) {
        return Err(ended(path));
    }
    Ok(Good { value, ends, read: Instant::now() })
}

fn ended(path: &Path) -> CredentialsError {
    CredentialsError::new(format!("the token in {} has ended", path.display()))
}

/// `exp` of a JWT (RFC 7519, section 4.1.4); `None` for anything else that a token may be.
fn end(token: &str) -> Option<SystemTime> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    let seconds = Duration::try_from_secs_f64(claims.get("exp")?.as_f64()?).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(seconds)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

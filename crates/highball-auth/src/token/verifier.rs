//! Verifies bearer tokens.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use highball_core::caller::Token;
use highball_net::{Os, Platform, Spawner};
use tokio::time::Instant;

use super::cache::{Cache, CacheReport, Digest};
use super::claims::Checks;
use super::jwt::Jwt;
use super::key::KeyError;
use super::keys::{Keys, KeysEvent, KeysReport};
use super::{JwksSource, Settings, Shown};
use crate::Reason;
use crate::settings::{Problems, SettingsError};

/// What a verifier needs of the world.
#[derive(Clone)]
pub struct World {
    /// Wall clock, jitter, and the way to a `jwks_url`.
    pub platform: Arc<dyn Platform>,
    /// Runs the one task that follows a JWKS. Its owner must live as long as the verifier: without that task the keys grow
    /// stale, and then no token is accepted.
    pub spawner: Spawner,
    /// Fetches the document of `jwks_url` in place of [`UrlJwks`](super::UrlJwks); not asked for other sources.
    pub fetcher: Option<Arc<dyn JwksSource>>,
}

impl World {
    /// The operating system's clock and network.
    #[must_use]
    pub fn new(spawner: Spawner) -> Self {
        Self { platform: Os::shared(), spawner, fetcher: None }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

/// Verifies bearer tokens, and remembers those it has verified.
pub struct Verifier {
    checks: Checks,
    keys: Keys,
    cache: Cache,
    token_size_bytes_max: usize,
    platform: Arc<dyn Platform>,
}

/// A token that was verified, now or before.
struct Known {
    token: Arc<Token>,
    /// `exp`, since 1970.
    expires: Duration,
    /// Of the keys.
    generation: u64,
}

impl Verifier {
    /// Reads the keys and starts to follow them if they are a JWKS.
    ///
    /// A URL that does not answer does not fail the start: a restart must not depend on the issuer being up. Until it
    /// answers, tokens are refused with [`Reason::KeysUnavailable`], and [`keys`](Self::keys) says so.
    ///
    /// # Errors
    /// [`StartError`] for settings that cannot work, a key file that cannot be read, a JWKS file without a usable key, a URL
    /// that is not safe, or its CAs.
    ///
    /// # Cancel safety
    /// Dropping the future stops the task it started.
    pub async fn start(settings: &Settings, world: World) -> Result<Self, StartError> {
        let mut problems = Problems::default();
        settings.find_problems(&mut problems);
        problems.into_result()?;
        let source = settings.keys.as_ref().ok_or_else(|| KeyError::new("token.keys is missing"))?;
        let keys = Keys::open(source, &settings.jwks, &world).await?;
        Ok(Self {
            checks: Checks::new(settings),
            keys,
            cache: Cache::new(settings.remembered_tokens_max),
            token_size_bytes_max: settings.token_size_bytes_max,
            platform: world.platform,
        })
    }

    /// Who the token says its bearer is. A token that was verified before costs one hash and one look-up, no allocation
    /// and no wait. A token of an unknown key may wait for one read of the keys, at most `fetch_timeout`.
    ///
    /// # Errors
    /// Why it is refused; for the audit log, not for the peer.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn verify(&self, token: &[u8]) -> Result<Arc<Token>, Reason> {
        self.known(token).await.map(|known| known.token)
    }

    /// Like [`verify`](Self::verify), for a connection that showed a token before: the same one again costs a comparison.
    /// `now` is when it was shown.
    ///
    /// # Errors
    /// Like [`verify`](Self::verify).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn verify_shown(
        &self,
        token: &[u8],
        shown: &Shown,
        now: Instant,
    ) -> Result<Arc<Token>, Reason> {
        let generation = self.keys.generation();
        if let Some(known) = generation.and_then(|generation| shown.recall(token, generation, now)) {
            return Ok(known);
        }
        // Boxed, so that the future every RPC carries stays small.
        let known = Box::pin(self.known(token)).await?;
        shown.keep(token, &known.token, known.generation, now, known.expires.saturating_sub(self.now()));
        Ok(known.token)
    }

    /// Whether a token is remembered as good.
    pub(crate) fn knows(&self, token: &[u8], shown: &Shown, now: Instant) -> bool {
        let Some(generation) = self.keys.generation() else { return false };
        shown.recall(token, generation, now).is_some()
            || self.cache.contains(&Digest::of(token), generation, self.now())
    }

    async fn known(&self, token: &[u8]) -> Result<Known, Reason> {
        if token.len() > self.token_size_bytes_max {
            return Err(Reason::Malformed);
        }
        let digest = Digest::of(token);
        if let Some(known) = self.recall(&digest) {
            return Ok(known);
        }
        match self.examine(token, digest) {
            // Boxed, so that the future every RPC carries stays small.
            Err(Reason::UnknownKey | Reason::KeysUnavailable) if Box::pin(self.keys.refreshed()).await => {
                self.examine(token, digest)
            }
            outcome => outcome,
        }
    }

    /// How the memory of verified tokens does.
    #[must_use]
    pub fn cache(&self) -> CacheReport {
        self.cache.report()
    }

    /// Tells what happens to the keys, beginning with the last thing that did, for as long as they are followed; at once
    /// over for keys that are not. The caller owns the future and ends it by dropping it.
    ///
    /// # Cancel safety
    /// Dropping the future stops the telling, not the following.
    pub async fn watch_keys(&self, report: impl FnMut(&KeysEvent<'_>) + Send) {
        self.keys.watch(report).await;
    }

    /// The state of the keys; readiness may depend on `usable`.
    #[must_use]
    pub fn keys(&self) -> KeysReport {
        self.keys.report()
    }

    fn recall(&self, digest: &Digest) -> Option<Known> {
        let generation = self.keys.generation()?;
        let (token, expires) = self.cache.get(digest, generation, self.now())?;
        Some(Known { token, expires, generation })
    }

    fn examine(&self, token: &[u8], digest: Digest) -> Result<Known, Reason> {
        let jwt = Jwt::parse(token)?;
        let (keys, generation) = self.keys.current().ok_or(Reason::KeysUnavailable)?;
        let key = keys.find(jwt.kid.as_deref(), jwt.algorithm)?;
        let verified = self.checks.check(&jwt.verify(key)?, self.now())?;
        let token = Arc::new(verified.token);
        let expires = verified.expires;
        self.cache.insert(digest, token.clone(), expires, generation);
        Ok(Known { token, expires, generation })
    }

    /// Since 1970. A clock before that is broken, and then everything has expired.
    fn now(&self) -> Duration {
        self.platform.wall_clock().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::MAX)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("checks", &self.checks)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

/// A verifier that could not start. Displays one sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// Settings that cannot work.
    Settings(SettingsError),
    /// Keys that cannot be used.
    Key(KeyError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(error) => error.fmt(f),
            Self::Key(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

impl From<SettingsError> for StartError {
    fn from(error: SettingsError) -> Self {
        Self::Settings(error)
    }
}

impl From<KeyError> for StartError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

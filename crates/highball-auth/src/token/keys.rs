//! The keys in force: fixed ones, or those of a JWKS that one task follows.

use std::sync::Arc;
use std::time::Duration;

use super::follow::Followed;
use super::key::{self, Key, KeyError, KeySet};
use super::{FileJwks, JwksSettings, JwksSource, KeySource, UrlJwks, World};

/// What happened to the keys, for the log and the metrics.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeysEvent<'a> {
    /// The document was read.
    Refreshed {
        /// Keys in it that verify tokens.
        keys: usize,
        /// Keys in it that are of no use here.
        skipped: usize,
        /// Whether a key of the last document is gone or altered; then no token is remembered any more.
        removed: bool,
        /// What was wrong without keeping us from reading it.
        warning: Option<&'a str>,
    },
    /// The document could not be read; the last one stays.
    RefreshFailed {
        /// Why, for the operator.
        error: &'a str,
        /// How old the last document is; `None` when there is none.
        age: Option<Duration>,
        /// Whether it is too old, so that no token is accepted until the next success.
        stale: bool,
    },
}

/// The state of the keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeysReport {
    /// Keys that verify tokens.
    pub keys: usize,
    /// Keys of the document that are of no use here.
    pub skipped: usize,
    /// How old the document is; `None` for fixed keys, and before the first success.
    pub age: Option<Duration>,
    /// Whether tokens can be verified: there is a document, and it is not too old.
    pub usable: bool,
    /// Reads of the document, ended.
    pub refreshes: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// Why the last read failed; `None` when it did not.
    pub error: Option<String>,
}

/// The keys in force.
#[derive(Debug)]
pub(crate) enum Keys {
    Fixed(Arc<KeySet>),
    Followed(Followed),
}

impl Keys {
    /// Reads the keys, and starts to follow them if they are a JWKS.
    pub(crate) async fn open(
        source: &KeySource,
        jwks: &JwksSettings,
        world: &World,
    ) -> Result<Self, KeyError> {
        match source {
            KeySource::PemFile { path, kid } => {
                Ok(key::from_pem(&key::read(path)?, kid.clone()).map_err(|error| error.of(path))?.into())
            }
            KeySource::SecretFile { path, kid } => {
                Ok(key::from_secret(&key::read(path)?, kid.clone()).map_err(|error| error.of(path))?.into())
            }
            KeySource::JwksFile { path } => {
                let keys = Self::follow(Arc::new(FileJwks::new(path)), jwks, world).await;
                // An issuer that is down is an outage; a file that is wrong is a mistake, and now is the time to hear of it.
                let report = keys.report();
                match report.error {
                    Some(error) => Err(KeyError::new(error)),
                    None if report.keys == 0 => {
                        Err(KeyError::new("holds no RSA, P-256 or Ed25519 key for signatures").of(path))
                    }
                    None => Ok(keys),
                }
            }
            KeySource::JwksUrl(from) => {
                let fetcher: Arc<dyn JwksSource> = match &world.fetcher {
                    Some(fetcher) => fetcher.clone(),
                    None => Arc::new(UrlJwks::new(from, jwks, world.platform.clone())?),
                };
                Ok(Self::follow(fetcher, jwks, world).await)
            }
        }
    }

    async fn follow(source: Arc<dyn JwksSource>, jwks: &JwksSettings, world: &World) -> Self {
        Self::Followed(Followed::start(source, jwks.clone(), world).await)
    }

    /// The generation of keys that verified tokens are remembered under; `None` when none is usable.
    pub(crate) fn generation(&self) -> Option<u64> {
        match self {
            Self::Fixed(_) => Some(0),
            Self::Followed(followed) => followed.generation(),
        }
    }

    /// The keys and their generation, from one snapshot; `None` when they are missing or too old.
    pub(crate) fn current(&self) -> Option<(Arc<KeySet>, u64)> {
        match self {
            Self::Fixed(keys) => Some((keys.clone(), 0)),
            Self::Followed(followed) => followed.current(),
        }
    }

    /// Waits for one refresh, if the pace allows one now or one is under way. Whether there was one.
    ///
    /// # Cancel safety
    /// Cancel safe. The refresh runs elsewhere, so that a caller who hangs up takes nothing away from the others.
    pub(crate) async fn refreshed(&self) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Followed(followed) => followed.refreshed().await,
        }
    }

    /// See [`Verifier::watch_keys`](super::Verifier::watch_keys).
    pub(crate) async fn watch(&self, report: impl FnMut(&KeysEvent<'_>) + Send) {
        match self {
            Self::Fixed(_) => {}
            Self::Followed(followed) => followed.watch(report).await,
        }
    }

    pub(crate) fn report(&self) -> KeysReport {
        match self {
            Self::Fixed(set) => KeysReport {
                keys: set.keys.len(),
                skipped: set.skipped,
                usable: true,
                ..KeysReport::default()
            },
            Self::Followed(followed) => followed.report(),
        }
    }
}

impl From<Key> for Keys {
    fn from(key: Key) -> Self {
        Self::Fixed(Arc::new(KeySet { keys: vec![key], skipped: 0 }))
    }
}

//! The world of this room's tests: a clock that is moved by hand, a document that changes, keys.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use highball_core::BoxError;
use highball_net::{
    Address, ConnectOptions, Io, ListenAddr, Listener, Lookup, LookupError, Os, Platform, Spawner,
};
use serde_json::{Value, json};

use crate::token::{
    Algorithm, Claims, Document, GeneratedKey, JwksSource, JwksUrl, KeySource, Settings, Signer, Verifier,
    World, generate,
};

/// When the tests play.
pub(crate) const NOW: u64 = 1_700_000_000;
/// The secret of HS256.
pub(crate) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef\n";

/// A wall clock that moves when told.
#[derive(Debug)]
pub(crate) struct Clock(AtomicU64);

impl Clock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(NOW)))
    }

    pub(crate) fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::SeqCst);
    }
}

impl Platform for Clock {
    fn bind<'a>(&'a self, _addr: &'a ListenAddr) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(std::future::ready(Err(io::ErrorKind::Unsupported.into())))
    }

    fn connect<'a>(
        &'a self,
        _address: &'a Address,
        _options: ConnectOptions,
    ) -> BoxFuture<'a, io::Result<Box<dyn Io>>> {
        Box::pin(std::future::ready(Err(io::ErrorKind::Unsupported.into())))
    }

    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Lookup, LookupError>> {
        Os.lookup(name)
    }

    fn lookup_txt<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Lookup<Bytes>, LookupError>> {
        Os.lookup_txt(name)
    }

    fn wall_clock(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::SeqCst))
    }

    fn random(&self) -> u64 {
        100
    }
}

/// A document that the test changes, behind a source that may be slow.
#[derive(Debug, Default)]
pub(crate) struct Script {
    document: Mutex<Option<String>>,
    pub(crate) delay: Duration,
    fresh_for: Mutex<Option<Duration>>,
    fetches: AtomicU64,
}

impl Script {
    pub(crate) fn new(document: Option<String>, delay: Duration) -> Arc<Self> {
        Arc::new(Self { document: Mutex::new(document), delay, ..Self::default() })
    }

    /// `None` is an outage.
    pub(crate) fn set(&self, document: Option<String>) {
        *self.document.lock().unwrap() = document;
    }

    /// What its owner says from now on.
    pub(crate) fn be_fresh_for(&self, fresh_for: Duration) {
        *self.fresh_for.lock().unwrap() = Some(fresh_for);
    }

    pub(crate) fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::SeqCst)
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the script")
    }
}

impl JwksSource for Script {
    fn fetch(&self, _size_bytes_max: usize) -> BoxFuture<'_, Result<Document, BoxError>> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        Box::pin(async {
            tokio::time::sleep(self.delay).await;
            let document = self.document.lock().unwrap().clone();
            let content = document.map(Bytes::from).ok_or("outage")?;
            Ok(Document { fresh_for: *self.fresh_for.lock().unwrap(), ..content.into() })
        })
    }
}

/// A key pair per algorithm, made once.
pub(crate) fn pair(algorithm: Algorithm) -> GeneratedKey {
    static PAIRS: LazyLock<HashMap<Algorithm, GeneratedKey>> = LazyLock::new(|| {
        let pairs = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];
        pairs.into_iter().map(|algorithm| (algorithm, generate(algorithm).unwrap())).collect()
    });
    PAIRS[&algorithm].clone()
}

/// Signs with [`pair`], or with [`SECRET`].
pub(crate) fn signer(algorithm: Algorithm) -> Signer {
    match algorithm {
        Algorithm::Hs256 => Signer::from_secret(SECRET).unwrap(),
        _ => Signer::from_pem(pair(algorithm).private_pem.as_bytes()).unwrap(),
    }
}

/// What every test's token says: ann, for an hour.
pub(crate) fn claims() -> Claims {
    Claims::new("ann", SystemTime::UNIX_EPOCH + Duration::from_secs(NOW))
}

/// A JWKS of some entries.
pub(crate) fn jwks(entries: &[&str]) -> String {
    let keys: Vec<Value> = entries.iter().map(|entry| serde_json::from_str(entry).unwrap()).collect();
    json!({ "keys": keys }).to_string()
}

/// Settings for keys behind a URL.
pub(crate) fn url_settings() -> Settings {
    Settings {
        keys: Some(KeySource::JwksUrl(JwksUrl::new("https://login.example/jwks"))),
        ..Settings::default()
    }
}

/// A verifier of the script's keys.
pub(crate) async fn verifier(script: &Arc<Script>, clock: &Arc<Clock>, spawner: Spawner) -> Verifier {
    let world = World { platform: clock.clone(), fetcher: Some(script.clone()), ..World::new(spawner) };
    Verifier::start(&url_settings(), world).await.unwrap()
}

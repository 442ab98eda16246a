//! A resolver and a name server that say what the test wants.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use highball::channel::Resolver;
use highball::channel::resolver::{ResolveError, Update};
use highball::net::{Address, ConnectOptions, Io, ListenAddr, Listener, Lookup, LookupError, Os, Platform};
use tokio::sync::mpsc;

type News = Result<Update, ResolveError>;

/// The hand on a resolver.
pub(crate) struct Script {
    tell: mpsc::UnboundedSender<News>,
    resolver: Mutex<Option<Scripted>>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    hints: AtomicUsize,
    restarts: AtomicUsize,
}

impl Script {
    pub(crate) fn new() -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        let counts = Arc::<Counts>::default();
        let resolver = Scripted { told, counts: counts.clone() };
        Self { tell, resolver: Mutex::new(Some(resolver)), counts }
    }

    /// Can be taken once.
    pub(crate) fn resolver(&self) -> Box<dyn Resolver> {
        Box::new(self.resolver.lock().unwrap().take().unwrap())
    }

    pub(crate) fn tell(&self, news: News) {
        self.tell.send(news).unwrap();
    }

    /// How often it was asked to look again.
    pub(crate) fn hints(&self) -> usize {
        self.counts.hints.load(Ordering::SeqCst)
    }

    pub(crate) fn restarts(&self) -> usize {
        self.counts.restarts.load(Ordering::SeqCst)
    }
}

struct Scripted {
    told: mpsc::UnboundedReceiver<News>,
    counts: Arc<Counts>,
}

impl Resolver for Scripted {
    fn next(&mut self) -> BoxFuture<'_, News> {
        async move {
            match self.told.recv().await {
                Some(news) => news,
                None => std::future::pending().await,
            }
        }
        .boxed()
    }

    fn refresh(&mut self) {
        self.counts.hints.fetch_add(1, Ordering::SeqCst);
    }

    fn restart(&mut self) {
        self.counts.restarts.fetch_add(1, Ordering::SeqCst);
    }
}

/// Names, behind the real sockets of this machine.
#[derive(Clone, Default)]
pub(crate) struct Zone(Arc<Mutex<Records>>);

#[derive(Default)]
struct Records {
    addresses: HashMap<String, Vec<&'static str>>,
    texts: HashMap<String, &'static str>,
    silent: bool,
}

/// Of every answer.
const TTL: Option<Duration> = Some(Duration::from_millis(30));

impl Zone {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn set(&self, name: &str, addresses: &[&'static str]) {
        self.0.lock().unwrap().addresses.insert(name.to_owned(), addresses.to_vec());
    }

    pub(crate) fn set_text(&self, name: &str, text: &'static str) {
        self.0.lock().unwrap().texts.insert(name.to_owned(), text);
    }

    /// It answers nobody any more.
    pub(crate) fn silence(&self) {
        self.0.lock().unwrap().silent = true;
    }

    pub(crate) fn platform(&self) -> Arc<dyn Platform> {
        Arc::new(self.clone())
    }

    fn answer<T>(&self, name: &str, find: impl FnOnce(&Records) -> Vec<T>) -> Result<Lookup<T>, LookupError> {
        let records = self.0.lock().unwrap();
        let name = name.to_owned();
        if records.silent {
            return Err(LookupError::Unavailable { name, cause: "nobody answers".to_owned() });
        }
        let records = find(&records);
        if records.is_empty() {
            Err(LookupError::NotFound { name, ttl: TTL })
        } else {
            Ok(Lookup { records, ttl: TTL })
        }
    }
}

impl Platform for Zone {
    fn bind<'a>(&'a self, addr: &'a ListenAddr) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Os.bind(addr)
    }

    fn connect<'a>(
        &'a self,
        address: &'a Address,
        options: ConnectOptions,
    ) -> BoxFuture<'a, io::Result<Box<dyn Io>>> {
        async move { Os.connect(address, options).await }.boxed()
    }

    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Lookup, LookupError>> {
        let find = |records: &Records| {
            let known = records.addresses.get(name).into_iter().flatten();
            known.map(|address| address.parse().unwrap()).collect()
        };
        std::future::ready(self.answer(name, find)).boxed()
    }

    fn lookup_txt<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Lookup<Bytes>, LookupError>> {
        let find =
            |records: &Records| records.texts.get(name).map(|text| Bytes::from(*text)).into_iter().collect();
        std::future::ready(self.answer(name, find)).boxed()
    }

    fn wall_clock(&self) -> SystemTime {
        Os.wall_clock()
    }

    fn random(&self) -> u64 {
        Os.random()
    }
}

//! CAs, leaves, a directory of files, a clock that tests move, and clients.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use highball_net::tls::{self, Accepted, HandshakeError, ServerTls, Settings};
use highball_net::{Address, ConnectOptions, Io, ListenAddr, Listener, Lookup, LookupError, Os, Platform};
use highball_testkit::pki;
pub(crate) use highball_testkit::pki::{Authority, Pair, client_params};
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::ServerName;
use tokio::io::DuplexStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// 2027-01-15 08:00:00 UTC: the time at which every test begins.
pub(crate) const NOW: u64 = 1_800_000_000;

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// A platform whose clock stands still until it is told.
#[derive(Debug)]
pub(crate) struct Clock(Mutex<SystemTime>);

impl Clock {
    pub(crate) fn new() -> Arc<Self> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
        Arc::new(Self(Mutex::new(now)))
    }

    pub(crate) fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Platform for Clock {
    fn bind<'a>(&'a self, addr: &'a ListenAddr) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Os.bind(addr)
    }

    fn connect<'a>(
        &'a self,
        address: &'a Address,
        options: ConnectOptions,
    ) -> BoxFuture<'a, io::Result<Box<dyn Io>>> {
        Os.connect(address, options)
    }

    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Lookup, LookupError>> {
        Os.lookup(name)
    }

    fn lookup_txt<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Lookup<Bytes>, LookupError>> {
        Os.lookup_txt(name)
    }

    fn wall_clock(&self) -> SystemTime {
        *self.0.lock().unwrap()
    }

    fn random(&self) -> u64 {
        4
    }
}

/// The files of one server.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) clock: Arc<Clock>,
    /// Issues the server's certificates.
    pub(crate) ca: Authority,
}

impl World {
    /// With `server.pem` and `server-key.pem` in place.
    pub(crate) fn new() -> Self {
        let world =
            Self { dir: tempfile::tempdir().unwrap(), clock: Clock::new(), ca: Authority::new("server ca") };
        world.put_server(&world.ca.server());
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn put(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn put_server(&self, pair: &Pair) {
        self.put_pair("server", pair);
    }

    /// Puts a pair into `NAME.pem` and `NAME-key.pem`.
    pub(crate) fn put_pair(&self, name: &str, pair: &Pair) -> tls::Pair {
        let (cert, key) = (format!("{name}.pem"), format!("{name}-key.pem"));
        self.put(&cert, &pair.cert);
        self.put(&key, &pair.key);
        tls::Pair::new(self.path(&cert), self.path(&key))
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings::new(self.path("server.pem"), self.path("server-key.pem"))
    }

    pub(crate) fn load(&self, settings: Settings) -> ServerTls {
        ServerTls::load(settings, self.clock.clone()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A client that trusts the server's CA.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.ca)
    }
}

/// A TLS client to be. Each connection of one client shares its session store.
#[derive(Clone)]
pub(crate) struct Client {
    roots: RootCertStore,
    pair: Option<Pair>,
    alpn: Vec<&'static str>,
    versions: Vec<&'static SupportedProtocolVersion>,
    name: &'static str,
    /// Whether it tells the server which name it dialled.
    asks: bool,
    /// Made once: rustls resumes a session only with the very configuration that began it.
    connector: OnceLock<TlsConnector>,
}

impl Client {
    pub(crate) fn new(ca: &Authority) -> Self {
        Self {
            roots: ca.roots(),
            pair: None,
            alpn: vec!["h2"],
            versions: rustls::ALL_VERSIONS.to_vec(),
            name: "localhost",
            asks: true,
            connector: OnceLock::new(),
        }
    }

    pub(crate) fn showing(mut self, pair: &Pair) -> Self {
        self.pair = Some(pair.clone());
        self
    }

    pub(crate) fn offering(mut self, alpn: &[&'static str]) -> Self {
        self.alpn = alpn.to_vec();
        self
    }

    pub(crate) fn speaking(mut self, version: &'static SupportedProtocolVersion) -> Self {
        self.versions = vec![version];
        self
    }

    pub(crate) fn dialling(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    pub(crate) fn asking_for_no_name(mut self) -> Self {
        self.asks = false;
        self
    }

    fn config(&self) -> ClientConfig {
        let mut config = pki::client_config(&self.roots, self.pair.as_ref(), &self.versions);
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.enable_sni = self.asks;
        config.resumption = Resumption::in_memory_sessions(8);
        config
    }

    /// One connection: what the server made of it, and what the client did.
    pub(crate) async fn connect(
        &self,
        server: &ServerTls,
    ) -> (Result<Accepted, HandshakeError>, io::Result<TlsStream<DuplexStream>>) {
        let (near, far) = tokio::io::duplex(1 << 16);
        tokio::join!(server.accept(Box::new(far)), self.over(near))
    }

    /// The client's half of a handshake.
    pub(crate) async fn over(&self, near: DuplexStream) -> io::Result<TlsStream<DuplexStream>> {
        let connector = self.connector.get_or_init(|| TlsConnector::from(Arc::new(self.config())));
        let name = ServerName::try_from(self.name).unwrap();
        connector.connect(name, near).await
    }

    /// A connection that the server accepts.
    pub(crate) async fn accepted(&self, server: &ServerTls) -> (Accepted, TlsStream<DuplexStream>) {
        let (server, client) = self.connect(server).await;
        let accepted = server.unwrap_or_else(|error| panic!("refused: {error}"));
        (accepted, client.expect("the client agrees"))
    }

    /// The label and the sentence of a connection that the server refuses.
    pub(crate) async fn refused(&self, server: &ServerTls) -> (&'static str, String) {
        let (server, _client) = self.connect(server).await;
        let error = server.expect_err("it must be refused");
        (error.reason().label(), error.to_string())
    }
}

//! The platform of simulated tests: turmoil's sockets behind the same seam the real ones are behind.

mod names;
mod random;

use std::io;
use std::net::IpAddr;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use highball_core::Peer;
use highball_net::{Address, ConnectOptions, Io, ListenAddr, Listener, Lookup, LookupError, Platform};
use turmoil::net::{TcpListener, TcpStream};

pub use names::Names;
pub use random::Random;

/// How long an answer of a simulated look-up is valid.
pub const TTL: Duration = Duration::from_secs(1);

/// Binds and connects on the simulated host that the calling task runs on. TCP only: turmoil has no Unix sockets. The names are
/// those of the hosts: one that is not a host gets an address where nobody answers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Turmoil;

impl Turmoil {
    /// With the names of a table instead, which the test changes while the simulation runs.
    #[must_use]
    pub fn with_names(self, names: Names) -> Named {
        Named { names, random: None }
    }
}

/// [`Turmoil`] with a table of names.
#[derive(Debug, Clone)]
pub struct Named {
    names: Names,
    random: Option<Random>,
}

impl Named {
    /// With bits that a seed decides, instead of always the same ones: jitter spreads, and still replays.
    #[must_use]
    pub fn with_random(mut self, random: Random) -> Self {
        self.random = Some(random);
        self
    }
}

/// The addresses of these hosts.
fn addresses(hosts: &[String]) -> Lookup {
    let records: Vec<IpAddr> = hosts.iter().map(|host| turmoil::lookup(host.as_str())).collect();
    Lookup { records, ttl: Some(TTL) }
}

impl Platform for Turmoil {
    fn bind<'a>(&'a self, addr: &'a ListenAddr) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        async move {
            let ListenAddr::Tcp(addr) = addr else {
                return Err(io::ErrorKind::Unsupported.into());
            };
            let listener = TcpListener::bind(addr).await?;
            let local = ListenAddr::Tcp(listener.local_addr()?);
            let listener: Box<dyn Listener> = Box::new(SimListener { local, accepting: accept(listener) });
            Ok(listener)
        }
        .boxed()
    }

    fn connect<'a>(
        &'a self,
        address: &'a Address,
        _options: ConnectOptions,
    ) -> BoxFuture<'a, io::Result<Box<dyn Io>>> {
        async move {
            let Address::Tcp(addr) = address else {
                return Err(io::ErrorKind::Unsupported.into());
            };
            let io: Box<dyn Io> = Box::new(TcpStream::connect(*addr).await?);
            Ok(io)
        }
        .boxed()
    }

    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Lookup, LookupError>> {
        async move { Ok(addresses(&[name.to_owned()])) }.boxed()
    }

    fn lookup_txt<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Lookup<Bytes>, LookupError>> {
        async move { Err(names::not_found(name)) }.boxed()
    }

    /// The simulation's clock, which starts at the same moment in every run of a seed.
    fn wall_clock(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + turmoil::since_epoch().unwrap_or_default()
    }

    /// The same for every run: a simulation must replay.
    fn random(&self) -> u64 {
        0x9e37_79b9_7f4a_7c15
    }
}

impl Platform for Named {
    fn bind<'a>(&'a self, addr: &'a ListenAddr) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Turmoil.bind(addr)
    }

    fn connect<'a>(
        &'a self,
        address: &'a Address,
        options: ConnectOptions,
    ) -> BoxFuture<'a, io::Result<Box<dyn Io>>> {
        Turmoil.connect(address, options)
    }

    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Lookup, LookupError>> {
        async move { self.names.hosts(name).map(|hosts| addresses(&hosts)) }.boxed()
    }

    fn lookup_txt<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Lookup<Bytes>, LookupError>> {
        async move {
            let records = self.names.texts(name)?;
            Ok(Lookup { records, ttl: Some(TTL) })
        }
        .boxed()
    }

    fn wall_clock(&self) -> SystemTime {
        Turmoil.wall_clock()
    }

    fn random(&self) -> u64 {
        self.random.as_ref().map_or_else(|| Turmoil.random(), Random::bits)
    }
}

type Accepting = BoxFuture<'static, (TcpListener, io::Result<(TcpStream, std::net::SocketAddr)>)>;

fn accept(listener: TcpListener) -> Accepting {
    async move {
        let accepted = listener.accept().await;
        (listener, accepted)
    }
    .boxed()
}

/// turmoil's listener only knows an async accept; this keeps the one that is pending.
struct SimListener {
    local: ListenAddr,
    accepting: Accepting,
}

impl Listener for SimListener {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Box<dyn Io>, Peer)>> {
        let (listener, accepted) = ready!(self.accepting.poll_unpin(cx));
        self.accepting = accept(listener);
        Poll::Ready(accepted.map(|(io, peer)| {
            let io: Box<dyn Io> = Box::new(io);
            (io, Peer::Tcp(peer))
        }))
    }

    fn local_addr(&self) -> ListenAddr {
        self.local.clone()
    }
}

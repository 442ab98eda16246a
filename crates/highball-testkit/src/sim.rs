//! The platform of simulated tests: turmoil's sockets behind the same seam the real ones are behind.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use highball_core::Peer;
use highball_net::{Io, ListenAddr, Listener, Platform};
use turmoil::net::{TcpListener, TcpStream};

/// Binds on the simulated host that the calling task runs on. TCP only: turmoil has no Unix sockets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Turmoil;

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

    /// The simulation's clock, which starts at the same moment in every run of a seed.
    fn wall_clock(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + turmoil::since_epoch().unwrap_or_default()
    }

    /// The same for every run: a simulation must replay.
    fn random(&self) -> u64 {
        0x9e37_79b9_7f4a_7c15
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

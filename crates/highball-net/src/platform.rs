//! The world as a parameter.
//!
//! Everything that comes from outside the process goes through [`Platform`]. [`Os`] is the real one; a simulation brings
//! its own, and then the real hyper and h2 run over simulated sockets and replay from a seed. Time needs no seam of its
//! own: it is `tokio::time` everywhere.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use highball_core::Peer;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::connect::{self, ConnectOptions};
use crate::names::{Lookup, LookupError, System};
use crate::{Address, ListenAddr, listen};

/// A byte stream to one peer.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// Accepts connections on one address. Dropping it stops listening.
pub trait Listener: Send + 'static {
    /// Polled by one accept loop. An error concerns one connection or a shortage of the machine, not the listener; the
    /// loop reports it, backs off and polls again.
    ///
    /// # Errors
    /// Whatever the system says, such as too many open files.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Box<dyn Io>, Peer)>>;

    /// Where it listens, with the port the system chose.
    fn local_addr(&self) -> ListenAddr;

    /// The socket, for whoever passes it to another process. `None` for a listener that has none, such as a simulated one.
    fn socket(&self) -> Option<ListeningSocket<'_>> {
        None
    }

    /// From now on, dropping it leaves the file of a Unix socket where it is: another process listens there.
    fn keep_file(&mut self) {}
}

/// The socket of a [`Listener`].
#[derive(Debug, Clone, Copy)]
pub struct ListeningSocket<'a> {
    /// The descriptor.
    pub fd: BorrowedFd<'a>,
    /// Whether it is a Unix socket whose file goes with the listener.
    pub owns_file: bool,
}

/// The only way to the outside. Called from the control plane; implementations may be shared between servers.
pub trait Platform: Send + Sync + 'static {
    /// Starts to listen.
    fn bind<'a>(&'a self, addr: &'a ListenAddr) -> BoxFuture<'a, io::Result<Box<dyn Listener>>>;

    /// Connects. There is no time limit of its own: the caller drops the future.
    ///
    /// # Errors
    /// Whatever the system says.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the attempt and closes what there is of it.
    fn connect<'a>(
        &'a self,
        address: &'a Address,
        options: ConnectOptions,
    ) -> BoxFuture<'a, io::Result<Box<dyn Io>>>;

    /// The addresses of a name: IPv4 and IPv6, in one answer. Literal addresses answer for themselves. It ends by itself, see
    /// [`LOOKUP_TIMEOUT`](crate::names::LOOKUP_TIMEOUT).
    ///
    /// # Errors
    /// [`LookupError`] tells an answer of "no" from no answer.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the question.
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Lookup, LookupError>>;

    /// The TXT records of a name, such as `_grpc_config.shop.example`; the strings of one record are put together (gRFC A2).
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup).
    ///
    /// # Cancel safety
    /// Dropping the future abandons the question.
    fn lookup_txt<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Lookup<Bytes>, LookupError>>;

    /// The wall clock, for what is dated by people: certificates, tokens. Never for measuring time.
    fn wall_clock(&self) -> SystemTime;

    /// Unpredictable bits, for jitter. Not for keys.
    fn random(&self) -> u64;
}

/// The operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct Os;

impl Os {
    /// Shared, as servers take it.
    #[must_use]
    pub fn shared() -> Arc<dyn Platform> {
        Arc::new(Self)
    }
}

impl Platform for Os {
    fn bind<'a>(&'a self, addr: &'a ListenAddr) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(listen::bind(addr))
    }

    fn connect<'a>(
        &'a self,
        address: &'a Address,
        options: ConnectOptions,
    ) -> BoxFuture<'a, io::Result<Box<dyn Io>>> {
        Box::pin(connect::connect(address, options))
    }

    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Lookup, LookupError>> {
        Box::pin(async move { System::read().addresses(name).await })
    }

    fn lookup_txt<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Lookup<Bytes>, LookupError>> {
        Box::pin(async move { System::read().texts(name).await })
    }

    #[expect(clippy::disallowed_methods, reason = "this is where the wall clock comes from")]
    fn wall_clock(&self) -> SystemTime {
        SystemTime::now()
    }

    fn random(&self) -> u64 {
        // The standard library seeds its hash keys from the system and never repeats them in a process.
        RandomState::new().hash_one(0)
    }
}

impl fmt::Debug for dyn Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dyn Platform")
    }
}

impl fmt::Debug for dyn Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({})", self.local_addr())
    }
}

impl fmt::Debug for dyn Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dyn Io")
    }
}

//! The one record an RPC carries.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use http::Extensions;
use tokio::time::Instant;

use crate::caller::{Caller, Process};
use crate::{Current, Deadline, Dialect, Method, MethodKind};

/// What is known of an RPC from the moment it was recognised. Every layer and the handler itself read the same facts, and
/// nobody parses a header twice: [`Rpc::of`] finds it in a request, and [`capture`](crate::current::capture) without one.
#[derive(Debug, Clone)]
pub struct Rpc {
    /// What is called.
    pub method: Method,
    /// How many messages go each way.
    pub kind: MethodKind,
    /// The protocol the caller speaks.
    pub dialect: Dialect,
    /// When the RPC must be over; `None` for a stream whose caller set no deadline.
    pub deadline: Option<Deadline>,
    /// Who calls: what the transport proved, and the token once it is verified.
    pub caller: Caller,
    /// When its headers had been read.
    pub started: Instant,
    /// The connection it came over.
    pub connection: Arc<Connection>,
}

impl Rpc {
    /// The record of the RPC that a request belongs to, from the request's extensions; `None` when no server took it.
    ///
    /// ```
    /// # let request = http::Request::new(());
    /// let caller = highball_core::Rpc::of(request.extensions()).map(|rpc| rpc.caller.clone());
    /// ```
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get::<Current>().map(Current::rpc)
    }
}

/// A transport connection, as its RPCs see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Unique in this process; ties log lines together.
    pub id: u64,
    /// Who is at the other end.
    pub peer: Peer,
    /// What the transport proved of the caller: a certificate, or the process behind a Unix socket.
    pub caller: Caller,
}

/// The address at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// A TCP peer.
    Tcp(SocketAddr),
    /// A process on this machine, over a Unix socket; known where the kernel tells.
    Unix(Option<Process>),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(Some(Process { pid: Some(pid), .. })) => write!(f, "unix, process {pid}"),
            Self::Unix(_) => f.write_str("unix"),
        }
    }
}

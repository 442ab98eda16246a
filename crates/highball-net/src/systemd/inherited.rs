//! Which sockets this process was started with.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;

use listenfd::ListenFd;
use socket2::{Domain, Socket, Type};

use crate::ListenAddr;

/// The name systemd itself gives a descriptor that has none.
const UNNAMED: &str = "unknown";

/// The sockets that systemd passed to this process, in the order of its unit. None when it was started in another way.
///
/// `names` is the value of `LISTEN_FDNAMES`: `FileDescriptorName=` of each socket unit, separated by colons, by default the
/// name of the unit. They serve reports; sockets are found by their address.
///
/// # Errors
/// A descriptor that is not a listening TCP or Unix stream socket, such as one of a unit with `Accept=yes`; or not one
/// name for each. Do not start then: a process must not serve half of what it was given. Descriptors that are neither
/// stay open for as long as the process lives, because nobody owns them.
pub fn inherited(fds: ListenFd, names: Option<&str>) -> Result<Vec<Inherited>, ActivationError> {
    let passed = passed(fds, names)?;
    passed.into_iter().map(|(name, fd)| Inherited::new(name, fd)).collect()
}

/// The descriptors that were passed, with their names.
pub(crate) fn passed(
    mut fds: ListenFd,
    names: Option<&str>,
) -> Result<Vec<(&str, OwnedFd)>, ActivationError> {
    let names: Vec<&str> = match names {
        Some(names) if fds.len() > 0 => names.split(':').collect(),
        _ => vec![UNNAMED; fds.len()],
    };
    if names.len() != fds.len() {
        let problem = format!("{} sockets were passed with {} names", fds.len(), names.len());
        return Err(ActivationError { problem, source: None });
    }
    let own = |(index, name)| {
        let fd = take(&mut fds, index).map_err(|source| unusable(name, source))?;
        Ok((name, fd))
    };
    names.into_iter().enumerate().map(own).collect()
}

/// The descriptor, owned and closed on exec. What it is, [`Inherited::new`] finds out.
fn take(fds: &mut ListenFd, index: usize) -> io::Result<OwnedFd> {
    if let Ok(Some(tcp)) = fds.take_tcp_listener(index) {
        return Ok(tcp.into());
    }
    match fds.take_unix_listener(index)? {
        Some(unix) => Ok(unix.into()),
        None => Err(io::ErrorKind::NotFound.into()),
    }
}

/// A listening socket that somebody else opened.
#[derive(Debug)]
pub struct Inherited {
    name: String,
    addr: ListenAddr,
    /// An IPv6 socket that takes IPv4 as well.
    dual: bool,
    socket: Socket,
    /// A predecessor passed it, and with `Some(true)` the file of a Unix socket as well.
    left: Option<bool>,
}

impl Inherited {
    /// Adopts a descriptor, from wherever it comes.
    ///
    /// # Errors
    /// It is not a listening TCP or Unix stream socket with a path. It is closed.
    pub fn new(name: &str, fd: OwnedFd) -> Result<Self, ActivationError> {
        let socket = Socket::from(fd);
        let listens = socket.r#type().map_err(|e| unusable(name, e))? == Type::STREAM
            && socket.is_listener().map_err(|e| unusable(name, e))?;
        let local = socket.local_addr().map_err(|e| unusable(name, e))?;
        let addr = match (local.as_socket(), local.as_pathname()) {
            _ if !listens => {
                Err("does not listen for connections; its unit must say ListenStream= and Accept=no")
            }
            (Some(addr), _) => Ok(ListenAddr::Tcp(addr)),
            (None, Some(path)) => Ok(ListenAddr::Unix(path.to_owned())),
            (None, None) => Err("is neither TCP nor a Unix socket with a path"),
        };
        let addr = addr.map_err(|problem| ActivationError {
            problem: format!("the socket \"{name}\" that was passed {problem}"),
            source: None,
        })?;
        let dual = local.domain() == Domain::IPV6 && socket.only_v6().is_ok_and(|only| !only);
        Ok(Self { name: name.to_owned(), addr, dual, socket, left: None })
    }

    /// It comes from a predecessor that is about to leave, and so does the file of a Unix socket if `owns_file`.
    pub(crate) fn left_behind(self, owns_file: bool) -> Self {
        Self { left: Some(owns_file), ..self }
    }

    /// What its unit calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> &ListenAddr {
        &self.addr
    }

    /// Whether whoever wants to listen on `wanted` is served by this socket: it has that address, or it is `[::]` and
    /// takes IPv4 (which is what `ListenStream=PORT` means), and `0.0.0.0` is wanted.
    pub(super) fn serves(&self, wanted: &ListenAddr) -> bool {
        const ALL_V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        const ALL_V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let either = |own: &SocketAddr, wanted: &SocketAddr| {
            self.dual && own.ip() == ALL_V6 && wanted.ip() == ALL_V4 && own.port() == wanted.port()
        };
        match (&self.addr, wanted) {
            (ListenAddr::Tcp(own), ListenAddr::Tcp(wanted)) => own == wanted || either(own, wanted),
            (ListenAddr::Unix(own), ListenAddr::Unix(wanted)) => same_path(own, wanted),
            _ => false,
        }
    }

    /// Whether it is a predecessor's socket on the address of which somebody wants any port.
    pub(super) fn serves_any_port(&self, wanted: &ListenAddr) -> bool {
        match (&self.addr, wanted) {
            (ListenAddr::Tcp(own), ListenAddr::Tcp(wanted)) => {
                self.left.is_some() && wanted.port() == 0 && own.ip() == wanted.ip()
            }
            _ => false,
        }
    }

    /// The address, the socket, and whether the file is ours.
    pub(super) fn into_parts(self) -> (ListenAddr, Socket, bool) {
        (self.addr, self.socket, self.left == Some(true))
    }
}

/// A unit's paths are absolute; `/var/run` and `/run` are one.
fn same_path(own: &Path, wanted: &Path) -> bool {
    own == wanted
        || own.canonicalize().is_ok_and(|own| wanted.canonicalize().is_ok_and(|wanted| own == wanted))
}

fn unusable(name: &str, source: io::Error) -> ActivationError {
    let problem = format!("the socket \"{name}\" that was passed cannot be used: {source}");
    ActivationError { problem, source: Some(source) }
}

/// Sockets that were passed and cannot be served, in one sentence for the person who wrote the unit.
#[derive(Debug)]
pub struct ActivationError {
    problem: String,
    source: Option<io::Error>,
}

impl fmt::Display for ActivationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "socket activation: {}", self.problem)
    }
}

impl Error for ActivationError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

//! Listening on TCP and Unix sockets.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::task::{Context, Poll, ready};

use highball_core::Peer;
use highball_core::caller::Process;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use crate::platform::ListeningSocket;
use crate::{Io, Listener};

/// Connections the kernel keeps for us until they are accepted. Linux caps it at `net.core.somaxconn`, 4,096 by default.
pub const BACKLOG: i32 = 4096;

/// Mode of a Unix socket: owner and group may connect. File permissions are the access control of such a socket.
pub const UNIX_MODE: u32 = 0o660;

/// Where to listen: `HOST:PORT` with a literal address, or `unix:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddr {
    /// A TCP address; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A path in the file system. A stale socket file is replaced, a live one is not.
    Unix(PathBuf),
}

impl ListenAddr {
    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(addr) => addr.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl FromStr for ListenAddr {
    type Err = InvalidListenAddr;

    fn from_str(text: &str) -> Result<Self, InvalidListenAddr> {
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Self::Unix(PathBuf::from(path))),
            Some(_) => Err(InvalidListenAddr(())),
            None => text.parse().map(Self::Tcp).map_err(|_| InvalidListenAddr(())),
        }
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An address that is neither `IP:PORT` nor `unix:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidListenAddr(());

impl fmt::Display for InvalidListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected IP:PORT such as 127.0.0.1:50051, [::1]:50051, or unix:PATH")
    }
}

impl std::error::Error for InvalidListenAddr {}

/// An address that cannot be listened on, in one sentence for the person who chose it.
#[derive(Debug)]
pub struct ListenError {
    /// The address.
    pub addr: ListenAddr,
    /// The system's reason.
    pub source: io::Error,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { addr, source } = self;
        write!(f, "cannot listen on {addr}: ")?;
        match source.kind() {
            io::ErrorKind::AddrInUse => {
                f.write_str("the address is already in use; stop the other process or choose another")
            }
            io::ErrorKind::PermissionDenied => f.write_str("permission denied"),
            io::ErrorKind::AddrNotAvailable => f.write_str("this machine does not have that address"),
            io::ErrorKind::NotFound => f.write_str("its directory does not exist"),
            _ => source.fmt(f),
        }
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// The operating system's [`crate::Platform::bind`].
pub(crate) async fn bind(addr: &ListenAddr) -> io::Result<Box<dyn Listener>> {
    match addr {
        ListenAddr::Tcp(addr) => Ok(Box::new(Tcp::bind(*addr)?)),
        ListenAddr::Unix(path) => Ok(Box::new(Unix::bind(path)?)),
    }
}

/// Listens on a socket that somebody else bound to `addr`. The file of a Unix socket stays theirs, unless it is said that
/// they left it to us.
pub(crate) fn adopt(addr: ListenAddr, socket: Socket, owns_file: bool) -> io::Result<Box<dyn Listener>> {
    socket.set_nonblocking(true)?;
    Ok(match addr {
        ListenAddr::Tcp(_) => Box::new(Tcp(TcpListener::from_std(socket.into())?)),
        ListenAddr::Unix(path) => {
            let inode = if owns_file { inode(&path) } else { None };
            Box::new(Unix { listener: UnixListener::from_std(socket.into())?, path, inode })
        }
    })
}

struct Tcp(TcpListener);

impl Tcp {
    fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
        // A restart must not wait for the old connections' TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket.into()).map(Self)
    }
}

impl Listener for Tcp {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Box<dyn Io>, Peer)>> {
        let (io, peer) = ready!(self.0.poll_accept(cx))?;
        // Small frames must not wait for an acknowledgement. A peer that is already gone makes this fail; reading will say.
        io.set_nodelay(true).ok();
        Poll::Ready(Ok((Box::new(io), Peer::Tcp(peer))))
    }

    fn local_addr(&self) -> ListenAddr {
        // The socket is bound, so the system knows its address.
        ListenAddr::Tcp(self.0.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0))))
    }

    fn socket(&self) -> Option<ListeningSocket<'_>> {
        Some(ListeningSocket { fd: self.0.as_fd(), owns_file: false })
    }
}

struct Unix {
    listener: UnixListener,
    path: PathBuf,
    /// Of the file that is ours to remove.
    inode: Option<u64>,
}

impl Unix {
    fn bind(path: &Path) -> io::Result<Self> {
        remove_stale(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        // Between bind and listen nobody can connect, so the mode is in place before the first peer is.
        fs::set_permissions(path, fs::Permissions::from_mode(UNIX_MODE))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            listener: UnixListener::from_std(socket.into())?,
            path: path.to_owned(),
            inode: inode(path),
        })
    }
}

impl Listener for Unix {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Box<dyn Io>, Peer)>> {
        let (io, _) = ready!(self.listener.poll_accept(cx))?;
        let process =
            io.peer_cred().ok().map(|peer| Process { uid: peer.uid(), gid: peer.gid(), pid: peer.pid() });
        Poll::Ready(Ok((Box::new(io), Peer::Unix(process))))
    }

    fn local_addr(&self) -> ListenAddr {
        ListenAddr::Unix(self.path.clone())
    }

    fn socket(&self) -> Option<ListeningSocket<'_>> {
        Some(ListeningSocket { fd: self.listener.as_fd(), owns_file: self.inode.is_some() })
    }

    fn keep_file(&mut self) {
        self.inode = None;
    }
}

impl Drop for Unix {
    fn drop(&mut self) {
        // A successor may already have put its own socket there.
        if self.inode.is_some() && inode(&self.path) == self.inode {
            // Nobody can be told any more; the next start finds a stale socket and removes it.
            fs::remove_file(&self.path).ok();
        }
    }
}

fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|metadata| metadata.ino())
}

/// Removes a socket file that nobody listens on. Anything else at that path stays, and binding will say so.
#[expect(clippy::disallowed_methods, reason = "part of the operating system's `Platform::bind`")]
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket && UnixStream::connect(path).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused) {
        fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_literal_or_a_path() {
        for text in ["127.0.0.1:50051", "[::1]:0", "unix:/run/x.sock", "unix:relative.sock"] {
            assert_eq!(text.parse::<ListenAddr>().unwrap().to_string(), text);
        }
        for text in ["", "localhost:1", "127.0.0.1", ":50051", "unix:", "127.0.0.1:99999"] {
            assert!(text.parse::<ListenAddr>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "leaves a stale socket file behind")]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let addr = ListenAddr::Unix(dir.path().join("x.sock"));
        let ListenAddr::Unix(path) = &addr else { unreachable!() };
        drop(std::os::unix::net::UnixListener::bind(path).unwrap());
        let live = bind(&addr).await.expect("the stale socket is replaced");
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, UNIX_MODE);
        assert_eq!(bind(&addr).await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(live);
        assert!(!path.exists(), "a listener takes its file along");
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.txt");
        fs::write(&path, "mine").unwrap();
        assert!(bind(&ListenAddr::Unix(path.clone())).await.is_err());
        assert_eq!(fs::read_to_string(path).unwrap(), "mine");
    }

    #[tokio::test]
    async fn a_taken_port_is_one_clear_sentence() {
        let any = ListenAddr::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
        let first = bind(&any).await.unwrap();
        let addr = first.local_addr();
        let source = bind(&addr).await.unwrap_err();
        let sentence = ListenError { addr: addr.clone(), source }.to_string();
        assert!(sentence.contains(&addr.to_string()) && sentence.contains("already in use"), "{sentence}");
    }
}

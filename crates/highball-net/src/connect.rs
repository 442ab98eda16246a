//! Connecting to TCP and Unix sockets: the operating system's [`Platform::connect`](crate::Platform::connect).

use std::io;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::SocketAddr as UnixAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream};

use crate::{Address, Io};

/// What a TCP connection gets beside its address. Nagle's algorithm is always off, because small frames must not wait for an
/// acknowledgement; TCP keepalive is never on, because HTTP/2 has pings that reach the process behind the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectOptions {
    /// How long sent bytes may stay unacknowledged before the kernel gives the connection up (Linux `TCP_USER_TIMEOUT`).
    /// Default `None`: the kernel's own, about 15 minutes. gRFC A18: where HTTP/2 keepalive is on, its timeout.
    pub user_timeout: Option<Duration>,
}

pub(crate) async fn connect(address: &Address, options: ConnectOptions) -> io::Result<Box<dyn Io>> {
    match address {
        Address::Tcp(addr) => Ok(Box::new(tcp(*addr, options).await?)),
        Address::Unix(path) => Ok(Box::new(unix(UnixAddr::from_pathname(path)?).await?)),
        Address::UnixAbstract(name) => Ok(Box::new(unix(UnixAddr::from_abstract_name(name)?).await?)),
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the operating system's `Platform::connect`")]
async fn tcp(addr: SocketAddr, options: ConnectOptions) -> io::Result<TcpStream> {
    let io = TcpStream::connect(addr).await?;
    io.set_nodelay(true)?;
    if options.user_timeout.is_some() {
        SockRef::from(&io).set_tcp_user_timeout(options.user_timeout)?;
    }
    Ok(io)
}

async fn unix(addr: UnixAddr) -> io::Result<UnixStream> {
    UnixStream::connect_addr(&addr.into()).await
}

//! A server that binds what was passed, with std in the part of systemd.

#![expect(clippy::disallowed_methods, reason = "std stands in for systemd, which opens the sockets")]

use std::future::poll_fn;
use std::os::fd::OwnedFd;

use highball_core::Peer;
use highball_core::caller::Process;

use super::*;
use crate::Os;

fn any(host: &str) -> (std::net::TcpListener, ListenAddr) {
    let socket = std::net::TcpListener::bind((host, 0)).unwrap();
    let addr = ListenAddr::Tcp(socket.local_addr().unwrap());
    (socket, addr)
}

fn activated(sockets: Vec<(&str, OwnedFd)>) -> Activated {
    let sockets = sockets.into_iter().map(|(name, fd)| Inherited::new(name, fd).unwrap()).collect();
    Activated::new(Os::shared(), sockets)
}

#[tokio::test]
async fn who_binds_an_inherited_address_gets_that_socket_once() {
    let (systemd, addr) = any("127.0.0.1");
    let platform = activated(vec![("grpc", systemd.try_clone().unwrap().into())]);
    assert_eq!(platform.unclaimed(), [("grpc".to_owned(), addr.clone())]);
    let ListenAddr::Tcp(tcp) = addr else { unreachable!() };
    // Before anybody accepts, and before the server has bound.
    let early = std::net::TcpStream::connect(tcp).unwrap();
    let mut listener = platform.bind(&addr).await.unwrap();
    assert_eq!((listener.local_addr(), platform.unclaimed().len()), (addr.clone(), 0));
    let (_, peer) = poll_fn(|cx| listener.poll_accept(cx)).await.unwrap();
    assert_eq!(peer, Peer::Tcp(early.local_addr().unwrap()));
    assert_eq!(platform.bind(&addr).await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    // The old process stops listening; clients connect all the same, and wait for the next.
    drop(listener);
    let _waits = std::net::TcpStream::connect(tcp).unwrap();
}

#[tokio::test]
async fn other_addresses_are_bound_by_the_platform_below() {
    let (systemd, addr) = any("127.0.0.1");
    let platform = activated(vec![("grpc", systemd.into())]);
    let other = platform.bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    assert_ne!(other.local_addr(), addr);
    assert_eq!(platform.unclaimed().len(), 1);
}

#[tokio::test]
async fn a_port_for_everybody_serves_who_asks_for_ipv4() {
    let Ok(systemd) = std::net::TcpListener::bind("[::]:0") else { return };
    let port = systemd.local_addr().unwrap().port();
    let platform = activated(vec![("grpc", systemd.into())]);
    assert!(platform.claim(&format!("127.0.0.1:{port}").parse().unwrap()).is_none());
    let listener = platform.bind(&format!("0.0.0.0:{port}").parse().unwrap()).await.unwrap();
    assert_eq!(listener.local_addr().to_string(), format!("[::]:{port}"));
}

#[tokio::test]
async fn the_file_of_a_unix_socket_stays_with_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.sock");
    let systemd = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let platform = activated(vec![("admin", systemd.try_clone().unwrap().into())]);
    let mut listener = platform.bind(&ListenAddr::Unix(path.clone())).await.unwrap();
    let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let (_, peer) = poll_fn(|cx| listener.poll_accept(cx)).await.unwrap();
    assert!(matches!(peer, Peer::Unix(Some(Process { pid: Some(_), .. }))), "{peer:?}");
    drop(listener);
    let _waits = std::os::unix::net::UnixStream::connect(&path).unwrap();
}

#[test]
fn what_does_not_listen_is_refused_by_name() {
    let (listener, addr) = any("127.0.0.1");
    let ListenAddr::Tcp(tcp) = addr else { unreachable!() };
    let connected = std::net::TcpStream::connect(tcp).unwrap();
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let file = tempfile::tempfile().unwrap();
    for fd in [OwnedFd::from(connected), OwnedFd::from(datagrams), OwnedFd::from(file)] {
        let sentence = Inherited::new("odd.socket", fd).unwrap_err().to_string();
        assert!(sentence.contains("\"odd.socket\""), "{sentence}");
    }
    drop(listener);
}

//! Socket activation from the outside: a process that starts with sockets, as systemd starts it.
//!
//! Descriptors that a process is started with cannot be had in any other way than by starting one. So this file runs
//! itself: the parent opens the sockets and plays systemd, with a shell that puts them at 3 and 4 and sets `LISTEN_PID`.

#![expect(clippy::disallowed_methods, reason = "std stands in for systemd and for its clients")]

use std::future::poll_fn;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use highball_net::systemd::{Activated, ListenFd, inherited};
use highball_net::{ListenAddr, Os, Platform as _};
use tokio::io::AsyncWriteExt as _;

/// Set for the child: the addresses it would bind without systemd, in the order of the descriptors.
const ADDRS: &str = "ACTIVATION_TEST_ADDRS";

#[test]
fn sockets_that_were_passed_are_served_and_keep_what_had_connected_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.sock");
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let addr = tcp.local_addr().unwrap();
    let (mut one, mut two) = (
        std::net::TcpStream::connect(addr).unwrap(),
        std::os::unix::net::UnixStream::connect(&path).unwrap(),
    );
    one.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    two.set_read_timeout(Some(Duration::from_secs(30))).unwrap();

    let script = "LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 4<&1 </dev/null >/dev/null";
    let mut child = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "the_child", "--nocapture"])
        .env("LISTEN_FDS", "2")
        .env("LISTEN_FDNAMES", "grpc:admin")
        .env(ADDRS, format!("{addr} unix:{}", path.display()))
        .stdin(Stdio::from(OwnedFd::from(tcp.try_clone().unwrap())))
        .stdout(Stdio::from(OwnedFd::from(unix.try_clone().unwrap())))
        .spawn()
        .unwrap();
    let (mut from_tcp, mut from_unix) = (String::new(), String::new());
    one.read_to_string(&mut from_tcp).unwrap();
    two.read_to_string(&mut from_unix).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!((&*from_tcp, &*from_unix), ("grpc", "admin"));

    // The process is gone; the sockets are not.
    let _waits = std::net::TcpStream::connect(addr).unwrap();
    let _waits = std::os::unix::net::UnixStream::connect(&path).unwrap();
}

/// The process that systemd starts. Does nothing when it is run as one test among others.
#[test]
fn the_child() {
    let Ok(addrs) = std::env::var(ADDRS) else { return };
    let names = std::env::var("LISTEN_FDNAMES").unwrap();
    let sockets = inherited(ListenFd::from_env(), Some(&names)).unwrap();
    assert!(inherited(ListenFd::from_env(), Some(&names)).unwrap().is_empty(), "taken once");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let platform = Activated::new(Os::shared(), sockets);
        let named = platform.unclaimed();
        for (addr, (name, found)) in addrs.split(' ').zip(named) {
            let addr: ListenAddr = addr.parse().unwrap();
            assert_eq!(addr, found);
            let mut listener = platform.bind(&addr).await.unwrap();
            let (mut io, _) = poll_fn(|cx| listener.poll_accept(cx)).await.unwrap();
            io.write_all(name.as_bytes()).await.unwrap();
        }
        assert!(platform.unclaimed().is_empty());
    });
}

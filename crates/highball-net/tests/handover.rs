//! Handover from the outside: a process that starts another and passes its sockets on.
//!
//! This file runs itself: the tests play the predecessor, and each starts one of the functions at the end as its successor.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "std stands in for clients and for systemd; helpers of tests outside `#[test]` functions"
)]

use std::future::{pending, poll_fn, ready};
use std::io::{ErrorKind, Read as _};
use std::net::TcpStream;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use highball_net::handover::{self, Handover, HandoverError, Program, TakeOver};
use highball_net::systemd::{Activated, ListenFd, Notifier};
use highball_net::{ListenAddr, Listener, Os, Platform as _};
use tokio::io::AsyncWriteExt as _;

const PATIENCE: Duration = Duration::from_secs(30);

/// A predecessor whose successor runs the function `role` of this file.
fn predecessor(role: &str) -> Handover {
    let this = std::env::current_exe().unwrap();
    Handover::new(Os::shared(), Program::new(this, ["--exact", role, "--nocapture"]))
}

async fn listen(handover: &Handover, addr: &str) -> (Box<dyn Listener>, ListenAddr) {
    let listener = handover.bind(&addr.parse().unwrap()).await.unwrap();
    let addr = listener.local_addr();
    (listener, addr)
}

fn connect(addr: &ListenAddr) -> Box<dyn std::io::Read> {
    match addr {
        ListenAddr::Tcp(addr) => {
            let client = TcpStream::connect(addr).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            Box::new(client)
        }
        ListenAddr::Unix(path) => {
            let client = UnixStream::connect(path).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            Box::new(client)
        }
    }
}

/// All that a server says.
fn said(mut client: Box<dyn std::io::Read>) -> String {
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    text
}

/// Greets whoever comes next.
async fn greet(listener: &mut dyn Listener, text: &str) {
    let (mut client, _) = poll_fn(|cx| listener.poll_accept(cx)).await.unwrap();
    client.write_all(text.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_successor_serves_what_connected_before_and_what_comes_later() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.sock");
    let handover = predecessor("a_successor_that_serves");
    let (tcp, tcp_addr) = listen(&handover, "127.0.0.1:0").await;
    let (unix, unix_addr) = listen(&handover, &format!("unix:{}", path.display())).await;
    let before = [connect(&tcp_addr), connect(&unix_addr)];
    let pid = handover.pass_on().await.unwrap();
    drop((tcp, unix));
    for client in before {
        assert_eq!(said(client), pid.to_string());
    }
    assert!(path.exists(), "the file went with the socket");
    assert_eq!(said(connect(&tcp_addr)), pid.to_string());
    assert_eq!(said(connect(&unix_addr)), pid.to_string());
    assert!(matches!(handover.pass_on().await, Err(HandoverError::Done)));
    let gone = tokio::time::timeout(PATIENCE, async {
        while path.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    gone.await.expect("and who listened last removed it");
}

/// It failed as it should, the old process serves, and the next one would take over.
async fn nothing_changed(handover: &Handover, listener: &mut dyn Listener, addr: &ListenAddr) {
    let client = connect(addr);
    greet(listener, "old").await;
    assert_eq!(said(client), "old");
    assert!(!matches!(handover.pass_on().await, Err(HandoverError::Done | HandoverError::NoSocket)));
}

#[tokio::test]
async fn a_successor_that_ends_at_once_changes_nothing() {
    let handover = predecessor("a_successor_that_ends");
    let (mut tcp, addr) = listen(&handover, "127.0.0.1:0").await;
    match handover.pass_on().await.unwrap_err() {
        HandoverError::Exited(status) => assert_eq!(status.code(), Some(3)),
        other => panic!("{other}"),
    }
    nothing_changed(&handover, &mut *tcp, &addr).await;
}

#[tokio::test]
async fn a_successor_that_is_not_ready_in_time_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("pid");
    let script = format!("echo $$ > {}; exec sleep 600", mark.display());
    let sleeps = Program::new("sh", ["-c", &script]);
    let handover = Handover::new(Os::shared(), sleeps).with_ready_max(Duration::from_secs(1));
    let (mut tcp, addr) = listen(&handover, "127.0.0.1:0").await;
    let error = handover.pass_on().await.unwrap_err();
    assert!(matches!(error, HandoverError::Silent(_)), "{error}");
    let pid = std::fs::read_to_string(mark).unwrap();
    assert!(!std::fs::exists(format!("/proc/{}", pid.trim())).unwrap(), "killed, and collected");
    nothing_changed(&handover, &mut *tcp, &addr).await;
}

#[tokio::test]
async fn giving_up_on_a_successor_kills_it() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("pid");
    let script = format!("echo $$ > {}; exec sleep 600", mark.display());
    let handover = Handover::new(Os::shared(), Program::new("sh", ["-c", &script]));
    let (_tcp, _) = listen(&handover, "127.0.0.1:0").await;
    let started = async {
        while !std::fs::read_to_string(&mark).is_ok_and(|pid| pid.ends_with('\n')) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        outcome = handover.pass_on() => panic!("{outcome:?}"),
        () = started => {}
    }
    let pid = std::fs::read_to_string(mark).unwrap();
    let process = format!("/proc/{}", pid.trim());
    let gone = tokio::time::timeout(PATIENCE, async {
        while std::fs::exists(&process).unwrap() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    gone.await.expect("killed, and collected by the runtime");
}

#[tokio::test]
async fn a_program_that_is_not_there_and_a_server_without_sockets_are_errors() {
    let nowhere = Handover::new(Os::shared(), Program::new("/nonexistent/highball", [""; 0]));
    assert!(matches!(nowhere.pass_on().await, Err(HandoverError::NoSocket)));
    let (mut tcp, addr) = listen(&nowhere, "127.0.0.1:0").await;
    match nowhere.pass_on().await.unwrap_err() {
        HandoverError::Start(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
        other => panic!("{other}"),
    }
    nothing_changed(&nowhere, &mut *tcp, &addr).await;
}

#[tokio::test]
async fn systemd_hears_of_the_new_process_before_it_serves_and_without_that_it_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let handover =
        predecessor("a_successor_that_serves").with_notifier(Notifier::new(Some(path.clone().into())));
    let (tcp, addr) = listen(&handover, "127.0.0.1:0").await;
    let pid = handover.pass_on().await.unwrap();
    let mut message = [0; 64];
    let read = manager.recv(&mut message).unwrap();
    assert_eq!(std::str::from_utf8(&message[..read]).unwrap(), format!("MAINPID={pid}"));
    drop(tcp);
    assert!(said(connect(&addr)).starts_with(&pid.to_string()));
    drop(manager);

    let handover = predecessor("a_successor_that_serves").with_notifier(Notifier::new(Some(path.into())));
    let (mut tcp, addr) = listen(&handover, "127.0.0.1:0").await;
    assert!(matches!(handover.pass_on().await, Err(HandoverError::Supervisor(_))));
    nothing_changed(&handover, &mut *tcp, &addr).await;
}

/// Whether this process was started by one of the tests above; as one test among others, a successor does nothing.
fn is_successor() -> bool {
    std::env::var("LISTEN_FDNAMES").is_ok_and(|names| names.ends_with(":highball.handover"))
}

/// Says who it is and how it came, until nobody has come for two seconds.
#[test]
fn a_successor_that_serves() {
    if !is_successor() {
        return;
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap();
    let (sockets, old) = handover::inherited(ListenFd::from_env(), Some(&names)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        assert!(old.is_some());
        let activated = Arc::new(Activated::new(Os::shared(), sockets));
        let handover = Handover::new(activated.clone(), Program::new("none", [""; 0])).with_predecessor(old);
        let mut listeners = Vec::new();
        for (_, addr) in activated.unclaimed() {
            // Any port is the one that the predecessor had.
            let wanted = match addr {
                ListenAddr::Tcp(_) => "127.0.0.1:0".parse().unwrap(),
                unix => unix,
            };
            listeners.push(handover.bind(&wanted).await.unwrap());
        }
        assert!(activated.unclaimed().is_empty());
        assert!(matches!(handover.pass_on().await, Err(HandoverError::NotServing)), "not yet");
        assert_eq!(handover.take_over(ready(())).await, TakeOver::Passed);
        assert_eq!(handover.take_over(pending()).await, TakeOver::Nobody, "it was replaced once");
        let text = std::process::id().to_string();
        let serve = |mut listener: Box<dyn Listener>| {
            let text = text.clone();
            async move {
                let quiet = Duration::from_secs(2);
                while tokio::time::timeout(quiet, greet(&mut *listener, &text)).await.is_ok() {}
            }
        };
        futures_util::future::join_all(listeners.into_iter().map(serve)).await;
    });
}

#[test]
fn a_successor_that_ends() {
    if is_successor() {
        #[expect(clippy::exit, reason = "that is what it is for")]
        std::process::exit(3);
    }
}

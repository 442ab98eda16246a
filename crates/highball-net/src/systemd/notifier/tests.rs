//! What a service manager hears, on a datagram socket of its own.

use std::cell::Cell;

use super::*;

/// A socket that stands in for systemd, at a path.
fn manager() -> (tempfile::TempDir, UnixDatagram, Notifier) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    (dir, socket, Notifier::new(Some(path.into())))
}

fn heard(socket: &UnixDatagram) -> Option<String> {
    let mut buf = [0; 4096];
    socket.try_recv(&mut buf).ok().map(|read| String::from_utf8(buf[..read].to_vec()).unwrap())
}

#[tokio::test]
async fn the_manager_hears_each_state_in_its_own_datagram() {
    let (_dir, socket, notifier) = manager();
    notifier.ready().await.unwrap();
    notifier.status("serving 2 RPCs\nREADY=0").await.unwrap();
    notifier.stopping().await.unwrap();
    notifier.main_pid(42).await.unwrap();
    let mut messages = Vec::new();
    for _ in 0..4 {
        let mut buf = [0; 4096];
        let read = socket.recv(&mut buf).await.unwrap();
        messages.push(String::from_utf8(buf[..read].to_vec()).unwrap());
    }
    assert_eq!(messages, ["READY=1", "STATUS=serving 2 RPCs READY=0", "STOPPING=1", "MAINPID=42"]);
}

#[tokio::test]
async fn a_long_status_is_cut_at_a_character() {
    let (_dir, socket, notifier) = manager();
    notifier.status(&"ä".repeat(4000)).await.unwrap();
    socket.readable().await.unwrap();
    assert_eq!(heard(&socket).unwrap(), format!("STATUS={}", "ä".repeat(512)));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_name_in_the_abstract_namespace_is_understood() {
    let name = format!("highball-notify-{}", std::process::id());
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None).unwrap();
    socket.bind(&SockAddr::unix(format!("\0{name}")).unwrap()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let socket = UnixDatagram::from_std(socket.into()).unwrap();
    Notifier::new(Some(format!("@{name}").into())).ready().await.unwrap();
    socket.readable().await.unwrap();
    assert_eq!(heard(&socket).as_deref(), Some("READY=1"));
}

#[tokio::test]
async fn without_a_manager_everything_succeeds_and_one_that_is_gone_is_an_error() {
    for nobody in [Notifier::new(None), Notifier::new(Some(OsString::new()))] {
        assert!(!nobody.is_heard());
        nobody.ready().await.unwrap();
    }
    let (dir, socket, notifier) = manager();
    drop((dir, socket));
    assert!(notifier.ready().await.is_err());
    let vsock = Notifier::new(Some("vsock:2:1234".into()));
    assert_eq!(vsock.ready().await.unwrap_err().kind(), io::ErrorKind::Unsupported);
}

#[tokio::test(start_paused = true)]
async fn the_watchdog_pings_at_half_the_timeout_while_alive_and_is_silent_otherwise() {
    let (_dir, socket, notifier) = manager();
    let alive = Cell::new(true);
    let pings = || std::iter::from_fn(|| heard(&socket)).inspect(|m| assert_eq!(m, "WATCHDOG=1")).count();
    let watchdog = notifier.watchdog(Duration::from_secs(10), || alive.get());
    let script = async {
        let at = |secs| tokio::time::sleep(Duration::from_secs(secs));
        at(1).await;
        socket.readable().await.unwrap();
        assert_eq!(pings(), 1, "at once");
        at(20).await;
        assert_eq!(pings(), 4, "after 5, 10, 15 and 20 s");
        alive.set(false);
        at(20).await;
        assert_eq!(pings(), 0, "not alive");
        alive.set(true);
        at(5).await;
        assert_eq!(pings(), 1, "alive again");
    };
    tokio::select! {
        error = watchdog => panic!("{error}"),
        () = script => {}
    }
}

#[tokio::test(start_paused = true)]
async fn the_watchdog_ends_with_the_error_when_nobody_is_there_to_hear() {
    let (dir, socket, notifier) = manager();
    drop((dir, socket));
    let error = notifier.watchdog(Duration::from_secs(10), || true).await;
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    let nobody = Notifier::default();
    let never = nobody.watchdog(Duration::from_secs(10), || true);
    assert!(tokio::time::timeout(Duration::from_secs(100), never).await.is_err());
}

#[test]
fn the_watchdog_timeout_is_ours_only_with_our_process_id() {
    let own = std::process::id().to_string();
    assert_eq!(watchdog_timeout(Some("30000000"), None), Some(Duration::from_secs(30)));
    assert_eq!(watchdog_timeout(Some("30000000"), Some(&own)), Some(Duration::from_secs(30)));
    for (usec, pid) in
        [(Some("30000000"), Some("1")), (Some("0"), None), (Some("x"), None), (None, Some(&*own))]
    {
        assert_eq!(watchdog_timeout(usec, pid), None, "{usec:?} {pid:?}");
    }
}

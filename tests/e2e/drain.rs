//! Drain: announced, patient, and always over.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use highball::core::envelope::seal;
use highball::net::systemd::{Activated, Inherited};
use highball::net::{Os, Phase};
use highball::{Body, Code, Drain, Health, ListenAddr, Settings};
use highball_testkit::{Client, TestServer, stub};
use http::{Request, Response};
use http_body::Frame;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::{GET, WATCH, host, pong};

fn quick() -> Settings {
    Settings {
        lame_duck: Duration::from_millis(100),
        drain_timeout: Duration::from_millis(300),
        ..Settings::default()
    }
}

async fn stall(_: Request<Body>) -> Response<Body> {
    stub::frames(stream::iter([Ok(Frame::data(seal(b"one")))]).chain(stream::pending()))
}

#[tokio::test]
async fn what_is_in_flight_finishes_and_is_counted() {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (enter, wait) = (entered.clone(), release.clone());
    let slow = move |_: Request<Body>| {
        let (enter, wait) = (enter.clone(), wait.clone());
        async move {
            enter.notify_one();
            wait.notified().await;
            stub::messages(&[b"done"])
        }
    };
    let settings = Settings { drain_timeout: Duration::from_secs(30), ..quick() };
    let mut server = TestServer::start(host(slow).with_settings(settings)).await;
    let client = server.client().await;
    let call = tokio::spawn(async move { client.unary(GET, b"").await });
    entered.notified().await;
    server.stop();
    server.drain.listen().begun().await;
    release.notify_one();
    assert_eq!(call.await.unwrap().code(), Code::Ok);
    let report = server.drained().await;
    assert_eq!((report.finished, report.cut, report.exit_code()), (1, 0, 0));
}

#[tokio::test]
async fn the_lame_duck_says_not_ready_and_still_takes_new_connections() {
    let settings = Settings { lame_duck: Duration::from_secs(1), ..quick() };
    let mut server = TestServer::start(host(pong).with_settings(settings)).await;
    server.stop();
    while server.health.readiness().is_ok() {
        tokio::task::yield_now().await;
    }
    let client = server.client().await;
    assert_eq!(client.unary(GET, b"").await.code(), Code::Ok);
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn a_stream_that_does_not_end_is_cut_with_unavailable_trailers() {
    let mut server = TestServer::start(host(stall).with_settings(quick())).await;
    let client = server.client().await;
    let (outbound, mut answer) = client.open(WATCH, &[]).await.head().await;
    assert_eq!(answer.message().await.unwrap().unwrap(), "one");
    server.stop();
    assert_eq!(answer.message().await.unwrap(), None, "trailers, not a reset");
    assert_eq!(answer.status().unwrap().code(), Code::Unavailable);
    drop((outbound, answer));
    let report = server.drained().await;
    assert_eq!((report.cut, report.exit_code()), (1, 1));
}

#[tokio::test]
async fn a_drain_that_hands_over_takes_no_lame_duck_stays_ready_and_leaves_new_connections_to_the_other() {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (enter, wait) = (entered.clone(), release.clone());
    let slow = move |_: Request<Body>| {
        let (enter, wait) = (enter.clone(), wait.clone());
        async move {
            enter.notify_one();
            wait.notified().await;
            stub::messages(&[b"done"])
        }
    };
    // The other process: descriptors of its own for the same sockets.
    let others = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let addrs = others.each_ref().map(|other| other.local_addr().unwrap());
    let shared =
        others.each_ref().map(|other| Inherited::new("", other.try_clone().unwrap().into()).unwrap());
    let settings =
        Settings { lame_duck: Duration::from_secs(600), drain_timeout: Duration::from_secs(60), ..quick() };
    let (health, drain) = (Health::new(), Arc::new(Drain::new()));
    let bound = host(slow)
        .with_settings(settings)
        .with_health(health.clone())
        .with_drain(drain.clone())
        .with_platform(Arc::new(Activated::new(Os::shared(), shared.into())))
        .listen(ListenAddr::Tcp(addrs[0]))
        .admin(ListenAddr::Tcp(addrs[1]))
        .bind()
        .await
        .unwrap();
    let run = tokio::spawn(bound.run(std::future::pending()));
    let client = Client::tcp(addrs[0]).await;
    let call = tokio::spawn(async move { client.unary(GET, b"").await });
    entered.notified().await;
    drain.hand_over();
    // The accept loops hear of it when they run next, and would take what comes then.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(health.readiness(), Ok(()), "the service is: elsewhere");
    for (other, addr) in others.iter().zip(addrs) {
        let client = std::net::TcpStream::connect(addr).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        other.set_nonblocking(true).unwrap();
        let (_, peer) = other.accept().expect("nobody else took it");
        assert_eq!(peer, client.local_addr().unwrap());
    }
    release.notify_one();
    assert_eq!(call.await.unwrap().code(), Code::Ok);
    let report = tokio::time::timeout(Duration::from_secs(30), run).await.expect("no lame duck").unwrap();
    assert_eq!((report.finished, report.exit_code()), (1, 0));
}

#[tokio::test]
async fn a_client_is_told_to_go_away_and_its_connection_closes_in_order() {
    let mut server = TestServer::start(host(pong).with_settings(quick())).await;
    let client = server.client().await;
    assert_eq!(client.unary(GET, b"").await.code(), Code::Ok);
    server.stop();
    client.closed().await.expect("an orderly end");
    assert_eq!(server.drained().await.connections_cut, 0);
}

#[tokio::test]
async fn a_client_that_never_finished_its_preface_does_not_hold_the_drain() {
    let settings = Settings { drain_timeout: Duration::from_secs(60), ..quick() };
    let server = TestServer::start(host(pong).with_settings(settings)).await;
    let silent = TcpStream::connect(server.addr()).await.unwrap();
    while !server.telemetry.render().contains("connections_open 1") {
        tokio::task::yield_now().await;
    }
    let report =
        tokio::time::timeout(Duration::from_secs(20), server.drained()).await.expect("the drain ends");
    assert_eq!(report.cut, 0);
    drop(silent);
}

#[tokio::test]
async fn forcing_skips_the_rest_of_the_drain() {
    let settings = Settings { lame_duck: Duration::from_secs(600), ..quick() };
    let server = TestServer::start(host(stall).with_settings(settings)).await;
    let client = server.client().await;
    let (_outbound, mut answer) = client.open(WATCH, &[]).await.head().await;
    assert_eq!(answer.message().await.unwrap().unwrap(), "one");
    let report = tokio::time::timeout(Duration::from_secs(20), server.forced()).await.expect("no waiting");
    assert_eq!(report.cut, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_abort_cuts_is_in_the_report_and_nothing_outlives_the_run() {
    // A caller that does not read: no trailers reach it, and its stream ends with the connection.
    let gush = |_| async { stub::frames(stream::repeat_with(|| Ok(Frame::data(seal(&[7; 60_000]))))) };
    for _ in 0..3 {
        let server = TestServer::start(host(gush).with_settings(quick())).await;
        let client = server.client().await;
        let (_outbound, _unread) = client.open(WATCH, &[]).await.head().await;
        // The end of `drained` looks for leaks at the moment the run is over.
        let report = server.drained().await;
        assert_eq!((report.finished, report.cut, report.exit_code()), (0, 1, 1), "{report}");
    }
}

#[tokio::test]
async fn probes_in_the_lame_duck_are_no_work_that_the_drain_saved() {
    let settings = Settings { lame_duck: Duration::from_secs(600), ..quick() };
    let mut server = TestServer::start(host(pong).with_settings(settings)).await;
    let client = server.client().await;
    server.stop();
    while server.health.readiness().is_ok() {
        tokio::task::yield_now().await;
    }
    for _ in 0..3 {
        assert_eq!(client.unary("/grpc.health.v1.Health/Check", b"").await.code(), Code::Ok);
    }
    assert_eq!(client.unary(GET, b"").await.code(), Code::Ok);
    drop(client);
    server.drain.advance(Phase::Draining);
    let report = server.drained().await;
    assert_eq!((report.finished, report.cut), (1, 0));
}

#[tokio::test]
async fn whoever_holds_the_drain_can_begin_it() {
    for phase in [Phase::LameDuck, Phase::Draining, Phase::Forced] {
        let (drain, health) = (Arc::new(Drain::new()), Health::new());
        let any: ListenAddr = "127.0.0.1:0".parse().unwrap();
        let server = host(pong).with_settings(quick()).listen(any);
        let bound = server.with_drain(drain.clone()).with_health(health.clone()).bind().await.unwrap();
        let ListenAddr::Tcp(addr) = bound.addrs()[0].clone() else { panic!("a TCP address was asked for") };
        let nobody_stops_it = std::future::pending();
        let begin = async {
            let client = Client::tcp(addr).await;
            assert_eq!(client.unary(GET, b"").await.code(), Code::Ok);
            assert_eq!(health.readiness(), Ok(()));
            drain.advance(phase);
        };
        let whole = async { tokio::join!(bound.run(nobody_stops_it), begin) };
        let (report, ()) = tokio::time::timeout(Duration::from_secs(20), whole)
            .await
            .unwrap_or_else(|_| panic!("{phase:?} does not end the run"));
        assert_eq!(report.exit_code(), 0, "{phase:?}: {report}");
        assert!(health.readiness().is_err(), "{phase:?}");
    }
}

//! Connections that come while the server leaves: none of them is closed without a word.

use std::time::Duration;

use highball::net::Phase;
use highball::{Code, Settings};
use highball_testkit::TestServer;
use highball_testkit::raw::{Frame, PREFACE, Raw, frame, grpc_request, kind};
use tokio::net::TcpStream;

use crate::{GET, echo, host, pong};

const NO_ERROR: u32 = 0;
const ACK: u8 = 1;

/// Preface, SETTINGS and a call.
fn hello() -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(kind::SETTINGS, 0, 0, &[]));
    bytes.extend(grpc_request(1, GET, b""));
    bytes
}

fn answers_the_call(frame: &Frame) -> bool {
    frame.kind == kind::HEADERS && frame.stream == 1
}

/// Waits until the server has `count` RPC connections.
async fn connected(server: &TestServer, count: usize) {
    let line = format!("connections_open {count}\n");
    while !server.telemetry.render().contains(&line) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_client_that_speaks_only_after_the_drain_began_is_told_to_go_away() {
    let settings = Settings { lame_duck: Duration::from_secs(600), ..Settings::default() };
    let mut server = TestServer::start(host(pong).with_settings(settings)).await;
    server.stop();
    while server.health.readiness().is_ok() {
        tokio::task::yield_now().await;
    }
    let mut raw = Raw::silent(server.addr()).await;
    connected(&server, 1).await;
    server.drain.advance(Phase::Draining);
    let patience = tokio::time::timeout(Duration::from_millis(100), raw.next()).await;
    assert!(patience.is_err(), "the server waits for the preface: {patience:?}");

    let mut preface = PREFACE.to_vec();
    preface.extend(frame(kind::SETTINGS, 0, 0, &[]));
    raw.send(&preface).await;
    let first = raw.next().await.expect("not a bare end of the connection");
    assert_eq!(first.kind, kind::SETTINGS);
    let last = raw.ended().await;
    assert_eq!(last.map(|(code, _)| code), Some(NO_ERROR));
    assert_eq!(server.drained().await.connections_cut, 0);
}

#[tokio::test]
async fn a_call_on_a_connection_that_spoke_too_late_is_still_answered() {
    // The first GOAWAY only announces: what the client sent before it heard of it is served.
    let settings = Settings { lame_duck: Duration::from_secs(600), ..Settings::default() };
    let mut server = TestServer::start(host(pong).with_settings(settings)).await;
    server.stop();
    let mut raw = Raw::silent(server.addr()).await;
    connected(&server, 1).await;
    server.drain.advance(Phase::Draining);
    raw.send(&hello()).await;
    let (mut answered, mut told) = (false, None);
    while let Some(said) = raw.next().await {
        answered |= answers_the_call(&said);
        told = said.goaway().or(told);
        // The final GOAWAY waits for this: by then the client has heard the announcement.
        if said.kind == kind::PING && said.flags & ACK == 0 {
            raw.send(&frame(kind::PING, ACK, 0, &said.payload)).await;
        }
    }
    assert!(answered);
    assert_eq!(told.map(|(code, _)| code), Some(NO_ERROR));
    assert_eq!(server.drained().await.finished, 1);
}

#[tokio::test]
async fn connections_the_kernel_took_in_before_the_drain_are_served() {
    let server = echo().await;
    // One round trip, so that the server waits for connections when they come.
    assert_eq!(server.client().await.unary(GET, b"").await.code(), Code::Ok);
    connected(&server, 0).await;
    // On this one thread the server does not run while these connect: they wait in the backlog.
    let waiting: Vec<std::net::TcpStream> =
        (0..20).map(|_| std::net::TcpStream::connect(server.addr()).unwrap()).collect();
    server.drain.advance(Phase::Draining);
    let mut clients = Vec::new();
    for io in waiting {
        io.set_nonblocking(true).unwrap();
        let mut raw = Raw::over(TcpStream::from_std(io).unwrap());
        raw.send(&hello()).await;
        clients.push(raw);
    }
    for (n, raw) in clients.iter_mut().enumerate() {
        let said = raw.find(|frame| answers_the_call(frame) || frame.kind == kind::GOAWAY).await;
        assert!(said.is_some(), "connection {n} was closed without a word");
    }
    drop(clients);
    server.drained().await;
}

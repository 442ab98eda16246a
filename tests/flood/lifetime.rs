//! Connections that are idle, old, or kept alive.

use std::time::Duration;

use highball::Code;
use highball_testkit::raw::{frame, grpc_request, kind};

use crate::lab::Lab;
use crate::{GET, WATCH, with};

const SOON: Duration = Duration::from_millis(300);

/// A quiet stream is wanted here: health's Watch says one thing and waits.
const QUIET: &str = "/grpc.health.v1.Health/Watch";

#[tokio::test]
async fn an_idle_connection_is_told_max_idle_and_closed_in_two_steps() {
    let lab = Lab::open(with(|connection| connection.idle_max = SOON)).await;
    let mut idle = lab.attacker(&[]).await;
    let first = idle.find(|frame| frame.kind == kind::GOAWAY).await.unwrap();
    assert_eq!(first.goaway().unwrap(), (0, "max_idle".to_owned()));
    assert_eq!(&first.payload[..4], [0x7f, 0xff, 0xff, 0xff], "nothing that is under way is refused");
    let ping = idle.find(|frame| frame.kind == kind::PING).await.unwrap();
    idle.send(&frame(kind::PING, 1, 0, &ping.payload)).await;
    let last = idle.find(|frame| frame.kind == kind::GOAWAY).await.unwrap();
    assert_eq!(&last.payload[..4], [0, 0, 0, 0], "the last stream that was taken");
    assert_eq!(idle.next().await, None);
    lab.aftermath(idle).await;
}

#[tokio::test]
async fn a_connection_with_an_open_stream_is_not_idle() {
    let lab = Lab::open(with(|connection| connection.idle_max = SOON)).await;
    let client = lab.server.client().await;
    let mut call = client.open(QUIET, &[]).await;
    call.send(b"").await;
    let mut answer = call.half_closed().await;
    assert!(answer.message().await.unwrap().is_some());
    tokio::time::sleep(3 * SOON).await;
    lab.server.health.set_serving("", false);
    assert!(answer.message().await.unwrap().is_some(), "the stream is still there");
    lab.aftermath((answer, client)).await;
}

#[tokio::test]
async fn an_old_connection_is_told_max_age_and_its_calls_finish() {
    let lab = Lab::open(with(|connection| connection.age_max = SOON)).await;
    let mut old = lab.attacker(&[]).await;
    let told = old.find(|frame| frame.kind == kind::GOAWAY).await.unwrap();
    assert_eq!(told.goaway().unwrap(), (0, "max_age".to_owned()));
    // Sent before the client could know: it must still be served.
    old.send(&grpc_request(1, GET, b"ping")).await;
    old.find(|frame| frame.stream == 1 && frame.kind == kind::DATA).await.expect("an answer");
    let fresh = lab.server.client().await;
    assert_eq!(fresh.unary(GET, b"ping").await.code(), Code::Ok);
    lab.aftermath((old, fresh)).await;
}

#[tokio::test]
async fn a_stream_that_outlives_the_grace_ends_with_unavailable_trailers() {
    let settings = with(|connection| {
        connection.age_max = SOON;
        connection.age_grace = SOON;
    });
    let lab = Lab::open(settings).await;
    let client = lab.server.client().await;
    let mut answer = client.open(WATCH, &[]).await.half_closed().await;
    while answer.message().await.expect("no reset").is_some() {}
    assert_eq!(answer.status().unwrap().code(), Code::Unavailable);
    lab.aftermath((answer, client)).await;
}

#[tokio::test]
async fn a_client_that_answers_no_keepalive_is_closed() {
    let settings = with(|connection| {
        connection.keepalive_time = SOON;
        connection.keepalive_timeout = SOON;
    });
    let lab = Lab::open(settings).await;
    let mut dead = lab.attacker(&[]).await;
    assert!(dead.find(|frame| frame.kind == kind::PING && frame.flags == 0).await.is_some(), "it was asked");
    assert!(dead.find(|frame| frame.kind == kind::DATA).await.is_none(), "and closed");
    lab.aftermath(dead).await;
}

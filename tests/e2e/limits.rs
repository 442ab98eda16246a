//! Messages and concurrency are bounded, and a refusal says by what.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use highball::core::envelope::seal;
use highball::{Body, Code, Settings};
use highball_testkit::client::grpc_request;
use highball_testkit::{TestServer, stub};
use http::Request;
use http_body::Frame;
use tokio::sync::Notify;

use crate::{GET, WATCH, echo, host, pong};

fn small() -> Settings {
    Settings { message_size_bytes_max: 1000, ..Settings::default() }
}

#[tokio::test]
async fn an_oversized_request_names_both_sizes_and_the_setting() {
    let server = TestServer::start(host(pong).with_settings(small())).await;
    let client = server.client().await;
    let reply = client.unary(GET, &[0; 1001]).await;
    assert_eq!(reply.code(), Code::ResourceExhausted);
    for part in ["1001", "1000", "message_size_bytes_max"] {
        assert!(reply.status().message().contains(part), "{}", reply.status());
    }
    assert_eq!(client.unary(GET, &[0; 1000]).await.code(), Code::Ok);
    assert!(server.telemetry.render().contains("limit_hits_total{limit=\"inbound_message_size\"} 1"));
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn an_oversized_response_is_refused_too() {
    let big = |_: Request<Body>| async { stub::messages(&[b"fits", &[0; 2000]]) };
    let server = TestServer::start(host(big).with_settings(small())).await;
    let client = server.client().await;
    let reply = client.unary(GET, b"").await;
    assert_eq!((reply.code(), reply.messages.len()), (Code::ResourceExhausted, 1));
    assert!(reply.status().message().contains("2000"), "{}", reply.status());
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn a_request_that_announces_more_than_it_sends_is_answered_at_once() {
    let server = echo().await;
    let client = server.client().await;
    let reply = client.raw(grpc_request(GET, &[]), Bytes::from_static(&[0, 0, 0, 0, 9, 1, 2])).await;
    assert_eq!(reply.code(), Code::Internal);
    assert!(reply.status().message().contains("inside a message"), "{}", reply.status());
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn one_rpc_too_many_is_refused_while_health_still_answers() {
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
    let settings = Settings { concurrent_rpcs_max: 1, ..Settings::default() };
    let server = TestServer::start(host(slow).with_settings(settings)).await;
    let client = Arc::new(server.client().await);
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.unary(GET, b"").await }
    });
    entered.notified().await;
    let refused = client.unary(GET, b"").await;
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(
        refused.trailers_only && refused.status().message().contains("concurrent_rpcs_max"),
        "{refused:?}"
    );
    assert_eq!(client.unary("/grpc.health.v1.Health/Check", b"").await.code(), Code::Ok);
    release.notify_one();
    assert_eq!(first.await.unwrap().code(), Code::Ok);
    assert!(server.telemetry.render().contains("limit_hits_total{limit=\"concurrent_rpcs\"} 1"));
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn a_cancelled_call_frees_its_permit_and_is_recorded_as_cancelled() {
    let entered = Arc::new(Notify::new());
    let enter = entered.clone();
    let hang_first = move |_: Request<Body>| {
        let enter = enter.clone();
        async move {
            enter.notify_one();
            std::future::pending().await
        }
    };
    let settings = Settings { concurrent_rpcs_max: 1, ..Settings::default() };
    let server = TestServer::start(host(hang_first).with_settings(settings)).await;
    let client = server.client().await;
    let call = client.open(GET, &[]).await;
    entered.notified().await;
    drop(call);
    let cancelled = "grpc_requests_total{method=\"shop.v1.Shop/Get\",code=\"CANCELLED\"} 1";
    while !server.telemetry.render().contains(cancelled) {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let second = client.open(GET, &[]).await;
    entered.notified().await;
    drop((second, client));
    server.forced().await;
}

#[tokio::test]
async fn a_method_nobody_described_is_metered_under_one_label() {
    let server = echo().await;
    let client = server.client().await;
    for path in ["/a.B/C", "/a.B/D", "/scanner.X/1"] {
        assert_eq!(client.unary(path, b"").await.code(), Code::Ok);
    }
    let page = server.telemetry.render();
    assert!(page.contains("grpc_requests_total{method=\"_OTHER\",code=\"OK\"} 3"), "{page}");
    assert!(!page.contains("scanner"), "{page}");
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn a_watch_on_health_takes_a_place_and_probes_take_none() {
    let settings = Settings { concurrent_rpcs_max: 1, ..Settings::default() };
    let server = TestServer::start(host(pong).with_settings(settings)).await;
    let client = server.client().await;
    let mut watch = client.open("/grpc.health.v1.Health/Watch", &[]).await;
    watch.send(b"").await;
    let mut watching = watch.half_closed().await;
    assert!(watching.message().await.unwrap().is_some());
    for path in ["/grpc.health.v1.Health/Watch", GET] {
        let reply = client.call(path, &[("grpc-timeout", "10S")], &[b""]).await;
        assert_eq!(reply.code(), Code::ResourceExhausted, "{path}");
    }
    for path in ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/List"] {
        assert_eq!(client.unary(path, b"").await.code(), Code::Ok, "{path}");
    }
    drop((watching, client));
    server.drained().await;
}

/// Gives the request to another task and looks at it no more.
fn given_away(request: Request<Body>) {
    use http_body_util::BodyExt as _;
    tokio::spawn(async move { request.into_body().collect().await.is_ok() });
}

#[tokio::test]
async fn a_broken_rule_ends_an_rpc_whose_service_waits_for_something_else() {
    // The service does not look at its request: a task of its own does.
    let before_the_head = |request| async {
        given_away(request);
        std::future::pending().await
    };
    let after_a_message = |request| async {
        given_away(request);
        let one = stream::iter([Ok(Frame::data(seal(b"one")))]);
        stub::frames(one.chain(stream::pending()))
    };
    let waits = TestServer::start(host(before_the_head).with_settings(small())).await;
    let streams = TestServer::start(host(after_a_message).with_settings(small())).await;
    for (server, path) in [(waits, GET), (streams, WATCH)] {
        let client = server.client().await;
        // Nothing else would end these: one has no deadline, the other the default of 30 s.
        let call = client.unary(path, &[0; 1001]);
        let reply = tokio::time::timeout(Duration::from_secs(10), call).await.expect("an answer at once");
        assert_eq!(reply.code(), Code::ResourceExhausted, "{path}: {reply:?}");
        assert!(reply.broken.is_none(), "{path}: {reply:?}");
        drop(client);
        server.drained().await;
    }
}

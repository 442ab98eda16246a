//! Deadlines: parsed, defaulted, capped, and enforced on calls and on streams.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use highball::core::envelope::seal;
use highball::{Body, Code, Rpc, Settings, current};
use highball_testkit::{TestServer, stub};
use http::{Request, Response};
use http_body::Frame;

use crate::{GET, WATCH, host};

async fn hang(_: Request<Body>) -> Response<Body> {
    std::future::pending().await
}

/// One message, then silence.
async fn stall(_: Request<Body>) -> Response<Body> {
    stub::frames(stream::iter([Ok(Frame::data(seal(b"one")))]).chain(stream::pending()))
}

/// Always another message ready.
async fn gush(_: Request<Body>) -> Response<Body> {
    stub::frames(stream::repeat_with(|| Ok(Frame::data(seal(b"more")))))
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_deadline_exceeded_and_says_whose_deadline() {
    let server = TestServer::start(host(hang)).await;
    let client = server.client().await;
    let reply = client.call(GET, &[("grpc-timeout", "50m")], &[b""]).await;
    assert!(reply.trailers_only);
    assert_eq!(reply.code(), Code::DeadlineExceeded);
    assert!(reply.status().message().contains("50ms set by the caller"), "{}", reply.status());
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn a_silent_stream_ends_at_its_deadline_with_what_it_had_sent() {
    let server = TestServer::start(host(stall)).await;
    let client = server.client().await;
    let reply = client.call(WATCH, &[("grpc-timeout", "500m")], &[b""]).await;
    assert_eq!(reply.messages, ["one"]);
    assert_eq!(reply.code(), Code::DeadlineExceeded);
    assert!(reply.broken.is_none());
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn a_stream_that_never_pauses_ends_at_its_deadline_too() {
    let server = TestServer::start(host(gush)).await;
    let client = server.client().await;
    let reply = client.call(WATCH, &[("grpc-timeout", "500m")], &[b""]).await;
    assert_eq!(reply.code(), Code::DeadlineExceeded);
    assert!(!reply.messages.is_empty());
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn a_unary_call_without_a_deadline_gets_the_default_and_a_stream_does_not() {
    let settings = Settings { deadline_default: Duration::from_millis(50), ..Settings::default() };
    let server = TestServer::start(host(hang).with_settings(settings)).await;
    let client = server.client().await;
    let reply = client.unary(GET, b"").await;
    assert_eq!(reply.code(), Code::DeadlineExceeded);
    assert!(reply.status().message().contains("deadline_default"), "{}", reply.status());

    let stream = client.open(WATCH, &[]).await;
    tokio::time::timeout(Duration::from_millis(200), stream.head())
        .await
        .expect_err("nothing ends this stream");
    drop(client);
    server.forced().await;
}

#[tokio::test]
async fn a_longer_deadline_than_the_cap_is_shortened_for_unary_calls() {
    let settings = Settings {
        deadline_default: Duration::from_millis(50),
        deadline_cap: Duration::from_millis(50),
        ..Settings::default()
    };
    let server = TestServer::start(host(hang).with_settings(settings)).await;
    let client = server.client().await;
    let reply = client.call(GET, &[("grpc-timeout", "1H")], &[b""]).await;
    assert!(reply.status().message().contains("deadline_cap"), "{}", reply.status());
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn the_handler_sees_the_deadline_in_force() {
    let server = TestServer::start(host(|request: Request<Body>| async move {
        let rpc = Rpc::of(request.extensions()).cloned().expect("the walk wrote a record");
        stub::messages(&[format!("{} {:?}", rpc.method, rpc.deadline.unwrap().allowed()).as_bytes()])
    }));
    let server = server.await;
    let client = server.client().await;
    let reply = client.call(GET, &[("grpc-timeout", "7S")], &[b""]).await;
    assert_eq!(reply.messages, ["shop.v1.Shop/Get 7s"]);
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn a_malformed_deadline_is_an_error_and_a_spent_one_is_exceeded_at_once() {
    let server = TestServer::start(host(hang)).await;
    let client = server.client().await;
    let reply = client.call(GET, &[("grpc-timeout", "soon")], &[b""]).await;
    assert_eq!(reply.code(), Code::Internal);
    assert!(reply.status().message().contains("grpc-timeout"), "{}", reply.status());
    let reply = client.call(GET, &[("grpc-timeout", "0n")], &[b""]).await;
    assert_eq!(reply.code(), Code::DeadlineExceeded);
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn a_stream_that_is_silent_for_too_long_is_ended_and_one_that_speaks_is_not() {
    let idle = Duration::from_millis(200);
    let settings = Settings { stream_idle: idle, ..Settings::default() };
    let server = TestServer::start(host(stall).with_settings(settings.clone())).await;
    let client = server.client().await;
    let reply = client.unary(WATCH, b"").await;
    assert_eq!((reply.code(), reply.messages.len()), (Code::Unavailable, 1));
    assert!(reply.status().message().contains("stream_idle"), "{}", reply.status());
    drop(client);
    server.drained().await;

    let slow = |_: Request<Body>| async {
        let ticks = stream::unfold(0, |n| async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            (n < 12).then(|| (Ok(Frame::data(seal(b"tick"))), n + 1))
        });
        let end = Frame::trailers(highball::Status::new(Code::Ok, "").to_trailers());
        stub::frames(ticks.chain(stream::iter([Ok(end)])))
    };
    let server = TestServer::start(host(slow).with_settings(settings)).await;
    let client = server.client().await;
    let reply = client.unary(WATCH, b"").await;
    assert_eq!((reply.code(), reply.messages.len()), (Code::Ok, 12));
    drop(client);
    server.drained().await;
}

/// What a stream that falls silent ends with, when its handler allowed `silence`.
async fn silent(settings: &Settings, silence: Duration) -> (Code, String, Duration) {
    let answer = move |request: Request<Body>| async move {
        current::capture().expect("a handler runs in the scope of its RPC").allow_silence(silence);
        stall(request).await
    };
    let server = TestServer::start(host(answer).with_settings(settings.clone())).await;
    let client = server.client().await;
    let started = tokio::time::Instant::now();
    let reply = client.call(WATCH, &[("grpc-timeout", "3S")], &[b""]).await;
    let status = reply.status();
    drop(client);
    server.drained().await;
    (status.code(), status.message().to_owned(), started.elapsed())
}

#[tokio::test]
async fn a_handler_may_allow_its_stream_another_silence() {
    let minute = Duration::from_secs(60);
    let (short, long) = (Duration::from_millis(100), Duration::from_millis(600));
    let settings = |stream_idle| Settings { stream_idle, ..Settings::default() };

    // Shorter than the server's, and where the server has none.
    for stream_idle in [minute, Duration::ZERO] {
        let (code, message, took) = silent(&settings(stream_idle), short).await;
        assert_eq!(code, Code::Unavailable, "{message}");
        assert!(message.contains("100ms") && took >= short, "{message} after {took:?}");
    }
    // Longer.
    let (code, message, took) = silent(&settings(short), long).await;
    assert_eq!(code, Code::Unavailable, "{message}");
    assert!(message.contains("600ms") && took >= long, "{message} after {took:?}");
    // For ever: until the deadline.
    let (code, message, _) = silent(&settings(short), Duration::ZERO).await;
    assert_eq!(code, Code::DeadlineExceeded, "{message}");
}

#[tokio::test]
async fn a_handler_may_change_its_mind_and_a_unary_rpc_is_not_ended_for_its_silence() {
    let second = Duration::from_secs(1);
    let settings = Settings { stream_idle: Duration::from_millis(300), ..Settings::default() };
    let answer = move |_: Request<Body>| async move {
        let current = current::capture().expect("a handler runs in the scope of its RPC");
        current.allow_silence(Duration::ZERO);
        tokio::time::sleep(second).await;
        current.allow_silence(Duration::from_millis(50));
        tokio::time::sleep(second).await;
        stub::messages(&[b"late"])
    };
    let server = TestServer::start(host(answer).with_settings(settings)).await;
    let client = server.client().await;
    let reply = client.unary(WATCH, b"").await;
    assert_eq!(reply.code(), Code::Unavailable);
    assert!(reply.status().message().contains("50ms"), "{}", reply.status());
    assert_eq!(client.unary(GET, b"").await.messages, ["late"]);
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn a_method_may_have_limits_of_its_own_and_a_misspelled_one_stops_the_start() {
    let own = |methods: &str| highball::server::MethodSettings {
        methods: methods.to_owned(),
        deadline_default: Some(Duration::from_millis(50)),
        ..Default::default()
    };
    let settings = Settings { methods: vec![own("shop.v1.Shop/Watch")], ..Settings::default() };
    let server = TestServer::start(host(stall).with_settings(settings)).await;
    let client = server.client().await;
    assert_eq!(client.unary(WATCH, b"").await.code(), Code::DeadlineExceeded);
    drop(client);
    server.drained().await;

    let settings = Settings { methods: vec![own("shop.v1.Shop/Wacth")], ..Settings::default() };
    let any = "127.0.0.1:0".parse().unwrap();
    let refused = host(stall).with_settings(settings).listen(any).bind().await;
    assert!(refused.unwrap_err().to_string().contains("shop.v1.Shop/Wacth"));
}

//! A panic costs one RPC, and tells the peer nothing.

use futures_util::stream::{self, StreamExt as _};
use highball::core::envelope::seal;
use highball::{Body, Code, Status};
use highball_testkit::{TestServer, stub};
use http::{Request, Response};
use http_body::Frame;

use crate::{GET, WATCH, host};

async fn fragile(request: Request<Body>) -> Response<Body> {
    assert!(request.uri().path() != GET, "secret detail");
    let frames = stream::iter(0..2).map(|n| {
        assert!(n == 0, "secret detail");
        Ok(Frame::data(seal(b"one")))
    });
    stub::frames(frames)
}

#[tokio::test]
async fn a_panic_in_a_handler_is_internal_and_the_connection_survives() {
    let server = TestServer::start(host(fragile)).await;
    let client = server.client().await;
    for _ in 0..2 {
        let reply = client.unary(GET, b"").await;
        assert_eq!((reply.code(), reply.status().message()), (Code::Internal, "internal error"));
        assert!(reply.trailers_only);
    }
    assert!(server.telemetry.render().contains("grpc_handler_panics_total{method=\"shop.v1.Shop/Get\"} 2"));
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn a_panic_in_a_stream_keeps_what_was_sent_and_ends_with_internal_trailers() {
    let server = TestServer::start(host(fragile)).await;
    let client = server.client().await;
    let reply = client.unary(WATCH, b"").await;
    assert_eq!(reply.messages, ["one"]);
    assert_eq!((reply.code(), reply.status().message()), (Code::Internal, "internal error"));
    assert!(reply.broken.is_none(), "trailers, not a reset");
    assert_eq!(client.unary(WATCH, b"").await.code(), Code::Internal, "the connection survives");
    drop(client);
    server.drained().await;
}

/// Panics while it is dropped.
struct Fuse;

impl Drop for Fuse {
    fn drop(&mut self) {
        panic!("secret detail");
    }
}

const PANICS: &str = "grpc_handler_panics_total{method=\"shop.v1.Shop/";

/// Two calls on one connection: both get `want`, in trailers or instead of a body.
async fn ends_twice_with(server: TestServer, path: &str, headers: &[(&str, &str)], want: Code) {
    let client = server.client().await;
    for _ in 0..2 {
        let reply = client.call(path, headers, &[b""]).await;
        assert!(reply.broken.is_none(), "{path}: a reset: {reply:?}");
        assert_eq!(reply.code(), want, "{path}: {reply:?}");
        assert!(!reply.status().message().contains("secret"), "{path}: {reply:?}");
    }
    let page = server.telemetry.render();
    let panics = page.lines().find(|line| line.starts_with(PANICS));
    assert!(panics.is_some_and(|line| line.ends_with(" 2")), "{path}: {panics:?}");
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn a_handler_that_panics_while_it_is_cancelled_still_exceeds_its_deadline() {
    let hang = |_| async {
        let _fuse = Fuse;
        std::future::pending().await
    };
    let server = TestServer::start(host(hang)).await;
    ends_twice_with(server, GET, &[("grpc-timeout", "50m")], Code::DeadlineExceeded).await;
}

#[tokio::test]
async fn a_response_that_panics_while_it_is_cancelled_still_exceeds_its_deadline() {
    let stall = |_| async {
        let fuse = Fuse;
        let one = stream::iter([Ok(Frame::data(seal(b"one")))]);
        stub::frames(one.chain(stream::pending()).inspect(move |_| _ = &fuse))
    };
    let server = TestServer::start(host(stall)).await;
    ends_twice_with(server, WATCH, &[("grpc-timeout", "50m")], Code::DeadlineExceeded).await;
}

#[tokio::test]
async fn a_response_that_panics_after_its_end_keeps_its_own_status() {
    let refuse = |_| async {
        let fuse = Fuse;
        let end = Frame::trailers(Status::new(Code::NotFound, "no such order").to_trailers());
        let frames = stream::iter([Ok(Frame::data(seal(b"one"))), Ok(end)]);
        stub::frames(frames.inspect(move |_| _ = &fuse))
    };
    let server = TestServer::start(host(refuse)).await;
    ends_twice_with(server, WATCH, &[], Code::NotFound).await;
}

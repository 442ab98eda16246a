//! A panic costs one RPC, and tells the peer nothing.

use futures_util::stream::{self, StreamExt as _};
use highball::core::envelope::seal;
use highball::{Body, Code};
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
        assert_eq!(
            (reply.code(), reply.status().message()),
            (Code::Internal, "internal error")
        );
        assert!(reply.trailers_only);
    }
    assert!(
        server
            .telemetry
            .render()
            .contains("grpc_handler_panics_total{method=\"shop.v1.Shop/Get\"} 2")
    );
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn a_panic_in_a_stream_keeps_what_was_sent_and_ends_with_internal_trailers() {
    let server = TestServer::start(host(fragile)).await;
    let client = server.client().await;
    let reply = client.unary(WATCH, b"").await;
    assert_eq!(reply.messages, ["one"]);
    assert_eq!(
        (reply.code(), reply.status().message()),
        (Code::Internal, "internal error")
    );
    assert!(reply.broken.is_none(), "trailers, not a reset");
    assert_eq!(
        client.unary(WATCH, b"").await.code(),
        Code::Internal,
        "the connection survives"
    );
    drop(client);
    server.drained().await;
}

//! The server over real sockets, seen by a client that hides nothing.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests outside `#[test]` functions"
)]

mod arrivals;
mod cancel;
mod current;
mod deadline;
mod drain;
mod health;
mod limits;
mod listen;
mod overload;
mod panics;
mod passing;
mod recognise;
mod reflection;
mod resets;
mod rest;
mod trailers;
mod workers;

use highball::{Body, Server};
use highball_testkit::{TestServer, stub};
use highball_tests::SHOP_DESCRIPTORS;
use http::{Request, Response};

/// Unary.
const GET: &str = "/shop.v1.Shop/Get";
/// Server streaming.
const WATCH: &str = "/shop.v1.Shop/Watch";
/// Client streaming.
const UPLOAD: &str = "/shop.v1.Shop/Upload";
/// Bidirectional.
const CHAT: &str = "/shop.v1.Shop/Chat";

/// A server whose every method is `answer`.
fn host<A, F>(answer: A) -> Server
where
    A: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    Server::new(stub::service(answer)).with_descriptors(SHOP_DESCRIPTORS)
}

/// A running server that answers `pong` to everything it could read.
async fn echo() -> TestServer {
    TestServer::start(host(pong)).await
}

/// Reads the request to its end and answers `pong`, or fails its body when the request did.
async fn pong(request: Request<Body>) -> Response<Body> {
    use http_body_util::BodyExt as _;
    match request.into_body().collect().await {
        Ok(_) => stub::messages(&[b"pong"]),
        Err(error) => stub::frames(futures_util::stream::iter([Err(error)])),
    }
}

//! Backends in process, on real sockets.

use std::net::SocketAddr;

use highball::{Body, Server, Settings};
use highball_testkit::{TestServer, stub};
use highball_tests::SHOP_DESCRIPTORS;
use http::{Request, Response};
use http_body_util::BodyExt as _;

/// An address for a backend that comes back at the same place. Not that of the sockets which connect to it: these are given ports
/// of 127.0.0.1, one of which could be ours while nobody listens.
pub(crate) fn place() -> SocketAddr {
    let free = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    free.local_addr().unwrap()
}

/// A running server whose every method is `answer`, at a place of its own.
pub(crate) async fn host<A, F>(answer: A) -> TestServer
where
    A: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    TestServer::start(server(answer)).await
}

/// The same at a chosen address, which is the first of its addresses.
pub(crate) async fn host_at<A, F>(addr: SocketAddr, answer: A) -> TestServer
where
    A: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    TestServer::start(server(answer).listen(addr.to_string().parse().unwrap())).await
}

/// A server whose limits are above those of the edge, so that it is the edge that refuses.
pub(crate) fn server<A, F>(answer: A) -> Server
where
    A: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let settings = Settings { message_size_bytes_max: 64 << 20, ..Settings::default() };
    Server::new(stub::service(answer)).with_descriptors(SHOP_DESCRIPTORS).with_settings(settings)
}

/// A running server that reads its requests and answers with its `name`.
pub(crate) async fn named(name: &'static str) -> TestServer {
    host(move |request| async move { answered(request, name.as_bytes()).await }).await
}

/// Reads the request to its end, as services do, and answers one message.
pub(crate) async fn answered(request: Request<Body>, message: &[u8]) -> Response<Body> {
    match request.into_body().collect().await {
        Ok(_) => stub::messages(&[message]),
        Err(error) => stub::frames(futures_util::stream::iter([Err(error)])),
    }
}

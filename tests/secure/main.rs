//! Who may connect, and how often: TLS, mutual TLS and rates over real sockets.

#![expect(clippy::unwrap_used, reason = "helpers of tests outside `#[test]` functions")]

mod auth;
mod failures;
mod jwks;
mod probes;
mod proxied;
mod rates;
mod tls;

use highball::{Body, Rpc, Server};
use highball_testkit::stub;
use highball_tests::SHOP_DESCRIPTORS;
use http::{Request, Response};

const GET: &str = "/shop.v1.Shop/Get";
const CHECK: &str = "/grpc.health.v1.Health/Check";

/// A server that answers with the caller's name.
fn server() -> Server {
    Server::new(stub::service(name_the_caller)).with_descriptors(SHOP_DESCRIPTORS)
}

async fn name_the_caller(request: Request<Body>) -> Response<Body> {
    let rpc = Rpc::of(request.extensions()).expect("the walk wrote a record");
    stub::messages(&[rpc.caller.to_string().as_bytes()])
}

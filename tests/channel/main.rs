//! The channel over real sockets, against our own server and against peers that misbehave.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests outside `#[test]` functions"
)]

mod calls;
mod connections;
mod credentials;
mod deadlines;
mod goaway;
mod health;
mod hedges;
mod hostile;
mod lifetime;
mod limits;
mod outlier;
mod peer;
mod reports;
mod resolving;
mod retries;
mod scripted;
mod stress;
mod tls;

use std::time::Duration;

use bytes::Bytes;
use highball::core::envelope::seal;
use highball::{Body, Channel, Server, Status};
use highball_testkit::{TestServer, stub};
use highball_tests::SHOP_DESCRIPTORS;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};

/// Unary.
const GET: &str = "/shop.v1.Shop/Get";
/// Server streaming.
const WATCH: &str = "/shop.v1.Shop/Watch";
/// Bidirectional.
const CHAT: &str = "/shop.v1.Shop/Chat";

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running server whose every method is `answer`.
async fn host<A, F>(answer: A) -> TestServer
where
    A: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    TestServer::start(Server::new(stub::service(answer)).with_descriptors(SHOP_DESCRIPTORS)).await
}

/// A running server that answers with its `name`.
async fn named(name: &'static str) -> TestServer {
    host(move |request: Request<Body>| async move {
        // Read to the end, as services do.
        match request.into_body().collect().await {
            Ok(_) => stub::messages(&[name.as_bytes()]),
            Err(error) => stub::frames(futures_util::stream::iter([Err(error)])),
        }
    })
    .await
}

fn target(servers: &[&TestServer]) -> String {
    let addrs: Vec<String> = servers.iter().map(|server| server.addr().to_string()).collect();
    format!("static:///{}", addrs.join(","))
}

fn channel(servers: &[&TestServer]) -> Channel {
    Channel::new(&target(servers)).unwrap()
}

fn request(path: &str, message: &'static [u8]) -> Request<Full<Bytes>> {
    Request::post(path).header("content-type", "application/grpc").body(Full::new(seal(message))).unwrap()
}

/// What a call came to: its messages, unsealed, and its status.
#[derive(Debug)]
struct Outcome {
    messages: Vec<Bytes>,
    status: Status,
}

impl Outcome {
    async fn of(response: Response<Body>) -> Self {
        if let Some(status) = Status::from_headers(response.headers()) {
            return Self { messages: Vec::new(), status };
        }
        let collected = response.into_body().collect().await.expect("a channel's body never fails");
        let status = Status::from_headers(collected.trailers().expect("trailers")).expect("a status");
        let mut rest = collected.to_bytes();
        let mut messages = Vec::new();
        while rest.len() >= 5 {
            let size = u32::from_be_bytes(rest[1..5].try_into().unwrap()) as usize;
            messages.push(rest.slice(5..5 + size));
            rest = rest.slice(5 + size..);
        }
        Self { messages, status }
    }

    fn text(&self) -> String {
        self.messages.iter().map(|message| String::from_utf8_lossy(message)).collect()
    }
}

async fn call(channel: &Channel, request: Request<Full<Bytes>>) -> Outcome {
    let called = async { Outcome::of(channel.call(request).await).await };
    tokio::time::timeout(PATIENCE, called).await.expect("the call ends")
}

async fn get(channel: &Channel) -> Outcome {
    call(channel, request(GET, b"ping")).await
}

//! The flood lab: clients that break the rules, frame by frame, over real sockets.
//!
//! After each attack the reaction is the specified one, a normal RPC on a new connection works at once, and nothing is
//! left over. Waiting times are shortened by settings, never by the clock.

mod frames;
mod lifetime;
mod slow;

use std::time::Duration;

use highball::server::Settings;
use highball::{Body, Code, Server};
use highball_testkit::raw::Raw;
use highball_testkit::{TestServer, stub};
use highball_tests::SHOP_DESCRIPTORS;
use http::{Request, Response};

const GET: &str = "/shop.v1.Shop/Get";
const WATCH: &str = "/shop.v1.Shop/Watch";

/// The error code of a GOAWAY to a client that is asked to calm down.
const ENHANCE_YOUR_CALM: u32 = 11;

/// A server that answers `pong` to a unary call, and streams without end on the other methods.
async fn server(settings: Settings) -> TestServer {
    let server = Server::new(stub::service(answer)).with_descriptors(SHOP_DESCRIPTORS);
    TestServer::start(server.with_settings(settings)).await
}

async fn answer(request: Request<Body>) -> Response<Body> {
    use futures_util::stream::{self, StreamExt as _};
    use http_body_util::BodyExt as _;
    if request.uri().path() != GET {
        let envelope = highball::core::envelope::seal(&[7; 16 << 10]);
        return stub::frames(stream::repeat(envelope).map(|data| Ok(http_body::Frame::data(data))));
    }
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        if let Err(error) = frame {
            return stub::frames(stream::iter([Err(error)]));
        }
    }
    stub::messages(&[b"pong"])
}

/// Settings with one change to those of connections.
fn with(change: impl FnOnce(&mut highball::net::http::Settings)) -> Settings {
    let mut settings = Settings::default();
    change(&mut settings.connection);
    settings
}

/// The attacker was told why, the abuse was counted once, and everybody else is served.
async fn expect_calmed(server: TestServer, mut attacker: Raw, kind: &str) {
    let (code, debug) = attacker.ended().await.unwrap_or_else(|| panic!("{kind}: closed without a GOAWAY"));
    assert_eq!((code, debug.as_str()), (ENHANCE_YOUR_CALM, kind));
    expect_unharmed(server, kind).await;
}

/// The abuse was counted once, a new client is served, and nothing leaks.
async fn expect_unharmed(server: TestServer, kind: &str) {
    let client = server.client().await;
    assert_eq!(client.unary(GET, b"ping").await.code(), Code::Ok);
    drop(client);
    let counted = format!("h2_abuse_total{{kind=\"{kind}\"}} 1");
    expect_counted(&server, |page| page.contains(&counted)).await;
    server.forced().await;
}

/// The metrics say so, soon: what a client sees may come a moment before it is counted.
async fn expect_counted(server: &TestServer, expected: impl Fn(&str) -> bool) {
    let counted = async {
        while !expected(&server.telemetry.render()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let outcome = tokio::time::timeout(Duration::from_secs(20), counted).await;
    assert!(outcome.is_ok(), "{}", server.telemetry.render());
}

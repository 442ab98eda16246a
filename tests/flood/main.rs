//! The flood lab: clients that break the rules, frame by frame, over real sockets.
//!
//! After each attack the reaction is the specified one, a normal RPC on a new connection works at once, the memory that the
//! attack took is given back, and nothing is left over: see [`lab`]. Waiting times are shortened by settings, never by the
//! clock.
//!
//! | attack | test |
//! |---|---|
//! | rapid reset (CVE-2023-44487), reset flood (CVE-2019-9514) | `frames::rapid_reset_..`, `resets::headers_that_must_be_reset_..` |
//! | making the server reset (CVE-2025-8671): six ways | `resets::` |
//! | CONTINUATION flood (CVE-2024-27316, CVE-2023-45288) | `frames::a_header_block_without_an_end_..` |
//! | PING (CVE-2019-9512), SETTINGS (CVE-2019-9515), PRIORITY (CVE-2019-9513), WINDOW_UPDATE (CVE-2019-9511) floods | `frames::` |
//! | empty frames (CVE-2019-9518), tiny frames | `frames::empty_data_..`, `frames::data_in_crumbs_..` |
//! | unknown frames, acknowledgements nobody asked for | `frames::` |
//! | headers without a name (CVE-2019-9516), HPACK bomb (CVE-2016-6581), too many headers | `headers::` |
//! | bad pseudo-headers, wrong content type | `headers::` |
//! | internal buffering (CVE-2019-9517), zero windows, hoarded responses | `hoard::` |
//! | silence, slow preface, slow headers, slow body, slow keepalive | `slow::`, `lifetime::a_client_that_answers_no_keepalive_..` |
//! | keepalive abuse | `frames::a_ping_flood_..`, `slow::pings_that_are_only_a_little_..` |
//! | decompression bombs, bad compression | `messages::` |
//! | oversized and truncated messages, bad timeouts | `messages::` |
//! | scanning for methods and descriptors | `messages::a_scan_..` |
//! | connections without end | `frames::connections_of_one_address_..`; idle and old ones in `lifetime::` |

mod frames;
mod headers;
mod hoard;
mod lab;
mod lifetime;
mod messages;
mod resets;
mod slow;

use highball::server::Settings;
use highball::{Body, Server};
use highball_testkit::{TestServer, stub};
use highball_tests::SHOP_DESCRIPTORS;
use http::{Request, Response};

const GET: &str = "/shop.v1.Shop/Get";
const WATCH: &str = "/shop.v1.Shop/Watch";
/// One message of [`BULK_SIZE`], made when it is asked for.
const BULK: &str = "/shop.v1.Shop/Upload";
const BULK_SIZE: usize = 1 << 20;

/// The error code of a GOAWAY to a client that is asked to calm down.
const ENHANCE_YOUR_CALM: u32 = 11;

/// A server that answers `pong` to a unary call, one large message to a bulk call, and streams without end to a watch.
async fn server(settings: Settings) -> TestServer {
    let server = Server::new(stub::service(answer)).with_descriptors(SHOP_DESCRIPTORS);
    TestServer::start(server.with_settings(settings)).await
}

async fn answer(request: Request<Body>) -> Response<Body> {
    use futures_util::stream::{self, StreamExt as _};
    use highball::core::envelope::seal;
    use highball::{Code, core::Status};
    use http_body::Frame;
    use http_body_util::BodyExt as _;
    match request.uri().path() {
        GET => {}
        BULK => {
            let bulk = stream::iter([()]).map(|()| Ok(Frame::data(seal(&[7; BULK_SIZE]))));
            let end = Frame::trailers(Status::new(Code::Ok, "").to_trailers());
            return stub::frames(bulk.chain(stream::iter([Ok(end)])));
        }
        WATCH => {
            let envelope = seal(&[7; 16 << 10]);
            return stub::frames(stream::repeat(envelope).map(|data| Ok(Frame::data(data))));
        }
        _ => return Status::new(Code::Unimplemented, "unknown method").into_response(),
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

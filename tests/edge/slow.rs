//! Clients that do not read: what waits for them is bounded, and nobody else waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use h2::client::SendRequest;
use highball::core::envelope::seal;
use highball::{Body, Code, Status};
use highball_testkit::client::grpc_request;
use highball_testkit::{TestServer, stub};
use http::{Request, Response};
use http_body::Frame;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::backend::{answered, host};
use super::peer::until;
use super::world::File;
use super::{GET, WATCH};

/// What HTTP/2 begins with, for streams and for connections.
const WINDOW: usize = 65_535;
/// What the edge announces for a stream of a backend.
const UPSTREAM_WINDOW: usize = 256 << 10;
/// What our servers keep of a response beside it, edge and backend alike.
const SEND_BUFFER: usize = 64 << 10;

/// A backend whose WATCH sends messages of this size for ever; what it could write.
async fn endless(size: usize) -> (TestServer, Arc<AtomicUsize>) {
    let written = Arc::<AtomicUsize>::default();
    let counted = written.clone();
    let backend = host(move |request: Request<Body>| {
        let written = counted.clone();
        async move {
            if request.uri().path() != WATCH {
                return answered(request, b"pong").await;
            }
            flood(size, written)
        }
    })
    .await;
    (backend, written)
}

fn flood(size: usize, written: Arc<AtomicUsize>) -> Response<Body> {
    let message = seal(&vec![7; size]);
    let messages = stream::repeat_with(move || {
        written.fetch_add(message.len(), Ordering::SeqCst);
        Ok(Frame::data(message.clone()))
    });
    // Never reached.
    let end = stream::iter([Ok(Frame::trailers(Status::new(Code::Ok, "").to_trailers()))]);
    stub::frames(messages.chain(end))
}

/// A client that opens streams and takes nothing from them.
struct Lazy {
    sender: SendRequest<Bytes>,
    streams: Vec<Response<h2::RecvStream>>,
    connection: JoinHandle<()>,
}

impl Lazy {
    async fn connect(addr: std::net::SocketAddr) -> Self {
        let io = TcpStream::connect(addr).await.unwrap();
        // Its own defence against many small frames is not what these tests are about.
        let mut builder = h2::client::Builder::new();
        let (sender, connection) = builder.data_frame_budget(1 << 30).handshake(io).await.unwrap();
        let connection = tokio::spawn(async move { drop(connection.await) });
        Self { sender, streams: Vec::new(), connection }
    }

    async fn watch(&mut self) {
        let mut sender = self.sender.clone().ready().await.unwrap();
        let (response, mut body) = sender.send_request(grpc_request(WATCH, &[]), false).unwrap();
        body.send_data(seal(b""), true).unwrap();
        self.streams.push(response.await.unwrap());
    }
}

impl Drop for Lazy {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Waits until nothing more is written; how much it was.
async fn settled(written: &AtomicUsize) -> usize {
    let (mut last, mut quiet) = (0, 0);
    let steps = async {
        while quiet < 10 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = written.load(Ordering::SeqCst);
            quiet = if now == last { quiet + 1 } else { 0 };
            last = now;
        }
    };
    tokio::time::timeout(super::PATIENCE, steps).await.expect("the backend is stopped");
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_client_that_does_not_read_is_bounded() {
    const SIZE: usize = 16 << 10;
    let (backend, written) = endless(SIZE).await;
    let edge = File::to(&[backend.addr()]).ready().await;
    let mut lazy = Lazy::connect(edge.addr()).await;
    lazy.watch().await;
    let written = settled(&written).await;
    // On the way: the client's window, the edge's buffer, the edge's window, the backend's buffer; and at each of the two
    // servers, the frame that went beyond its buffer and the one that hyper holds in its hand.
    let bound = WINDOW + SEND_BUFFER + UPSTREAM_WINDOW + SEND_BUFFER + 4 * (SIZE + 5);
    println!("{written} bytes of at most {bound}");
    assert!(written <= bound, "{written} bytes went out, of which {bound} could wait");
    assert!(written >= UPSTREAM_WINDOW, "{written}: nothing is held up before its window is full");
    drop(lazy);
    edge.idle().await;
    edge.drained().await;
    backend.drained().await;
}

/// 200 streams of one client stand still, all over the one connection to the backend, while another client calls.
async fn others_go_on(size: usize) {
    const STREAMS: usize = 200;
    let (backend, written) = endless(size).await;
    let edge = File::to(&[backend.addr()]).ready().await;
    let mut lazy = Lazy::connect(edge.addr()).await;
    for _ in 0..STREAMS {
        lazy.watch().await;
    }
    let written = settled(&written).await;
    let bound = UPSTREAM_WINDOW + 2 * SEND_BUFFER + 4 * (size + 5);
    assert!(written <= STREAMS * bound + WINDOW, "{written} bytes went out, {} a stream", written / STREAMS);
    let client = edge.client().await;
    for _ in 0..100 {
        let reply = client.unary(GET, b"ping").await;
        assert_eq!(reply.code(), Code::Ok, "{reply:?}");
    }
    // A stream as well, far beyond all windows.
    let (request, mut answer) = client.open(WATCH, &[]).await.head().await;
    let mut read = 0;
    while read < 2 << 20 {
        read += answer.message().await.unwrap().expect("a message").len();
    }
    let ended = edge.telemetry.render().contains("grpc_requests_total{method=\"shop.v1.Shop/Watch\"");
    assert!(!ended, "no stream was ended for it");
    drop((request, answer, client, lazy));
    edge.idle().await;
    edge.drained().await;
    until("the backend is idle", || highball_testkit::leaks::found(&backend.telemetry).is_empty()).await;
    backend.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_streams_stand_still_does_not_starve_another() {
    others_go_on(16 << 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_one_whose_messages_are_small() {
    others_go_on(60).await;
}

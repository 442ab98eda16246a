//! A client and a server at the two ends of a pipe.

use std::error::Error as _;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{self, SendResponse};
use highball_core::{Body, BodyError};
use highball_net::Tasks;
use highball_net::client::{Connection, SendErrorKind, Settings, StreamError, handshake};
use http::{Request, Response};
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt as _, Empty, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::timeout;

/// What a server gets of a request, and answers with.
pub(crate) type Arrived = (Request<RecvStream>, SendResponse<Bytes>);
pub(crate) type Server = server::Connection<DuplexStream, Bytes>;

/// Longest wait. A test that gets here has failed.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it happens soon")
}

/// A connection to an h2 server that nobody drives yet.
pub(crate) async fn pair(settings: &Settings, server: &server::Builder) -> (Tasks, Connection, Server) {
    let (ours, theirs) = duplex(64 << 10);
    let tasks = Tasks::new();
    let spawner = tasks.spawner();
    let (client, server) =
        tokio::join!(handshake(Box::new(ours), settings, &spawner), server.handshake::<_, Bytes>(theirs));
    (tasks, client.expect("a handshake"), server.expect("a handshake"))
}

/// A connection to a server that gives each request to `serve`.
pub(crate) async fn serving<F>(serve: impl Fn(Arrived) -> F + Send + 'static) -> (Tasks, Connection)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (tasks, client, mut server) = pair(&Settings::default(), &server::Builder::new()).await;
    let spawner = tasks.spawner();
    tasks.spawn(async move {
        while let Some(Ok(arrived)) = server.accept().await {
            spawner.spawn(serve(arrived));
        }
    });
    (tasks, client)
}

pub(crate) fn request(body: Body) -> Request<Body> {
    let request = Request::post("http://test.invalid/pkg.Service/Method").version(http::Version::HTTP_2);
    request.body(body).expect("a request")
}

pub(crate) fn empty() -> Request<Body> {
    request(Body::new(Empty::new()))
}

pub(crate) fn whole(bytes: impl Into<Bytes>) -> Request<Body> {
    request(Body::new(Full::new(bytes.into())))
}

/// A request whose body is what is sent into the other end.
pub(crate) fn streaming() -> (Sender<Bytes, BodyError>, Request<Body>) {
    let (sender, body) = Channel::new(1);
    (sender, request(Body::new(body)))
}

/// Sends on a place of its own.
pub(crate) async fn send(client: &Connection, request: Request<Body>) -> Result<Response<Body>, StreamError> {
    let slot = client.reserve().expect("a place");
    soon(slot.send(request)).await
}

/// The next data of a response.
pub(crate) async fn data(body: &mut Body) -> Option<Bytes> {
    let frame = soon(body.frame()).await?.expect("no error");
    Some(frame.into_data().expect("data"))
}

/// What a body says when it fails.
pub(crate) fn kind(error: &BodyError) -> SendErrorKind {
    let source = error.source().and_then(|source| source.downcast_ref::<StreamError>());
    source.expect("a StreamError in the chain").kind
}

/// Reads a body to the failure it ends with.
pub(crate) async fn failure(body: &mut Body) -> SendErrorKind {
    loop {
        match soon(body.frame()).await {
            Some(Ok(_)) => {}
            Some(Err(error)) => return kind(&error),
            None => panic!("the body ended well"),
        }
    }
}

/// All places are free again.
pub(crate) async fn all_free(client: &Connection) {
    soon(async {
        while client.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A head with 200.
pub(crate) fn head() -> Response<()> {
    Response::new(())
}

/// A head that ends the stream.
pub(crate) fn answer(mut respond: SendResponse<Bytes>) {
    respond.send_response(head(), true).expect("the stream is open");
}

/// A server made of frames.
pub(crate) struct Raw(pub(crate) DuplexStream);

/// One frame.
pub(crate) use highball_testkit::raw::{Frame, frame, header_block, kind as frames};

impl Raw {
    /// Reads the preface and frames until one of this kind.
    pub(crate) async fn find(&mut self, kind: u8) -> Frame {
        loop {
            let frame = soon(self.next()).await.expect("a frame");
            if frame.kind == kind {
                return frame;
            }
        }
    }

    pub(crate) async fn preface(&mut self) {
        let mut preface = [0; 24];
        soon(self.0.read_exact(&mut preface)).await.expect("a preface");
        assert_eq!(preface, highball_testkit::raw::PREFACE);
    }

    /// The next frame; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, s0, s1, s2, s3] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([s0, s1, s2, s3]);
        Some(Frame { kind, flags, stream, payload: payload.into() })
    }

    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        soon(self.0.write_all(bytes)).await.expect("it is read");
    }

    /// A connection to a server whose first SETTINGS are these.
    pub(crate) async fn serve(settings: &Settings, entries: &[(u16, u32)]) -> (Tasks, Connection, Self) {
        Self::serve_over(settings, entries, 64 << 10).await
    }

    /// The same, over a pipe that holds so many bytes.
    pub(crate) async fn serve_over(
        settings: &Settings,
        entries: &[(u16, u32)],
        pipe: usize,
    ) -> (Tasks, Connection, Self) {
        let (ours, theirs) = duplex(pipe);
        let tasks = Tasks::new();
        let spawner = tasks.spawner();
        let mut raw = Self(theirs);
        let (client, ()) = tokio::join!(handshake(Box::new(ours), settings, &spawner), async {
            raw.preface().await;
            raw.say(&settings_frame(entries)).await;
        });
        (tasks, client.expect("a handshake"), raw)
    }
}

pub(crate) fn settings_frame(entries: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in entries {
        payload.extend(name.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(frames::SETTINGS, 0, 0, &payload)
}

/// RST_STREAM.
pub(crate) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(frames::RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// GOAWAY.
pub(crate) fn goaway(last_stream: u32, code: u32, debug: &[u8]) -> Vec<u8> {
    let mut payload = last_stream.to_be_bytes().to_vec();
    payload.extend(code.to_be_bytes());
    payload.extend(debug);
    frame(frames::GOAWAY, 0, 0, &payload)
}

/// The head of a response: END_HEADERS, and END_STREAM if it is all.
pub(crate) fn response_head(stream: u32, ends: bool) -> Vec<u8> {
    frame(frames::HEADERS, if ends { 5 } else { 4 }, stream, &header_block(&[(":status", "200")]))
}

//! A gRPC client that hides nothing.

use std::net::SocketAddr;
use std::path::Path;

use bytes::{Buf as _, Bytes, BytesMut};
use highball_core::envelope::{PREFIX_SIZE_BYTES, seal};
use highball_core::{BoxError, Code, Status};
use highball_net::Io;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::{JoinHandle, JoinSet};

type Outbound = Channel<Bytes, BoxError>;

/// One HTTP/2 connection. Dropping it closes the connection.
#[derive(Debug)]
pub struct Client {
    sender: SendRequest<Outbound>,
    connection: JoinHandle<hyper::Result<()>>,
}

impl Client {
    /// Connects over TCP.
    ///
    /// # Panics
    /// When nobody listens there; so do the other constructors.
    #[expect(clippy::disallowed_methods, reason = "a test's way to the server under test")]
    pub async fn tcp(addr: SocketAddr) -> Self {
        let io = TcpStream::connect(addr).await.expect("the server listens");
        // Head and message are two writes; the second must not wait for an acknowledgement of the first.
        io.set_nodelay(true).expect("a TCP socket");
        Self::over(io).await
    }

    /// Connects over TLS to a server whose certificate says `localhost`.
    ///
    /// # Errors
    /// When the handshake fails.
    #[expect(clippy::disallowed_methods, reason = "a test's way to the server under test")]
    pub async fn tls(addr: SocketAddr, mut config: rustls::ClientConfig) -> std::io::Result<Self> {
        config.alpn_protocols = vec![b"h2".to_vec()];
        let io = TcpStream::connect(addr).await.expect("the server listens");
        io.set_nodelay(true).expect("a TCP socket");
        let name = rustls_pki_types::ServerName::try_from("localhost").expect("a name");
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        Ok(Self::over(connector.connect(name, io).await?).await)
    }

    /// Connects over a Unix socket.
    #[expect(clippy::disallowed_methods, reason = "a test's way to the server under test")]
    pub async fn unix(path: &Path) -> Self {
        Self::over(UnixStream::connect(path).await.expect("the server listens")).await
    }

    /// Speaks HTTP/2 over any byte stream.
    pub async fn over(io: impl Io) -> Self {
        let handshake =
            Builder::new(TokioExecutor::new()).timer(TokioTimer::new()).handshake(TokioIo::new(io));
        let (sender, connection) = handshake.await.expect("the server speaks HTTP/2");
        #[expect(clippy::disallowed_methods, reason = "owned by the handle in this struct, aborted with it")]
        let connection = tokio::spawn(connection);
        Self { sender, connection }
    }

    /// Sends one message and waits for the whole response.
    pub async fn unary(&self, path: &str, message: &[u8]) -> Reply {
        self.call(path, &[], &[message]).await
    }

    /// Sends `messages` with extra `headers`, half-closes, and waits for the whole response.
    pub async fn call(&self, path: &str, headers: &[(&str, &str)], messages: &[&[u8]]) -> Reply {
        let envelopes: BytesMut = messages.iter().flat_map(|message| seal(message)).collect();
        self.raw(grpc_request(path, headers), envelopes.freeze()).await
    }

    /// Sends any request with any body.
    pub async fn raw(&self, request: Request<()>, body: Bytes) -> Reply {
        let mut call = self.start(request).await;
        if !body.is_empty() {
            // A server may answer and reset before it has read everything.
            call.outbound.send_data(body).await.ok();
        }
        drop(call.outbound);
        match received(call.response).await {
            Ok(response) => Reply::read(response).await,
            Err(error) => Reply::failed(error),
        }
    }

    /// Opens a call and leaves its request open.
    pub async fn open(&self, path: &str, headers: &[(&str, &str)]) -> Call {
        self.start(grpc_request(path, headers)).await
    }

    async fn start(&self, request: Request<()>) -> Call {
        let (outbound, body) = Channel::new(8);
        let mut sender = self.sender.clone();
        sender.ready().await.expect("the connection is open");
        let sent = sender.send_request(request.map(|()| body));
        let mut response = JoinSet::new();
        response.spawn(sent);
        Call { outbound, response }
    }

    /// Waits until the server has closed the connection.
    pub async fn closed(mut self) -> Result<(), BoxError> {
        (&mut self.connection).await?.map_err(Into::into)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// A POST to `path` with gRPC's headers and `headers` on top.
#[must_use]
pub fn grpc_request(path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::post(format!("http://test{path}")).header("te", "trailers");
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/grpc");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a valid request")
}

/// A call whose request is still open. Dropping it cancels.
#[derive(Debug)]
pub struct Call {
    outbound: Sender<Bytes, BoxError>,
    /// One task, stopped with the call: dropping the future of a response is what cancels it.
    response: JoinSet<hyper::Result<Response<Incoming>>>,
}

impl Call {
    /// Sends a message.
    pub async fn send(&mut self, message: &[u8]) {
        self.outbound.send_data(seal(message)).await.expect("the call is open");
    }

    /// Half-closes, then waits for the response head.
    pub async fn half_closed(self) -> Answer {
        drop(self.outbound);
        Answer::of(received(self.response).await.expect("a response"))
    }

    /// Waits for the response head. The request stays open as long as the returned sender lives.
    pub async fn head(self) -> (Sender<Bytes, BoxError>, Answer) {
        let response = received(self.response).await.expect("a response");
        (self.outbound, Answer::of(response))
    }
}

async fn received(
    mut response: JoinSet<hyper::Result<Response<Incoming>>>,
) -> hyper::Result<Response<Incoming>> {
    response.join_next().await.expect("one task was spawned").expect("it does not panic")
}

/// A response being read.
#[derive(Debug)]
pub struct Answer {
    /// Its head.
    pub headers: HeaderMap,
    /// Its trailers, once [`message`](Self::message) returned `None`.
    pub trailers: HeaderMap,
    body: Incoming,
    buffer: BytesMut,
}

impl Answer {
    fn of(response: Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        Self { headers: head.headers, body, buffer: BytesMut::new(), trailers: HeaderMap::new() }
    }

    /// The next message; `None` at the end, with the trailers filled in.
    ///
    /// # Errors
    /// When the stream was reset.
    pub async fn message(&mut self) -> Result<Option<Bytes>, hyper::Error> {
        loop {
            if let Some(message) = split_message(&mut self.buffer) {
                return Ok(Some(message));
            }
            match self.body.frame().await.transpose()? {
                Some(frame) => self.take(frame),
                None => return Ok(None),
            }
        }
    }

    /// The status at the end.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        Status::from_headers(&self.trailers).or_else(|| Status::from_headers(&self.headers))
    }

    fn take(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(data) => self.buffer.extend_from_slice(&data),
            Err(frame) => self.trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
}

fn split_message(buffer: &mut BytesMut) -> Option<Bytes> {
    let (prefix, rest) = buffer.split_first_chunk::<PREFIX_SIZE_BYTES>()?;
    let [_, a, b, c, d] = *prefix;
    let size = u32::from_be_bytes([a, b, c, d]) as usize;
    if rest.len() < size {
        return None;
    }
    buffer.advance(PREFIX_SIZE_BYTES);
    Some(buffer.split_to(size).freeze())
}

/// A whole response.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub http: StatusCode,
    /// The head.
    pub headers: HeaderMap,
    /// The messages.
    pub messages: Vec<Bytes>,
    /// What came and is no whole message: all of a body in another dialect.
    pub rest: Bytes,
    /// The trailers; empty for a trailers-only response.
    pub trailers: HeaderMap,
    /// Whether the head ended the stream.
    pub trailers_only: bool,
    /// The stream or connection failed before its end.
    pub broken: Option<hyper::Error>,
}

impl Reply {
    async fn read(response: Response<Incoming>) -> Self {
        let (http, trailers_only) = (response.status(), response.body().is_end_stream());
        let mut answer = Answer::of(response);
        let mut messages = Vec::new();
        let broken = loop {
            match answer.message().await {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        let rest = std::mem::take(&mut answer.buffer).freeze();
        let Answer { headers, trailers, .. } = answer;
        Self { http, headers, messages, rest, trailers, trailers_only, broken }
    }

    fn failed(error: hyper::Error) -> Self {
        Self {
            http: StatusCode::default(),
            headers: HeaderMap::new(),
            messages: Vec::new(),
            rest: Bytes::new(),
            trailers: HeaderMap::new(),
            trailers_only: false,
            broken: Some(error),
        }
    }

    /// The gRPC status, from the trailers or a trailers-only head.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn status(&self) -> Status {
        let headers = if self.trailers_only { &self.headers } else { &self.trailers };
        Status::from_headers(headers).unwrap_or_else(|| panic!("a response without a status: {self:?}"))
    }

    /// The gRPC code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.status().code()
    }
}

//! The load: many unary RPCs, each of which must succeed.

use std::error::Error;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue, Request};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How many RPCs there are at once, and over what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) connections: u32,
    /// Streams that each connection has open at a time.
    pub(crate) streams: u32,
}

impl Shape {
    fn new(connections: u32, streams: u32) -> Self {
        Self { connections, streams }
    }

    fn per_stream(self, rpcs: u32) -> u32 {
        (rpcs / (self.connections * self.streams)).max(1)
    }

    /// How many RPCs a round of about `rpcs` really has.
    pub(crate) fn round(self, rpcs: u32) -> u32 {
        self.per_stream(rpcs) * self.connections * self.streams
    }
}

impl std::str::FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (connections, streams) = text.split_once('x')?;
            let shape = Self::new(connections.parse().ok()?, streams.parse().ok()?);
            ((1..=500).contains(&shape.connections) && (1..=100).contains(&shape.streams)).then_some(shape)
        };
        parse().ok_or_else(|| "write 8x8: up to 500 connections of up to 100 streams".to_owned())
    }
}

/// `GetRequest { id: "item-12345" }` in its envelope.
const MESSAGE: &[u8] = b"\0\0\0\0\x0c\x0a\x0aitem-12345";

/// Drives the server once.
///
/// # Errors
/// The first thing that went wrong: no measurement is better than one of failures.
#[expect(clippy::disallowed_methods, reason = "the load comes from outside; it is no part of the house")]
pub(crate) async fn drive(
    addr: SocketAddr,
    shape: Shape,
    rpcs: u32,
    token: &str,
) -> Result<(), Box<dyn Error>> {
    let authorization = HeaderValue::try_from(format!("Bearer {token}"))?;
    let (mut callers, mut connections) = (JoinSet::new(), JoinSet::new());
    for _ in 0..shape.connections {
        let io = TcpStream::connect(addr).await?;
        io.set_nodelay(true)?;
        let (sender, connection) = h2::client::handshake(io).await?;
        connections.spawn(connection);
        for _ in 0..shape.streams {
            callers.spawn(call(sender.clone(), addr, authorization.clone(), shape.per_stream(rpcs)));
        }
    }
    while let Some(caller) = callers.join_next().await {
        caller?.map_err(|error| -> Box<dyn Error> { error })?;
    }
    Ok(())
}

async fn call(
    sender: SendRequest<Bytes>,
    addr: SocketAddr,
    authorization: HeaderValue,
    times: u32,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut sender = sender.ready().await?;
    for _ in 0..times {
        // What grpc-go sends, and a deadline: no production client is without one.
        let request = Request::post(format!("http://{addr}/shop.v1.Shop/Get"))
            .header("content-type", "application/grpc")
            .header("user-agent", "grpc-go/1.76.0")
            .header("te", "trailers")
            .header("grpc-timeout", "4999972u")
            .header("authorization", authorization.clone())
            .body(())?;
        let (response, mut body) = sender.send_request(request, false)?;
        body.send_data(Bytes::from_static(MESSAGE), true)?;
        let response = response.await?;
        let mut body = response.into_body();
        let mut size = 0;
        while let Some(data) = body.data().await {
            let data = data?;
            size += data.len();
            body.flow_control().release_capacity(data.len())?;
        }
        let trailers = body.trailers().await?;
        let ok = |trailers: &HeaderMap| trailers.get("grpc-status").is_some_and(|status| status == "0");
        if size == 0 || !trailers.as_ref().is_some_and(ok) {
            return Err(format!("an RPC failed: {size} bytes, {trailers:?}").into());
        }
        sender = sender.ready().await?;
    }
    Ok(())
}

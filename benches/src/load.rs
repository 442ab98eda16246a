//! The load: many unary RPCs, each of which must succeed.

use std::error::Error;
use std::net::SocketAddr;

use bytes::Bytes;
use clap::Args;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How much, and how much of it at once.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Load {
    /// RPCs of one round, rounded down to a multiple of connections times streams.
    #[arg(long, default_value_t = 40_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) rpcs: u32,
    /// Connections.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) connections: u32,
    /// Streams that each connection has open at a time.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) streams: u32,
}

/// `GetRequest { id: "item-12345" }` in its envelope.
const MESSAGE: &[u8] = b"\0\0\0\0\x0c\x0a\x0aitem-12345";

impl Load {
    fn per_stream(&self) -> u32 {
        (self.rpcs / (self.connections * self.streams)).max(1)
    }

    /// How many RPCs a round really has.
    pub(crate) fn rpcs(&self) -> u32 {
        self.per_stream() * self.connections * self.streams
    }
}

/// Drives the server once.
///
/// # Errors
/// The first thing that went wrong: no measurement is better than one of failures.
#[expect(clippy::disallowed_methods, reason = "the load comes from outside; it is no part of the house")]
pub(crate) async fn drive(addr: SocketAddr, load: &Load) -> Result<(), Box<dyn Error>> {
    let (mut callers, mut connections) = (JoinSet::new(), JoinSet::new());
    for _ in 0..load.connections {
        let io = TcpStream::connect(addr).await?;
        io.set_nodelay(true)?;
        let (sender, connection) = h2::client::handshake(io).await?;
        connections.spawn(connection);
        for _ in 0..load.streams {
            callers.spawn(call(sender.clone(), addr, load.per_stream()));
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

//! Real RPCs, their status and body compared: before anything is measured, and as the load where `h2load` is missing.

use std::error::Error;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::setting::{self, Setting};

type Failure = Box<dyn Error + Send + Sync>;

/// The windows of a client's connection and of its streams, in bytes: no message waits for one.
const WINDOW: u32 = 16 << 20;

/// Calls of the check; in turn of each size.
const CHECKS: usize = 20;

/// Small, and larger than four frames.
const CHECK_SIZES: [u32; 2] = [64, 64 << 10];

/// One call of the check may take this long.
const CALL_MAX: Duration = Duration::from_secs(10);

/// What every caller asks for.
pub(crate) const PATH: &str = "/bench.v1.Echo/Unary";

/// Calls `addr` until it is certain that requests and answers arrive whole.
///
/// # Errors
/// The first RPC that was not OK, or whose body is not what was sent.
pub(crate) async fn check(addr: SocketAddr) -> Result<(), Failure> {
    let mut connections = JoinSet::new();
    let mut sender = connect(addr, &mut connections).await?;
    for call in 0..CHECKS {
        let message = setting::message(CHECK_SIZES[call % CHECK_SIZES.len()]);
        sender = timeout(CALL_MAX, echo(sender, addr, Bytes::from(message))).await??;
    }
    Ok(())
}

/// Drives `addr` once and writes a line per RPC to standard output, as `h2load --log-file` does: start, HTTP status,
/// microseconds.
///
/// # Errors
/// The first thing that went wrong: no measurement is better than one of failures.
pub(crate) async fn drive(addr: SocketAddr, setting: Setting, rpcs: u32) -> Result<(), Failure> {
    let message = Bytes::from(setting.message());
    let times = rpcs / (setting.connections * setting.streams);
    let (mut connections, mut callers) = (JoinSet::new(), JoinSet::new());
    for _ in 0..setting.connections {
        let sender = connect(addr, &mut connections).await?;
        for _ in 0..setting.streams {
            callers.spawn(caller(sender.clone(), addr, message.clone(), times));
        }
    }
    let mut log = io::BufWriter::new(io::stdout());
    while let Some(latencies) = callers.join_next().await {
        for (start, latency) in latencies?? {
            writeln!(log, "{start}\t200\t{}", latency.as_micros())?;
        }
    }
    Ok(log.flush()?)
}

/// Calls one after the other: microseconds since the first, and how long each took.
async fn caller(
    mut sender: SendRequest<Bytes>,
    addr: SocketAddr,
    message: Bytes,
    times: u32,
) -> Result<Vec<(u128, Duration)>, Failure> {
    let first = Instant::now();
    let mut latencies = Vec::new();
    for _ in 0..times {
        let start = Instant::now();
        sender = echo(sender, addr, message.clone()).await?;
        latencies.push((start.duration_since(first).as_micros(), start.elapsed()));
    }
    Ok(latencies)
}

#[expect(clippy::disallowed_methods, reason = "the load comes from outside; it is no part of the house")]
async fn connect(
    addr: SocketAddr,
    connections: &mut JoinSet<Result<(), h2::Error>>,
) -> Result<SendRequest<Bytes>, Failure> {
    let io = TcpStream::connect(addr).await?;
    io.set_nodelay(true)?;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let (sender, connection) = builder.handshake(io).await?;
    connections.spawn(connection);
    Ok(sender)
}

async fn echo(
    sender: SendRequest<Bytes>,
    addr: SocketAddr,
    message: Bytes,
) -> Result<SendRequest<Bytes>, Failure> {
    let mut sender = sender.ready().await?;
    let request = Request::post(format!("http://{addr}{PATH}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    let (response, mut upload) = sender.send_request(request, false)?;
    upload.send_data(message.clone(), true)?;
    let response = response.await?;
    if response.status() != 200
        || response.headers().get("content-type").is_none_or(|it| it != "application/grpc")
    {
        return Err(format!("no answer of gRPC: {response:?}").into());
    }
    let mut body = response.into_body();
    let mut at = 0;
    while let Some(data) = body.data().await {
        let data = data?;
        if message.get(at..at + data.len()) != Some(&*data) {
            return Err(format!("the body differs after {at} bytes").into());
        }
        at += data.len();
        body.flow_control().release_capacity(data.len())?;
    }
    let trailers = body.trailers().await?;
    let ok = |trailers: &HeaderMap| trailers.get("grpc-status").is_some_and(|status| status == "0");
    if at != message.len() || !trailers.as_ref().is_some_and(ok) {
        return Err(format!("{at} bytes of {}, {trailers:?}", message.len()).into());
    }
    Ok(sender)
}

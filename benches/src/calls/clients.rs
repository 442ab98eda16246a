//! The clients that are compared.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::future::try_join_all;
use highball::core::envelope::seal;
use highball::net::Tasks;
use highball::{Body, Channel, Status};
use http::{HeaderMap, HeaderValue, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

type Failure = Box<dyn Error>;

/// Somebody who calls the three servers in turn.
pub(crate) enum Client {
    /// One connection to each, and a counter.
    Bare { senders: Vec<(SendRequest<Full<Bytes>>, Uri)>, turn: AtomicUsize, _connections: Tasks },
    /// The channel.
    Channel(Channel),
}

impl Client {
    #[expect(clippy::disallowed_methods, reason = "the bare client")]
    pub(crate) async fn bare(addrs: &[SocketAddr]) -> Result<Self, Failure> {
        let connections = Tasks::new();
        let mut senders = Vec::new();
        for addr in addrs {
            let io = TcpStream::connect(addr).await?;
            io.set_nodelay(true)?;
            let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(io)).await?;
            // The calls tell how it ends.
            connections.spawn(async move { drop(connection.await) });
            senders.push((sender, format!("http://{addr}/shop.v1.Shop/Get").parse()?));
        }
        Ok(Self::Bare { senders, turn: AtomicUsize::new(0), _connections: connections })
    }

    pub(crate) async fn channel(addrs: &[SocketAddr]) -> Result<Self, Failure> {
        let list: Vec<String> = addrs.iter().map(ToString::to_string).collect();
        let channel = Channel::new(&format!("static:///{}", list.join(",")))?;
        channel.ready().await;
        Ok(Self::Channel(channel))
    }

    /// Makes so many calls.
    pub(crate) async fn drive(&self, rpcs: u32, at_a_time: u32) -> Result<(), Failure> {
        let left = AtomicU32::new(rpcs);
        let take = |left: u32| left.checked_sub(1);
        let one = || async {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                self.call().await?;
            }
            Ok::<_, Failure>(())
        };
        try_join_all((0..at_a_time).map(|_| one())).await?;
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "our own responses")]
    async fn call(&self) -> Result<(), Failure> {
        let trailers = match self {
            Self::Bare { senders, turn, .. } => {
                let turn = turn.fetch_add(1, Ordering::Relaxed) % senders.len();
                let (sender, uri) = senders.get(turn).ok_or("no connection")?;
                let response = sender.clone().send_request(request(uri.clone())).await?;
                response.into_body().collect().await?.trailers().cloned()
            }
            Self::Channel(channel) => {
                let uri = Uri::from_static("/shop.v1.Shop/Get");
                let response = channel.call(request(uri)).await;
                let body: Body = response.into_body();
                body.collect().await?.trailers().cloned()
            }
        };
        answered(trailers.as_ref())
    }
}

fn answered(trailers: Option<&HeaderMap>) -> Result<(), Failure> {
    let status = trailers.and_then(Status::from_headers).ok_or("no status")?;
    if status.code() == highball::Code::Ok { Ok(()) } else { Err(status.into()) }
}

fn request(uri: Uri) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(seal(b"ping")));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    let headers = request.headers_mut();
    headers.insert("te", HeaderValue::from_static("trailers"));
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-timeout", HeaderValue::from_static("10S"));
    request
}

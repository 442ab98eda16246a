//! The yardstick: the proxy that anybody writes in an afternoon, hyper in front of hyper's client.
//!
//! One current-thread runtime, one connection to each backend, taken in turn. Bodies and trailers pass as they come. It
//! has no limits, no timeouts, no metrics, no retries, and does not connect again.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::uri::{Authority, Parts, Scheme, Uri};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

struct Backends {
    all: Vec<(Authority, SendRequest<Incoming>)>,
    next: AtomicUsize,
}

/// Serves on a free port and says which.
///
/// # Errors
/// A backend cannot be reached, or closes its connection.
#[expect(clippy::disallowed_methods, reason = "this is how it is done without the house")]
pub(crate) async fn run(backends: Vec<SocketAddr>) -> Result<(), Box<dyn Error>> {
    let (mut all, mut upstream) = (Vec::new(), JoinSet::new());
    for addr in backends {
        let io = TcpStream::connect(addr).await?;
        io.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(io)).await?;
        upstream.spawn(connection);
        all.push((Authority::try_from(addr.to_string())?, sender));
    }
    let backends = Arc::new(Backends { all, next: AtomicUsize::new(0) });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    crate::process::tell(listener.local_addr()?);
    loop {
        let (io, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            _ = upstream.join_next() => return Err("a backend is gone".into()),
        };
        io.set_nodelay(true)?;
        let backends = Arc::clone(&backends);
        let service = service_fn(move |request| forward(Arc::clone(&backends), request));
        let connection =
            http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(io), service);
        // How a connection ends is nothing that is measured.
        tokio::spawn(async move { drop(connection.await) });
    }
}

type Failure = Box<dyn Error + Send + Sync>;

async fn forward(
    backends: Arc<Backends>,
    mut request: Request<Incoming>,
) -> Result<Response<Incoming>, Failure> {
    let turn = backends.next.fetch_add(1, Ordering::Relaxed) % backends.all.len();
    let (authority, sender) = &backends.all[turn];
    let mut parts = Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority.clone());
    parts.path_and_query = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from_parts(parts)?;
    Ok(sender.clone().send_request(request).await?)
}

//! The HTTP connection driver: HTTP/2 and HTTP/1.1 on one byte stream, told when to drain, and always ending.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use highball_core::{Body, BoxError};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;

use crate::tasks::{Spawner, Tasks};
use crate::{Draining, Io, Phase};

/// What a connection may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Streams a client may have open at once, announced in SETTINGS. Default 1,000.
    pub concurrent_streams_max: u32,
    /// Size of a request's header list, as RFC 9113 §6.5.2 counts it. Default 16 KiB.
    pub header_list_size_bytes_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrent_streams_max: 1000,
            header_list_size_bytes_max: 16 << 10,
        }
    }
}

/// Resets that a client may cause before its streams are accepted, and that a misbehaving client may make us send, before
/// the connection is closed with ENHANCE_YOUR_CALM (CVE-2023-44487, RUSTSEC-2024-0003). hyper's defaults, stated so that a
/// change of them is ours.
const PENDING_RESETS_MAX: usize = 20;
const LOCAL_RESETS_MAX: usize = 1024;

/// After GOAWAY, a connection that never carried a request gets this long to take it and go: a client that never finished
/// its preface would otherwise hold the drain to its end. Used connections are left to h2, which knows what is unsent.
const FAREWELL: Duration = Duration::from_secs(1);

/// After the drain is forced, streams get this long to carry their last trailers out.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Whether a connection ever carried a request.
#[derive(Debug, Clone, Default)]
struct Used(Arc<AtomicBool>);

/// How a connection ended.
#[derive(Debug)]
pub enum End {
    /// The client left, both sides said goodbye, or it never asked for anything.
    Orderly,
    /// The protocol or the transport failed.
    Failed(BoxError),
    /// The drain closed it while it was still in use, or it never said goodbye.
    Cut,
}

/// Serves one connection to its end.
///
/// When the drain begins, GOAWAY goes out in two steps (HTTP/2) or keep-alive ends (HTTP/1.1), and what is in flight may
/// finish. When the drain is forced, the service is expected to end what is left (it hears the same `draining`); then the
/// connection is closed. Dropping this future closes the connection and aborts its requests.
pub async fn drive<S, F>(io: Box<dyn Io>, settings: &Settings, draining: &Draining, service: S) -> End
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let streams = Tasks::new();
    let builder = builder(settings, streams.spawner());
    let used = Used::default();
    let mark = used.clone();
    let service = service_fn(move |request| {
        mark.0.store(true, Ordering::Relaxed);
        let response = service(request);
        async move { Ok::<_, Infallible>(response.await) }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    tokio::select! {
        end = connection.as_mut() => return ended(end),
        () = draining.begun() => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        end = connection.as_mut() => return ended(end),
        () = unused(&used) => return End::Orderly,
        () = draining.reached(Phase::Forced) => {}
    }
    tokio::select! {
        end = connection.as_mut() => ended(end),
        () = tokio::time::sleep(LAST_WORDS) => End::Cut,
    }
}

/// Resolves after [`FAREWELL`] if the connection still has not carried a request; otherwise never.
async fn unused(used: &Used) {
    tokio::time::sleep(FAREWELL).await;
    if used.0.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

fn ended(end: Result<(), BoxError>) -> End {
    match end {
        Ok(()) => End::Orderly,
        Err(error) => End::Failed(error),
    }
}

fn builder(settings: &Settings, streams: Spawner) -> auto::Builder<Spawner> {
    let mut builder = auto::Builder::new(streams);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.concurrent_streams_max)
        .max_header_list_size(settings.header_list_size_bytes_max)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(LOCAL_RESETS_MAX);
    builder.http1().timer(TokioTimer::new());
    builder
}

//! The hosted service behind the one door.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use highball_core::{Body, BoxError};
use http::{Request, Response};
use tower::{Service, ServiceExt as _};

/// The services of a server: one for all, or one of its own for each worker.
pub(crate) struct Services {
    first: Hosted,
    others: Vec<Hosted>,
}

impl Services {
    /// One for all.
    pub(crate) fn shared(service: Hosted) -> Self {
        Self { first: service, others: Vec::new() }
    }

    /// One for each of `count` workers, at least one.
    pub(crate) fn per_worker(count: usize, mut make: impl FnMut(usize) -> Hosted) -> Self {
        Self { first: make(0), others: (1..count).map(make).collect() }
    }

    /// That of a worker.
    pub(crate) fn of(&self, worker: usize) -> &Hosted {
        worker.checked_sub(1).and_then(|other| self.others.get(other)).unwrap_or(&self.first)
    }
}

/// A service, its types forgotten. Shared by all RPCs: each takes a clone of the service inside, next to the future that
/// calls it, so that an RPC pays for one allocation.
#[derive(Clone)]
pub(crate) struct Hosted(Arc<dyn Call>);

trait Call: Send + Sync {
    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Response<Body>>;
}

impl<S, B> Call for S
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        Box::pin(self.clone().oneshot(request).map(|answer| match answer {
            Ok(response) => response.map(Body::new),
            Err(never) => match never {},
        }))
    }
}

impl Hosted {
    pub(crate) fn new<S, B>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Arc::new(service))
    }

    /// Waits until the service is ready and calls it. A service that panics before its first wait panics here.
    pub(crate) fn call(&self, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        self.0.call(request)
    }
}

//! What takes a request that is not gRPC.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use highball_core::Body;
use http::{Request, Response};

use crate::rest::Routes;
use crate::spoken::Spoken;
use crate::{Schema, Settings, rest};

/// Translates for the methods of a [`Schema`], which may be replaced while it runs.
pub struct Gateway {
    state: ArcSwap<State>,
    settings: Settings,
}

/// What one request sees, whatever is renewed meanwhile.
pub(crate) struct State {
    pub(crate) schema: Schema,
    pub(crate) routes: Routes,
}

impl Gateway {
    /// A gateway for these methods. What it cannot serve is in [`problems`](Self::problems).
    #[must_use]
    pub fn new(schema: Schema, settings: Settings) -> Self {
        Self { state: ArcSwap::from_pointee(State::new(schema)), settings }
    }

    /// Serves other descriptors from now on. Requests that are under way keep those they began with.
    pub fn renew(&self, schema: Schema) {
        self.state.store(Arc::new(State::new(schema)));
    }

    /// What the descriptors ask for and cannot have, a sentence each: for the banner and the log.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let state = self.state.load();
        [state.schema.problems(), state.routes.problems()].concat()
    }

    /// Answers a request that is not gRPC. `next` gets what a gRPC client would have sent: a POST of HTTP/2 with `te: trailers`,
    /// `application/grpc+proto`, `grpc-timeout` from the dialect's own header, metadata and extensions of the request; and a body
    /// that is read and translated while `next` reads it, so that whoever is refused is not listened to.
    ///
    /// What is no dialect's request is answered here, and `next` is not called: HTTP 404, 405, 415 or 400 with a JSON body that
    /// says why.
    ///
    /// Dropping the future drops `next`'s. A streamed response is read from `next`'s as fast as it is read from here.
    pub async fn call<N, F>(&self, request: Request<Body>, next: N) -> Response<Body>
    where
        N: FnOnce(Request<Body>) -> F + Send,
        F: Future<Output = Response<Body>> + Send,
    {
        let state = self.state.load_full();
        match Spoken::recognise(&request, &state.schema) {
            Spoken::Rest => Box::pin(rest::serve(&state, &self.settings, request, next)).await,
        }
    }
}

impl State {
    fn new(schema: Schema) -> Self {
        let routes = Routes::new(&schema);
        Self { schema, routes }
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("schema", &self.state.load().schema).finish_non_exhaustive()
    }
}

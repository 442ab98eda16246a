//! The channel as its users hold it.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use highball_core::{Body, BoxError, Method};
use highball_net::Tasks;
use http::{HeaderMap, Request, Response};

use crate::balancer::{Ask, Pick};
use crate::builder::{Builder, ChannelError};
use crate::explain::Snapshot;
use crate::options::CallOptions;
use crate::picture::Shared;
use crate::service_config::{MethodConfig, Repeat};
use crate::{State, call};

/// Calls a service: a target, however many endpoints it has.
///
/// A tower service whose error is [`Infallible`]: every failure is a response with a status, so that generated clients of
/// connectrpc and tonic report the right code. Cheap to clone; clones share connections. It connects with the first call,
/// or with [`connect`](Self::connect). Once the last clone and the last response body are dropped, its connections close.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use highball_channel::Channel;
///
/// let channel = Channel::builder("dns:///orders.internal:50051").build()?;
/// // let client = OrdersClient::new(channel.clone());
/// # drop(channel);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Channel(pub(crate) Arc<Owner>);

/// Keeps what runs for a channel.
pub(crate) struct Owner {
    pub(crate) shared: Arc<Shared>,
    /// The manager, subchannels and connections; aborted when the owner is dropped.
    pub(crate) _tasks: Tasks,
}

/// A request extension: whether this one call waits for a ready endpoint (gRPC doc/wait-for-ready.md). Goes before the
/// service config and [`crate::Settings::wait_for_ready`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitForReady(pub bool);

impl Channel {
    /// A channel to `target`, such as `dns:///orders.internal:50051`: see [`Target`](crate::Target).
    pub fn builder(target: &str) -> Builder {
        Builder::new(target)
    }

    /// A channel to `target` with every default.
    ///
    /// # Errors
    /// [`ChannelError`] when the target cannot be read.
    pub fn new(target: &str) -> Result<Self, ChannelError> {
        Self::builder(target).build()
    }

    /// Begins to resolve and to connect, without a call.
    pub fn connect(&self) {
        // Like a call that is over at once, it starts the idle time anew.
        let shared = &self.0.shared;
        shared.enter();
        shared.leave(tokio::time::Instant::now());
        shared.ask();
    }

    /// How reachable the target is.
    #[must_use]
    pub fn state(&self) -> State {
        self.0.shared.picture().state
    }

    /// Connects, and resolves when a call would find an endpoint. Cancel safe; give it a timeout.
    pub async fn ready(&self) {
        self.until(|state| state == State::Ready).await;
    }

    /// Connects, and resolves once a call would no longer have to wait to learn its fate: READY when there is an endpoint,
    /// TRANSIENT_FAILURE when the target cannot be resolved or all of its endpoints failed. Cancel safe; give it a timeout.
    pub async fn settled(&self) -> State {
        self.until(|state| matches!(state, State::Ready | State::TransientFailure)).await
    }

    /// Connects until the state is one of those wanted.
    async fn until(&self, wanted: impl Fn(State) -> bool) -> State {
        let shared = &self.0.shared;
        let mut pictures = shared.pictures();
        self.connect();
        let mut asked = true;
        loop {
            let (state, sleeps) = {
                let picture = shared.picture();
                (picture.state, picture.sleeps())
            };
            if wanted(state) {
                return state;
            }
            // Once for each time it becomes idle: asking brings another picture, which may be the same.
            if sleeps || (state == State::Idle && !asked) {
                self.connect();
            }
            asked = state == State::Idle;
            pictures.changed().await;
        }
    }

    /// What applies to calls of `method` that say nothing themselves: its entry of the service config, and where that is
    /// silent the channel's settings and the retries of idempotent methods. Sizes, which may be set on both sides, are the
    /// smaller ones. `None` until the target was resolved: then not even its deadline is known.
    #[must_use]
    pub fn method_config(&self, method: &Method) -> Option<MethodConfig> {
        let (shared, settings) = (&self.0.shared, &self.0.shared.settings);
        let config = shared.picture().method(method, &HeaderMap::new())?;
        let smaller =
            |asked: Option<usize>, setting: usize| Some(asked.map_or(setting, |asked| asked.min(setting)));
        let repeat = match (&config.repeat, shared.idempotent.policy(method)) {
            (Repeat::Never, Some(policy)) => Repeat::Retry(policy.clone()),
            (repeat, _) => repeat.clone(),
        };
        Some(MethodConfig {
            wait_for_ready: config.wait_for_ready.or(Some(settings.wait_for_ready)),
            timeout: config.timeout,
            request_size_bytes_max: smaller(config.request_size_bytes_max, settings.request_size_bytes_max),
            response_size_bytes_max: smaller(
                config.response_size_bytes_max,
                settings.response_size_bytes_max,
            ),
            repeat,
        })
    }

    /// What the channel knows and does at this moment, for people and for `highball explain`.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::take(&self.0.shared)
    }

    /// Makes one call. The response is always a gRPC response: a failure is a status in its headers (trailers-only) or at the
    /// end of its body.
    ///
    /// # Cancel safety
    /// Dropping the future or the response body cancels the call at the server.
    pub async fn call<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        call::run(self.0.clone(), request.map(Body::new), None).await
    }

    /// Like [`call`](Self::call), with what the request cannot say.
    ///
    /// # Cancel safety
    /// As [`call`](Self::call).
    pub async fn call_with(&self, request: Request<Body>, options: Arc<CallOptions>) -> Response<Body> {
        call::run(self.0.clone(), request, Some(options)).await
    }

    /// Where a call of `method` with these headers would go now, and why. For people: it takes a turn, where turns are taken,
    /// and opens nothing.
    ///
    /// # Errors
    /// Why it would find no endpoint.
    pub fn would_pick(&self, method: &Method, headers: &HeaderMap) -> Result<(String, &'static str), String> {
        let shared = &self.0.shared;
        let picture = shared.picture();
        let ask = Ask { method, headers, tried: &[], random: shared.platform.random() };
        match picture.picker.pick(&ask) {
            Pick::To(backend, why) => Ok((backend.endpoint().name(), why)),
            Pick::Queue => Err("nothing is ready yet: the call would wait".to_owned()),
            Pick::Fail(status) | Pick::Drop(status) => Err(match &picture.trouble {
                Some(trouble) => format!("{}: {trouble}", status.message()),
                None => status.message().to_owned(),
            }),
        }
    }
}

impl<B> tower::Service<Request<B>> for Channel
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Waiting is part of the call, where its deadline bounds it.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let owner = self.0.clone();
        Box::pin(async move { Ok(call::run(owner, request.map(Body::new), None).await) })
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.shared.fmt(f)
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

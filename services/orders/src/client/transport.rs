//! From a generated client to the channel.

use std::convert::Infallible;

use connectrpc::client::{BoxFuture, ClientBody, ClientTransport};
use highball::{Body, Channel};
use http::{Request, Response};

use super::keys;

/// A channel as generated clients want it. Gives an `idempotency-key` to calls that create something and have none: the
/// channel repeats those, and without a key that would order twice.
#[derive(Debug, Clone)]
pub struct Transport(Channel);

impl Transport {
    /// Over `channel`.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self(channel)
    }

    pub(super) fn channel(&self) -> &Channel {
        &self.0
    }
}

impl ClientTransport for Transport {
    type ResponseBody = Body;
    type Error = Infallible;

    fn send(&self, request: Request<ClientBody>) -> BoxFuture<'static, Result<Response<Body>, Infallible>> {
        let (mut head, body) = request.into_parts();
        keys::provide(head.uri.path(), &mut head.headers);
        let (channel, request) = (self.0.clone(), Request::from_parts(head, body));
        Box::pin(async move { Ok(channel.call(request).await) })
    }
}

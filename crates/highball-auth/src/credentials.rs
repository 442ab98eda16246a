//! What a channel presents with each call.

use std::fmt;

use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue};

/// Headers that prove who calls. Never inherited from the RPC being handled: whoever means to pass an identity on says so.
pub trait Credentials: fmt::Debug + Send + Sync + 'static {
    /// The headers of one call to `audience`, which is `https://` and the authority (gRPC doc/PROTOCOL-HTTP2.md has no word on
    /// it; grpc-go says the same). Asked for every attempt, so it should remember what is still good.
    ///
    /// # Errors
    /// [`CredentialsError`], when there are none to present. The call fails UNAVAILABLE.
    ///
    /// # Cancel safety
    /// Must be cancel safe: a call that gives up drops the future.
    fn headers<'a>(&'a self, audience: &'a str) -> BoxFuture<'a, Result<Headers, CredentialsError>>;

    /// Whether they may be sent without TLS. Default no: whoever listens could use them. A channel with such credentials and
    /// no TLS is not built.
    fn allows_plaintext(&self) -> bool {
        false
    }
}

/// A few headers.
pub type Headers = Vec<(HeaderName, HeaderValue)>;

/// Why there is nothing to present, in one sentence for the operator. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialsError(String);

impl CredentialsError {
    /// With a sentence that holds no secret.
    #[must_use]
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CredentialsError {}

//! What a channel presents with each call.
//!
//! [`StaticToken`] never changes, [`TokenFile`] follows a file that something else writes, [`ClientCredentials`] asks an OAuth 2.0
//! token endpoint. All three are bearer tokens (RFC 6750): whoever reads one can use it. So they are sent over TLS only, a channel
//! without TLS is not built with them, and that includes loopback and Unix sockets: grpc-go refuses its `insecure` credentials
//! with them everywhere, too. Whoever knows better says so with [`DangerOverPlaintext`].
//!
//! No secret appears in a `Debug` text, an error or the log, and the header is marked sensitive, which keeps it out of HPACK's
//! tables (RFC 7541, section 7.1.3).

mod bearer;
mod file;
pub mod oauth2;
mod plaintext;
mod renewal;

use std::fmt;

use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue};

pub use bearer::{StaticToken, TOKEN_SIZE_BYTES_MAX};
pub use file::{REREAD_INTERVAL, STALE_MAX, TokenFile};
pub use oauth2::ClientCredentials;
pub use plaintext::DangerOverPlaintext;

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

    /// Tells what happens to them, until it is dropped or nothing more can happen; by default that is at once. A channel watches
    /// its credentials. Of what happens faster than the report returns the latest is told. The report must not block.
    fn watch<'a>(&'a self, _report: &'a mut Report<'_>) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Hears of events.
pub type Report<'r> = dyn FnMut(&CredentialsEvent<'_>) + Send + 'r;

/// What happened to credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CredentialsEvent<'a> {
    /// There are new ones.
    Renewed,
    /// They could not be renewed.
    Failed {
        /// Why.
        error: &'a CredentialsError,
        /// Whether the old ones are still good.
        usable: bool,
    },
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

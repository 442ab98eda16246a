//! OAuth 2.0 client credentials (RFC 6749, section 4.4): a process asks for a token in its own name.

mod answer;
mod ask;
mod settings;

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use highball_net::Platform;

use super::bearer::authorization;
use super::renewal::Renewal;
use super::{Credentials, CredentialsError, Headers, Report};
use ask::Endpoint;

pub use answer::BODY_SIZE_BYTES_MAX;
pub use settings::{ClientAuth, Secret, Settings};

/// Tokens of an OAuth 2.0 token endpoint, for calls.
///
/// The first call asks for a token and waits. After 80 % of its lifetime, ±5 % by chance, the next call starts a renewal in
/// the background and goes on with the old token; there is never more than one question at a time, however many calls there
/// are. Without calls nobody asks. A failure is the answer of every call that waits, and of the calls that find no token
/// until the backoff is over; while the old token is good, calls do not notice.
///
/// The renewal runs in a task that this value owns: a call that gives up does not stop it, dropping the credentials does. Share one
/// value among channels to share the token.
pub struct ClientCredentials {
    endpoint: String,
    renewal: Renewal,
}

impl ClientCredentials {
    /// Reads the CAs, and asks nobody yet.
    ///
    /// # Errors
    /// [`CredentialsError`] when the URL is not safe, the CAs cannot be read, or there is no client.
    pub fn new(settings: Settings, platform: Arc<dyn Platform>) -> Result<Self, CredentialsError> {
        let backoff = settings.backoff;
        let endpoint = Endpoint::new(settings, platform.clone())?;
        Ok(Self {
            endpoint: endpoint.to_string(),
            renewal: Renewal::new(Box::new(endpoint), backoff, platform),
        })
    }
}

impl Credentials for ClientCredentials {
    fn headers<'a>(&'a self, _audience: &'a str) -> BoxFuture<'a, Result<Headers, CredentialsError>> {
        Box::pin(async { Ok(authorization(&self.renewal.token().await?)) })
    }

    fn watch<'a>(&'a self, report: &'a mut Report<'_>) -> BoxFuture<'a, ()> {
        Box::pin(self.renewal.watch(report))
    }
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCredentials").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

//! Saying that TLS is not needed.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{Credentials, CredentialsError, Headers, Report};

/// Credentials that may be sent without TLS: over a Unix socket that nobody else may listen on, over loopback, in a network that
/// encrypts by itself. Whoever can read what is sent can use them.
#[derive(Debug, Clone)]
pub struct DangerOverPlaintext(Arc<dyn Credentials>);

impl DangerOverPlaintext {
    /// Lets `credentials` go over anything.
    #[must_use]
    pub fn new(credentials: Arc<dyn Credentials>) -> Self {
        Self(credentials)
    }
}

impl Credentials for DangerOverPlaintext {
    fn headers<'a>(&'a self, audience: &'a str) -> BoxFuture<'a, Result<Headers, CredentialsError>> {
        self.0.headers(audience)
    }

    fn allows_plaintext(&self) -> bool {
        true
    }

    fn watch<'a>(&'a self, report: &'a mut Report<'_>) -> BoxFuture<'a, ()> {
        self.0.watch(report)
    }
}

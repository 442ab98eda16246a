//! Who calls.

use std::fmt;
use std::sync::Arc;

use highball_core::Caller;
use highball_core::caller::Token;
use http::HeaderMap;
use tokio::time::Instant;

use crate::token::{Shown, Verifier};
use crate::{Denial, Reason, bearer};

/// Finds out who calls: from the connection, and from the bearer token if tokens are verified here.
///
/// Cloning is cheap; clones share keys and memory.
#[derive(Clone)]
pub struct Authenticator(Option<Arc<Verifier>>);

impl Authenticator {
    /// Knows callers by what the connection proved, and does not look at tokens.
    #[must_use]
    pub fn anonymous() -> Self {
        Self(None)
    }

    /// Verifies bearer tokens.
    #[must_use]
    pub fn jwt(verifier: Verifier) -> Self {
        Self(Some(Arc::new(verifier)))
    }

    /// The verifier, for its reports.
    #[must_use]
    pub fn verifier(&self) -> Option<&Arc<Verifier>> {
        self.0.as_ref()
    }

    /// Whether [`token`](Self::token) would check a signature.
    pub(crate) fn would_verify(&self, headers: &HeaderMap, shown: &Shown, now: Instant) -> bool {
        let Some(verifier) = &self.0 else { return false };
        bearer::token(headers)
            .is_ok_and(|token| token.is_some_and(|token| !verifier.knows(token, shown, now)))
    }

    /// Adds what the token proves to what the connection proved.
    ///
    /// A certificate is proof enough to go without a token; a Unix user is not, because behind a local proxy every caller is
    /// the same one. A token that is there must be good, whatever else was proven.
    ///
    /// # Errors
    /// [`Denial`]: UNAUTHENTICATED "missing authorization token" or "invalid token", UNAVAILABLE when there are no keys to
    /// judge by.
    ///
    /// # Cancel safety
    /// Cancel safe. Waits only for the keys of a token that names an unknown one.
    pub async fn authenticate(&self, headers: &HeaderMap, transport: Caller) -> Result<Caller, Denial> {
        let token = self.token(headers, None).await.map_err(Denial::new)?;
        if self.misses(token.as_ref(), &transport) {
            return Err(Denial::new(Reason::Missing));
        }
        Ok(with_token(transport, token))
    }

    /// The verified token of the request, if it has one and tokens are verified. `shown` is what its connection showed
    /// before, and when the request came.
    pub(crate) async fn token(
        &self,
        headers: &HeaderMap,
        shown: Option<(&Shown, Instant)>,
    ) -> Result<Option<Arc<Token>>, Reason> {
        let Some(verifier) = &self.0 else { return Ok(None) };
        match (bearer::token(headers)?, shown) {
            (Some(token), Some((shown, now))) => verifier.verify_shown(token, shown, now).await.map(Some),
            (Some(token), None) => verifier.verify(token).await.map(Some),
            (None, _) => Ok(None),
        }
    }

    /// Whether a token was to be expected of this caller.
    pub(crate) fn misses(&self, token: Option<&Arc<Token>>, transport: &Caller) -> bool {
        self.0.is_some() && token.is_none() && transport.certificate.is_none()
    }
}

pub(crate) fn with_token(transport: Caller, token: Option<Arc<Token>>) -> Caller {
    Caller { token: token.or(transport.token), ..transport }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Authenticator(jwt)" } else { "Authenticator(anonymous)" })
    }
}

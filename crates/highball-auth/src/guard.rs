//! Authenticate, then authorise: the two steps of an RPC that this room owns, as one.

use std::sync::Arc;

use highball_core::{Caller, Method};
use http::HeaderMap;
use tokio::time::Instant;

use crate::authenticator::with_token;
use crate::policy::{Decision, Policy};
use crate::token::{Shown, StartError, Verifier, World};
use crate::{Authenticator, Denial, Reason, Settings};

/// Decides whether an RPC may go on.
#[derive(Debug, Clone)]
pub struct Guard {
    authenticator: Authenticator,
    policy: Arc<Policy>,
}

/// An RPC that may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Who calls.
    pub caller: Caller,
    /// The rule that allowed it, for the audit log.
    pub rule: Arc<str>,
}

impl Guard {
    /// Puts the two together.
    #[must_use]
    pub fn new(authenticator: Authenticator, policy: Policy) -> Self {
        Self { authenticator, policy: Arc::new(policy) }
    }

    /// Builds both from settings.
    ///
    /// # Errors
    /// [`StartError`] with all problems of the settings, or with the key that cannot be used.
    ///
    /// # Cancel safety
    /// Dropping the future stops what it started.
    pub async fn start(settings: &Settings, world: World) -> Result<Self, StartError> {
        settings.check()?;
        let policy = Policy::try_from(&settings.policy)?;
        let authenticator = match &settings.token {
            Some(token) => Authenticator::jwt(Verifier::start(token, world).await?),
            None => Authenticator::anonymous(),
        };
        Ok(Self::new(authenticator, policy))
    }

    /// The first step alone, and the reports of its verifier.
    #[must_use]
    pub fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// The second step alone, and what it covers.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Decides.
    ///
    /// A caller without a token is asked for one only where the policy would not let it pass without: health needs none.
    ///
    /// # Errors
    /// [`Denial`]. A bad token is refused before the policy is asked, also for methods that need none: its sender believes
    /// to be somebody.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn check(
        &self,
        method: &Method,
        headers: &HeaderMap,
        transport: Caller,
    ) -> Result<Admitted, Denial> {
        self.decide(method, headers, transport, None).await
    }

    /// Decides, like [`check`](Self::check), for an RPC that came at `now` over a connection which showed `shown` before: the
    /// same token again costs a comparison.
    ///
    /// # Errors
    /// Like [`check`](Self::check).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub fn check_shown(
        &self,
        method: &Method,
        headers: &HeaderMap,
        transport: Caller,
        shown: &Shown,
        now: Instant,
    ) -> impl Future<Output = Result<Admitted, Denial>> + Send {
        self.decide(method, headers, transport, Some((shown, now)))
    }

    /// Whether [`check_shown`](Self::check_shown) would have to verify a token: there is one, and it is not remembered as
    /// good. For whoever bounds how often that is done.
    #[must_use]
    pub fn would_verify(&self, headers: &HeaderMap, shown: &Shown, now: Instant) -> bool {
        self.authenticator.would_verify(headers, shown, now)
    }

    async fn decide(
        &self,
        method: &Method,
        headers: &HeaderMap,
        transport: Caller,
        shown: Option<(&Shown, Instant)>,
    ) -> Result<Admitted, Denial> {
        let token = self.authenticator.token(headers, shown).await.map_err(Denial::new)?;
        let misses = self.authenticator.misses(token.as_ref(), &transport);
        let caller = with_token(transport, token);
        match self.policy.decide(method, &caller) {
            Decision::Allow { rule } => Ok(Admitted { rule: rule.clone(), caller }),
            // grpc doc/statuscodes.md: PERMISSION_DENIED is for callers who are known.
            Decision::Deny { rule } if misses => Err(Denial::new(Reason::Missing).by(rule.clone())),
            Decision::Deny { rule } => Err(Denial::new(Reason::Policy).by(rule.clone())),
        }
    }
}

#[cfg(test)]
mod tests;

//! Why a caller was refused: one sentence for the peer, the truth for the audit log.

use std::fmt;
use std::sync::Arc;

use highball_core::{Code, Status};

/// Why. A closed set, so that it can be a metric label. It never goes to the peer: to somebody who forges tokens, the
/// difference between a bad signature and a wrong audience is a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// No token, where one was needed.
    Missing,
    /// Not one well-formed bearer token: two headers, another scheme, too long, not a JWT, no `exp`, no `sub`.
    Malformed,
    /// `exp` has passed, leeway included.
    Expired,
    /// The key did not sign this, or not with its algorithm; `alg` is `none`.
    BadSignature,
    /// No key has the token's `kid`, or several could be meant.
    UnknownKey,
    /// `iss` is another one.
    WrongIssuer,
    /// `aud` names somebody else.
    WrongAudience,
    /// `nbf` has not come, leeway included.
    NotYetValid,
    /// There are no keys to judge a token by: never fetched, or older than the bound on staleness.
    KeysUnavailable,
    /// The policy says no.
    Policy,
}

impl Reason {
    /// The label value: `bad_signature`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Expired => "expired",
            Self::BadSignature => "bad_signature",
            Self::UnknownKey => "unknown_key",
            Self::WrongIssuer => "wrong_issuer",
            Self::WrongAudience => "wrong_audience",
            Self::NotYetValid => "not_yet_valid",
            Self::KeysUnavailable => "keys_unavailable",
            Self::Policy => "policy",
        }
    }

    /// Whether a signature was checked to find out, which is what makes refusals expensive.
    #[must_use]
    pub fn is_after_signature_check(self) -> bool {
        matches!(
            self,
            Self::BadSignature | Self::Expired | Self::WrongIssuer | Self::WrongAudience | Self::NotYetValid
        )
    }

    fn status(self) -> Status {
        match self {
            Self::Missing => Status::new(Code::Unauthenticated, "missing authorization token"),
            Self::Policy => Status::new(Code::PermissionDenied, "permission denied"),
            // The token may be good: a client that hears UNAUTHENTICATED throws it away and asks its user to log in,
            // because our key server is down.
            Self::KeysUnavailable => Status::new(Code::Unavailable, "tokens cannot be verified now"),
            _ => Status::new(Code::Unauthenticated, "invalid token"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A refusal: what the peer hears, and what the audit log and the counter say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// For the peer.
    pub status: Status,
    /// For the audit log and the counter.
    pub reason: Reason,
    /// The rule that decided, when the policy was asked.
    pub rule: Option<Arc<str>>,
}

impl Denial {
    /// A refusal before the policy was asked.
    #[must_use]
    pub fn new(reason: Reason) -> Self {
        Self { status: reason.status(), reason, rule: None }
    }

    /// Names the rule that decided.
    #[must_use]
    pub fn by(mut self, rule: Arc<str>) -> Self {
        self.rule = Some(rule);
        self
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.status, self.reason)?;
        if let Some(rule) = &self.rule {
            write!(f, ", rule {rule}")?;
        }
        f.write_str(")")
    }
}

impl std::error::Error for Denial {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_hears_one_sentence_for_every_bad_token() {
        for reason in [
            Reason::Malformed,
            Reason::Expired,
            Reason::BadSignature,
            Reason::UnknownKey,
            Reason::WrongIssuer,
            Reason::WrongAudience,
            Reason::NotYetValid,
        ] {
            let status = Denial::new(reason).status;
            assert_eq!(
                (status.code(), status.message()),
                (Code::Unauthenticated, "invalid token"),
                "{reason}"
            );
        }
        let missing = Denial::new(Reason::Missing).status;
        assert_eq!(
            (missing.code(), missing.message()),
            (Code::Unauthenticated, "missing authorization token")
        );
        let policy = Denial::new(Reason::Policy).by("default".into());
        assert_eq!(
            (policy.status.code(), policy.status.message()),
            (Code::PermissionDenied, "permission denied")
        );
        assert_eq!(policy.to_string(), "PERMISSION_DENIED: permission denied (policy, rule default)");
    }
}

//! The four signatures that are accepted.

use std::fmt;
use std::str::FromStr;

/// How a token is signed. One per kind of key, so that nothing in a token can choose another (RFC 8725, section 3.1).
///
/// What is missing is missing on purpose: `none`; HS384 and longer, PS256 and longer, ES384: no issuer we know of asks for
/// them where these four are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256 and a shared secret: whoever verifies can also sign.
    Hs256,
    /// RSA PKCS#1 v1.5 with SHA-256, keys of 2048 bits and more.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 4] = [Self::Hs256, Self::Rs256, Self::Es256, Self::EdDsa];

    /// The spelling in a token: `ES256`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    pub(super) fn library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    /// Case sensitive, as in a token.
    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        match text {
            "HS256" => Ok(Self::Hs256),
            "RS256" => Ok(Self::Rs256),
            "ES256" => Ok(Self::Es256),
            // RFC 9864 gives Ed25519 a name of its own and retires the one that also meant Ed448.
            "EdDSA" | "Ed25519" => Ok(Self::EdDsa),
            _ => Err(UnknownAlgorithm(())),
        }
    }
}

/// A name that is none of the four.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownAlgorithm(());

impl fmt::Display for UnknownAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown algorithm; choose HS256, RS256, ES256 or EdDSA")
    }
}

impl std::error::Error for UnknownAlgorithm {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_four_names_are_algorithms() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.name().parse(), Ok(algorithm));
        }
        for name in ["none", "None", "hs256", "HS512", "PS256", "ES384", ""] {
            assert!(name.parse::<Algorithm>().is_err(), "{name}");
        }
    }
}

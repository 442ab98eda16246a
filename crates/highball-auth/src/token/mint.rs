//! Signs tokens: for development, for tests, and for services that are their own issuer.

use std::time::{Duration, SystemTime};

use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Map, Value};

use super::Algorithm;
use super::key::{self, KeyError};

/// What a new token says.
#[derive(Debug, Clone)]
pub struct Claims {
    /// `sub`, the caller.
    pub subject: String,
    /// `iss`. Default none.
    pub issuer: Option<String>,
    /// `aud`: one is written as a text, several as a list. Default none.
    pub audiences: Vec<String>,
    /// `roles`. Default none, and then the claim is left out.
    pub roles: Vec<String>,
    /// `iat`, and what `ttl` counts from: the wall clock of the caller's [`Platform`](highball_net::Platform).
    pub issued: SystemTime,
    /// How long the token is valid: `exp` is `issued` plus this, in whole seconds. Default 1 h.
    pub ttl: Duration,
}

impl Claims {
    /// A token for `subject`, valid for an hour, with nothing else in it.
    pub fn new(subject: impl Into<String>, issued: SystemTime) -> Self {
        Self {
            subject: subject.into(),
            issuer: None,
            audiences: Vec::new(),
            roles: Vec::new(),
            issued,
            ttl: Duration::from_secs(3_600),
        }
    }

    fn to_json(&self) -> Value {
        let issued = self.issued.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut claims = Map::new();
        claims.insert("sub".into(), self.subject.clone().into());
        claims.insert("iat".into(), issued.as_secs().into());
        claims.insert("exp".into(), issued.saturating_add(self.ttl).as_secs().into());
        if let Some(issuer) = &self.issuer {
            claims.insert("iss".into(), issuer.clone().into());
        }
        match self.audiences.as_slice() {
            [] => None,
            [one] => claims.insert("aud".into(), one.clone().into()),
            several => claims.insert("aud".into(), several.into()),
        };
        if !self.roles.is_empty() {
            claims.insert("roles".into(), self.roles.as_slice().into());
        }
        claims.into()
    }
}

/// Signs tokens with one key.
#[derive(Debug, Clone)]
pub struct Signer {
    key: EncodingKey,
    algorithm: Algorithm,
    kid: Option<String>,
}

impl Signer {
    /// A private key in PEM (PKCS#8; PKCS#1 for RSA, too). Its kind decides the algorithm, and the name of the key is its
    /// RFC 7638 thumbprint, as in the JWKS that [`generate`](super::generate) writes.
    ///
    /// # Errors
    /// [`KeyError`] when it is no private key, or neither RSA, P-256 nor Ed25519.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let (algorithm, key) = EncodingKey::from_ed_pem(pem)
            .map(|key| (Algorithm::EdDsa, key))
            .or_else(|_| EncodingKey::from_ec_pem(pem).map(|key| (Algorithm::Es256, key)))
            .or_else(|_| EncodingKey::from_rsa_pem(pem).map(|key| (Algorithm::Rs256, key)))
            .map_err(|_| KeyError::new("holds no private key in PEM"))?;
        // A public key and another curve parse as well; only a private key of the right kind has these components.
        let kid = Jwk::from_encoding_key(&key, algorithm.library())
            .and_then(|jwk| jwk.thumbprint(ThumbprintHash::SHA256))
            .map_err(|_| KeyError::new("holds no private key that is RSA, P-256 or Ed25519"))?;
        Ok(Self { key, algorithm, kid: Some(kid) })
    }

    /// A shared secret for HS256: 32 bytes at least, one final line end is not part of it. The key has no name.
    ///
    /// # Errors
    /// [`KeyError`] when it is too short, or a PEM key.
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        let key = EncodingKey::from_secret(key::secret_bytes(secret)?);
        Ok(Self { key, algorithm: Algorithm::Hs256, kid: None })
    }

    /// Names the key in each token.
    #[must_use]
    pub fn with_kid(mut self, kid: impl Into<String>) -> Self {
        self.kid = Some(kid.into());
        self
    }

    /// What it signs with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Makes a token.
    ///
    /// # Errors
    /// [`KeyError`] when the key cannot sign, such as RSA below 2048 bits.
    pub fn sign(&self, claims: &Claims) -> Result<String, KeyError> {
        self.sign_json(&claims.to_json())
    }

    pub(crate) fn sign_json(&self, claims: &Value) -> Result<String, KeyError> {
        let mut header = Header::new(self.algorithm.library());
        header.kid.clone_from(&self.kid);
        jsonwebtoken::encode(&header, claims, &self.key)
            .map_err(|_| KeyError::new("holds a key that cannot sign"))
    }

    /// The public half, as an entry of a JWKS; `None` for a shared secret, which has none.
    pub(super) fn public_jwk(&self) -> Option<Value> {
        if self.algorithm == Algorithm::Hs256 {
            return None;
        }
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm.library()).ok()?;
        jwk.common.key_id.clone_from(&self.kid);
        jwk.common.public_key_use = Some(jsonwebtoken::jwk::PublicKeyUse::Signature);
        serde_json::to_value(jwk).ok()
    }
}

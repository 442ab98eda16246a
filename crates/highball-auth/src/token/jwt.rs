//! The three parts of a JWT, and its signature (RFC 7515, compact serialization).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Algorithm;
use super::key::Key;
use crate::Reason;

/// A token that has its shape; nothing it says is proven.
#[derive(Debug)]
pub(crate) struct Jwt<'a> {
    pub(crate) kid: Option<String>,
    pub(crate) algorithm: Algorithm,
    /// Header and payload, as they were signed.
    message: &'a str,
    payload: &'a str,
    signature: &'a str,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

impl<'a> Jwt<'a> {
    /// Splits a token and reads its header.
    ///
    /// Keys that the header brings along or points at (`jwk`, `jku`, `x5c`, `x5u`) are not looked at: a forger has keys, too.
    ///
    /// # Errors
    /// [`Reason::Malformed`]; [`Reason::BadSignature`] for `none` and every other algorithm that we do not speak.
    pub(crate) fn parse(token: &'a [u8]) -> Result<Self, Reason> {
        let token = std::str::from_utf8(token).map_err(|_| Reason::Malformed)?;
        let (message, signature) = token.rsplit_once('.').ok_or(Reason::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(Reason::Malformed)?;
        if payload.contains('.') {
            return Err(Reason::Malformed);
        }
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| Reason::Malformed)?;
        // RFC 7515, section 4.1.11: what is critical and not understood makes the token invalid. We understand none.
        if header.crit.is_some() {
            return Err(Reason::Malformed);
        }
        let algorithm = header.alg.parse().map_err(|_| Reason::BadSignature)?;
        Ok(Self { kid: header.kid, algorithm, message, payload, signature })
    }

    /// Checks the signature, and only then gives the payload out.
    ///
    /// # Errors
    /// [`Reason::BadSignature`]; [`Reason::Malformed`] for a payload that is not base64url.
    pub(crate) fn verify(&self, key: &Key) -> Result<Vec<u8>, Reason> {
        // `KeySet::find` already chose by algorithm. This is the line that must hold, so it does not rely on that.
        if key.algorithm != self.algorithm {
            return Err(Reason::BadSignature);
        }
        let message = self.message.as_bytes();
        match jsonwebtoken::crypto::verify(self.signature, message, &key.decoding, key.algorithm.library()) {
            Ok(true) => decode(self.payload),
            Ok(false) | Err(_) => Err(Reason::BadSignature),
        }
    }
}

fn decode(part: &str) -> Result<Vec<u8>, Reason> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Reason::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(header: &str, expected: Result<Algorithm, Reason>) {
        let token = format!("{}.e30.AAAA", URL_SAFE_NO_PAD.encode(header));
        assert_eq!(Jwt::parse(token.as_bytes()).map(|jwt| jwt.algorithm), expected, "{header}");
    }

    #[test]
    fn a_header_names_one_of_our_algorithms_and_nothing_critical() {
        check(r#"{"alg":"ES256","kid":"a","typ":"at+jwt"}"#, Ok(Algorithm::Es256));
        check(r#"{"alg":"Ed25519"}"#, Ok(Algorithm::EdDsa));
        check(r#"{"alg":"none"}"#, Err(Reason::BadSignature));
        check(r#"{"alg":"HS512"}"#, Err(Reason::BadSignature));
        check(r#"{"alg":"ES256","crit":["exp"]}"#, Err(Reason::Malformed));
        check(r#"{"alg":"ES256","alg":"HS256"}"#, Err(Reason::Malformed));
        check(r#"{"alg":"ES256","kid":7}"#, Err(Reason::Malformed));
        check("{}", Err(Reason::Malformed));
        check("", Err(Reason::Malformed));
    }

    #[test]
    fn a_token_has_three_parts() {
        for token in ["", ".", "..", "a.b", "a.b.c.d", "e30.e30.", "\u{e9}.a.b"] {
            assert!(Jwt::parse(token.as_bytes()).is_err(), "{token}");
        }
        assert!(Jwt::parse(&[0xff, b'.', b'.']).is_err());
    }

    proptest! {
        #[test]
        fn no_token_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), header in "[{}:\",a-z0-9]{0,40}") {
            drop(Jwt::parse(&bytes));
            let token = format!("{}.{}.x", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(bytes));
            drop(Jwt::parse(token.as_bytes()));
        }
    }
}

//! A token as a header (RFC 6750, section 2.1), and one that never changes.

use std::future::ready;

use futures_util::future::BoxFuture;
use http::HeaderValue;
use http::header::AUTHORIZATION;

use super::{Credentials, CredentialsError, Headers};

/// Longest token that is presented: servers bound their header lists, ours to 16 KiB by default.
pub const TOKEN_SIZE_BYTES_MAX: usize = 16 << 10;

/// A bearer token that is given once and never changes.
#[derive(Debug, Clone)]
pub struct StaticToken(HeaderValue);

impl StaticToken {
    /// Presents `token`.
    ///
    /// # Errors
    /// [`CredentialsError`] when it is empty, longer than [`TOKEN_SIZE_BYTES_MAX`], or holds anything but visible ASCII. The
    /// token is not repeated.
    pub fn new(token: &str) -> Result<Self, CredentialsError> {
        match bearer(token) {
            Ok(value) => Ok(Self(value)),
            Err(problem) => Err(CredentialsError::new(format!("the token {problem}"))),
        }
    }
}

impl Credentials for StaticToken {
    fn headers<'a>(&'a self, _audience: &'a str) -> BoxFuture<'a, Result<Headers, CredentialsError>> {
        Box::pin(ready(Ok(authorization(&self.0))))
    }
}

/// The header of one token.
pub(super) fn authorization(value: &HeaderValue) -> Headers {
    vec![(AUTHORIZATION, value.clone())]
}

/// `Bearer` and the token, marked sensitive: its `Debug` shows neither.
///
/// # Errors
/// What is wrong with the token, to be put behind its name. RFC 6749, appendix A.12, allows visible ASCII; blanks, which it
/// allows too, cannot be told from the end of the token.
pub(super) fn bearer(token: &str) -> Result<HeaderValue, String> {
    if token.is_empty() {
        return Err("is empty".to_owned());
    }
    if token.len() > TOKEN_SIZE_BYTES_MAX {
        return Err(format!("is longer than {TOKEN_SIZE_BYTES_MAX} bytes"));
    }
    let strange = || "holds something else than one word of visible ASCII".to_owned();
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(strange());
    }
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| strange())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_static_token_is_presented_and_never_shown() {
        let token = StaticToken::new("abc.def~+/=").unwrap();
        let headers = token.headers("https://shop.example").await.unwrap();
        assert_eq!(headers[0].0, AUTHORIZATION);
        assert_eq!(headers[0].1, "Bearer abc.def~+/=");
        assert!(headers[0].1.is_sensitive());
        for shown in [format!("{token:?}"), format!("{headers:?}")] {
            assert!(!shown.contains("abc"), "{shown}");
        }
        assert!(!token.allows_plaintext());
    }

    #[test]
    fn what_cannot_be_a_token_is_refused_without_repeating_it() {
        let long = "x".repeat(TOKEN_SIZE_BYTES_MAX + 1);
        for bad in ["", "hunter2 x", "hunter2\n", "hünter2", &long] {
            let error = StaticToken::new(bad).unwrap_err().to_string();
            assert!(!error.contains("nter2") && !error.contains("xx"), "{error}");
        }
        assert!(StaticToken::new(&"x".repeat(TOKEN_SIZE_BYTES_MAX)).is_ok());
    }
}

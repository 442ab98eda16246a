//! The key that makes a retry safe: `idempotency-key` in the metadata of a call.

use std::fmt::Write as _;

use http::HeaderMap;
use thiserror::Error;

/// Name of the metadata entry.
pub(crate) const HEADER: &str = "idempotency-key";

/// Longest key, in characters.
pub(crate) const MAX_LEN: usize = 128;

/// The metadata holds no usable key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum BadKey {
    /// Empty, too long, or with characters that are not visible ASCII.
    #[error("idempotency-key must be 1 to 128 visible ASCII characters")]
    Malformed,
    /// More than one entry: which one counts would be a guess.
    #[error("idempotency-key must be given once")]
    Repeated,
}

/// Reads the key of a call; `None` when the caller gave none.
pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Option<&str>, BadKey> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(BadKey::Repeated);
    }
    let bytes = value.as_bytes();
    let fits = (1..=MAX_LEN).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    let text = std::str::from_utf8(bytes).map_err(|_| BadKey::Malformed)?;
    if fits { Ok(Some(text)) } else { Err(BadKey::Malformed) }
}

/// What names one request for ever: the method, whose request it is, and the caller's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestKey {
    /// Full method name. The same key in two methods names two requests.
    pub(crate) method: &'static str,
    /// Whose key it is, so that two users who count from one do not meet.
    pub(crate) scope: String,
    /// The caller's key; in a batch followed by the place of the message.
    pub(crate) key: String,
    /// The request under that key.
    pub(crate) fingerprint: Fingerprint,
}

/// The key of the message at `index` of a batch. The number is after the last slash, so no other key and
/// index share it.
pub(crate) fn in_batch(key: &str, index: usize) -> String {
    format!("{key}/{index}")
}

/// SHA-256 of a request, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint(String);

impl Fingerprint {
    /// From a digest.
    pub(crate) fn new(digest: [u8; 32]) -> Self {
        let mut text = String::with_capacity(64);
        for byte in digest {
            write!(text, "{byte:02x}").expect("a string takes all text");
        }
        Self(text)
    }

    /// The text the database keeps.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&[u8]]) -> Result<Option<String>, BadKey> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_bytes(value).unwrap());
        }
        from_headers(&headers).map(|key| key.map(str::to_owned))
    }

    #[test]
    fn no_key_is_no_error() {
        assert_eq!(read(&[]), Ok(None));
    }

    #[test]
    fn visible_ascii_up_to_the_limit_is_a_key() {
        assert_eq!(read(&[b"a"]), Ok(Some("a".into())));
        assert_eq!(read(&[&[b'~'; MAX_LEN]]), Ok(Some("~".repeat(MAX_LEN))));
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [&b""[..], b"a b", b"\t", "\u{e9}".as_bytes(), &[b'a'; MAX_LEN + 1]] {
            assert_eq!(read(&[bad]), Err(BadKey::Malformed), "{bad:?}");
        }
        assert_eq!(read(&[b"a", b"a"]), Err(BadKey::Repeated));
    }

    #[test]
    fn keys_of_batches_never_meet() {
        assert_ne!(in_batch("a/1", 0), in_batch("a", 1));
        assert_ne!(in_batch("a", 10), in_batch("a/1", 0));
    }
}

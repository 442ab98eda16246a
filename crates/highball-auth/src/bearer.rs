//! The `authorization` header.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::Reason;

/// The one bearer token of a request; `None` without the header.
///
/// # Errors
/// [`Reason::Malformed`] for two headers, another scheme, or no token behind the scheme. Which of two tokens counts is not
/// ours to guess: a proxy in front may have checked the other one.
pub(crate) fn token(headers: &HeaderMap) -> Result<Option<&[u8]>, Reason> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Reason::Malformed);
    }
    let value = value.as_bytes();
    let scheme_end = value.iter().position(|byte| *byte == b' ').ok_or(Reason::Malformed)?;
    let (scheme, rest) = value.split_at(scheme_end);
    // RFC 9110, section 11.1: the name of a scheme is not case sensitive.
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(Reason::Malformed);
    }
    let token = rest.trim_ascii();
    if token.is_empty() { Err(Reason::Malformed) } else { Ok(Some(token)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    #[track_caller]
    fn check(values: &[&str], expected: Result<Option<&str>, Reason>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        assert_eq!(token(&headers), expected.map(|token| token.map(str::as_bytes)));
    }

    #[test]
    fn a_bearer_token_has_one_header_and_a_scheme_in_any_case() {
        check(&[], Ok(None));
        check(&["Bearer a.b.c"], Ok(Some("a.b.c")));
        check(&["bearer a.b.c"], Ok(Some("a.b.c")));
        check(&["BEARER  a.b.c "], Ok(Some("a.b.c")));
        for bad in ["", "Bearer", "Bearer ", "Basic YTpi", "a.b.c", "Bearera.b.c x"] {
            check(&[bad], Err(Reason::Malformed));
        }
    }

    #[test]
    fn two_authorization_headers_are_refused_even_when_they_agree() {
        check(&["Bearer a.b.c", "Bearer a.b.c"], Err(Reason::Malformed));
    }

    proptest! {
        #[test]
        fn no_header_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut headers = HeaderMap::new();
                headers.insert(AUTHORIZATION, value);
                if let Ok(Some(token)) = token(&headers) {
                    prop_assert!(!token.is_empty());
                }
            }
        }
    }
}

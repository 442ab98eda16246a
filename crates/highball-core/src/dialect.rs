//! Which protocol a request speaks.

use std::fmt;

use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// The protocol of one request, read from its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// gRPC over HTTP/2: `application/grpc`, optionally followed by `+proto`, `+json` or another codec.
    Grpc,
    /// Plain HTTP with JSON, by `google.api.http`; translated on the way.
    Rest,
}

impl Dialect {
    /// The dialect, or `None` when nobody here speaks it. The answer to `None` is HTTP 415, as gRPC over HTTP/2 asks.
    ///
    /// `application/grpc-web` is a different dialect, not gRPC with a suffix.
    #[must_use]
    pub fn recognise(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(CONTENT_TYPE)?.as_bytes();
        let (name, rest) = value.split_at_checked("application/grpc".len())?;
        let grpc = name.eq_ignore_ascii_case(b"application/grpc")
            && matches!(rest.first(), None | Some(b'+' | b';'));
        grpc.then_some(Self::Grpc)
    }

    /// As logs spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Rest => "rest",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn grpc_is_told_from_its_neighbours() {
        for (content_type, grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("Application/GRPC", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grpcx", false),
            ("application/json", false),
            ("text/html", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            assert_eq!(Dialect::recognise(&headers).is_some(), grpc, "{content_type}");
        }
        assert_eq!(Dialect::recognise(&HeaderMap::new()), None);
    }
}

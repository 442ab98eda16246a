//! The name of what is called.

use std::fmt;

use http::uri::PathAndQuery;

/// `/package.Service/Method`, kept as it arrived: cloning it copies nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Method {
    path: PathAndQuery,
    slash: usize,
}

impl Method {
    /// Splits a request path. Paths are case sensitive; a query is not part of a gRPC path.
    ///
    /// # Errors
    /// [`InvalidMethod`] when the path is not exactly two non-empty segments.
    pub fn parse(path: &PathAndQuery) -> Result<Self, InvalidMethod> {
        let text = path.as_str().strip_prefix('/').ok_or(InvalidMethod(()))?;
        let (service, name) = text.split_once('/').ok_or(InvalidMethod(()))?;
        if service.is_empty() || name.is_empty() || name.contains(['/', '?']) || service.contains('?') {
            return Err(InvalidMethod(()));
        }
        Ok(Self { slash: service.len() + 1, path: path.clone() })
    }

    /// `package.Service`.
    #[must_use]
    pub fn service(&self) -> &str {
        self.path.as_str().get(1..self.slash).unwrap_or_default()
    }

    /// `Method`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.as_str().get(self.slash + 1..).unwrap_or_default()
    }

    /// `package.Service/Method`, without the leading slash, as metrics and logs spell it.
    #[must_use]
    pub fn full_name(&self) -> &str {
        self.path.as_str().get(1..).unwrap_or_default()
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.full_name())
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Method({self})")
    }
}

/// A path that is not `/package.Service/Method`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidMethod(());

impl fmt::Display for InvalidMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed method name: expected /package.Service/Method")
    }
}

impl std::error::Error for InvalidMethod {}

/// How many messages go each way, as the descriptors say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MethodKind {
    /// One message each way. Only these get a default deadline and a cap.
    Unary,
    /// At least one direction is a stream.
    Streaming,
    /// The descriptors do not list the method; treated like a stream, because cutting a stream that nobody asked to cut
    /// is the worse mistake.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_two_segments() {
        let method = Method::parse(&PathAndQuery::from_static("/pkg.v1.Service/Do")).unwrap();
        assert_eq!((method.service(), method.name()), ("pkg.v1.Service", "Do"));
        assert_eq!(method.to_string(), "pkg.v1.Service/Do");
        for path in ["/", "/a", "/a/", "//b", "/a/b/c", "/a/b?c=d", "*"] {
            let path = PathAndQuery::from_maybe_shared(path.as_bytes()).unwrap();
            assert!(Method::parse(&path).is_err(), "{path}");
        }
    }
}

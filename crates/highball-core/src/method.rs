//! The name of what is called.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

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
        let text = path.as_str().as_bytes();
        let is_mark = |byte: &u8| matches!(byte, b'/' | b'?');
        // Two slashes and no question mark: the first at the start, the second neither beside it nor at the end.
        let mut marks = text.iter().enumerate().filter(|(_, byte)| is_mark(byte));
        match (marks.next(), marks.next(), marks.next()) {
            (Some((0, b'/')), Some((slash, b'/')), None) if slash > 1 && slash + 1 < text.len() => {
                Ok(Self { slash, path: path.clone() })
            }
            _ => Err(InvalidMethod(())),
        }
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

/// A table by names that we chose ourselves, such as the methods of the descriptors. What is asked for may come from
/// anywhere; only what is put in could fill one place with many.
pub type NameMap<K, V> = HashMap<K, V, BuildHasherDefault<NameHasher>>;

/// A hash for [`NameMap`], eight bytes at a time. It has no secret: not for keys that others choose.
#[derive(Debug, Clone, Default)]
pub struct NameHasher(u64);

impl Hasher for NameHasher {
    fn finish(&self) -> u64 {
        // Multiplication carries upwards only, and tables look at the lowest bits.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut add = |piece: u64| self.0 = (self.0.rotate_left(23) ^ piece).wrapping_mul(ODD);
        let (pieces, rest) = bytes.as_chunks::<8>();
        pieces.iter().for_each(|piece| add(u64::from_le_bytes(*piece)));
        let mut last = [0; 8];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        add(u64::from_le_bytes(last) ^ ((bytes.len() as u64) << 56));
    }

    fn write_u8(&mut self, _: u8) {
        // The mark that ends a text; its length is in the hash.
    }
}

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
    use std::collections::HashSet;
    use std::hash::Hash as _;

    #[test]
    fn names_that_are_alike_have_hashes_that_are_not() {
        let hash = |name: &str| {
            let mut hasher = NameHasher::default();
            name.hash(&mut hasher);
            hasher.finish()
        };
        let names = (0..1000).map(|n| format!("shop.v1.Orders/Get{n}"));
        let low: HashSet<u64> = names.clone().map(|name| hash(&name) % 4096).collect();
        // Of 1,000 balls thrown into 4,096 boxes, 888 boxes are expected to be hit.
        assert!(low.len() > 800, "{}", low.len());
        let high: HashSet<u64> = names.map(|name| hash(&name) >> 57).collect();
        assert_eq!(high.len(), 128);
        assert_ne!(hash("a"), hash("a\0"));
    }

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

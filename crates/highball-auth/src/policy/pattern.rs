//! Names with at most one star, at one end.

/// Matches names (gRFC A43: exact, prefix, suffix, presence).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pattern {
    Any,
    Exact(Box<str>),
    Prefix(Box<str>),
    Suffix(Box<str>),
}

impl Pattern {
    /// `None` for an empty one, and for a star elsewhere: it would be taken for more than it is.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let pattern = if text == "*" {
            Self::Any
        } else if let Some(end) = text.strip_prefix('*') {
            Self::Suffix(end.into())
        } else if let Some(start) = text.strip_suffix('*') {
            Self::Prefix(start.into())
        } else {
            Self::Exact(text.into())
        };
        match &pattern {
            Self::Exact(rest) | Self::Prefix(rest) | Self::Suffix(rest) => {
                (!rest.is_empty() && !rest.contains('*')).then_some(pattern)
            }
            Self::Any => Some(pattern),
        }
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => **exact == *name,
            Self::Prefix(start) => name.starts_with(&**start),
            Self::Suffix(end) => name.ends_with(&**end),
        }
    }

    /// For names whose ASCII case means nothing.
    pub(super) fn matches_any_case(&self, name: &str) -> bool {
        let (name, same) = (name.as_bytes(), |part: Option<&[u8]>, text: &str| {
            part.is_some_and(|part| part.eq_ignore_ascii_case(text.as_bytes()))
        });
        match self {
            Self::Any => true,
            Self::Exact(exact) => same(Some(name), exact),
            Self::Prefix(start) => same(name.get(..start.len()), start),
            Self::Suffix(end) => same(name.len().checked_sub(end.len()).and_then(|at| name.get(at..)), end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_at_one_end() {
        for (pattern, name, matches) in [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("abc*", "abcd", true),
            ("abc*", "abc", true),
            ("abc*", "xabc", false),
            ("*abc", "xabc", true),
            ("*abc", "abcx", false),
            ("*abc", "bc", false),
            ("*", "", true),
            ("ABC", "abc", false),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(name), matches, "{pattern} {name}");
        }
        for bad in ["", "**", "*a*", "a*b", "***"] {
            assert_eq!(Pattern::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn dns_names_match_in_any_case_and_by_bytes() {
        for (pattern, name, matches) in [
            ("Api.Example", "api.example", true),
            ("*.example", "API.EXAMPLE", true),
            ("api.*", "API.EXAMPLE", true),
            ("*.example", "example", false),
            ("a*", "\u{e9}", false),
            ("*a", "\u{e9}", false),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().matches_any_case(name), matches, "{pattern} {name}");
        }
    }
}

//! Why a connection was refused: a label for a metric, and a sentence for the log.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

/// Why there is no connection to serve. A closed set; [`Reason::label`] is for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The connection does not come from a proxy that is believed. Nothing was read.
    Untrusted,
    /// It begins with something else, such as TLS or HTTP.
    NoHeader,
    /// The header breaks the grammar, or has values that a receiver must refuse.
    Malformed,
    /// The header is for datagrams.
    Unsupported,
    /// The header is longer than [`super::V1_LENGTH_BYTES_MAX`] or [`super::V2_LENGTH_BYTES_MAX`].
    TooLong,
    /// The other side closed without a word. Load balancers probe a port this way; it is no reason to worry.
    Silent,
    /// The other side closed within the header.
    Closed,
    /// The header was not complete in time.
    Timeout,
    /// The connection failed.
    Io,
}

impl Reason {
    /// Every reason, for what wants to show them at zero.
    pub const ALL: [Self; 9] = [
        Self::Untrusted,
        Self::NoHeader,
        Self::Malformed,
        Self::Unsupported,
        Self::TooLong,
        Self::Silent,
        Self::Closed,
        Self::Timeout,
        Self::Io,
    ];

    /// The value of a metric's label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Untrusted => "untrusted",
            Self::NoHeader => "no_header",
            Self::Malformed => "malformed",
            Self::Unsupported => "unsupported",
            Self::TooLong => "too_long",
            Self::Silent => "silent",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Io => "io",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Untrusted => {
                "the connection comes from an address that is not among the trusted proxies; add it, or keep it out"
            }
            Self::NoHeader => {
                "the connection does not begin with a PROXY protocol header; turn the protocol on in the proxy, or off here"
            }
            Self::Malformed => "the PROXY protocol header is malformed",
            Self::Unsupported => "the PROXY protocol header is for datagrams, and this is a byte stream",
            Self::TooLong => "the PROXY protocol header is too long",
            Self::Silent => "the connection was closed before its first byte, as probes do",
            Self::Closed => "the connection was closed within the PROXY protocol header",
            Self::Timeout => "the PROXY protocol header was not complete in time",
            Self::Io => "the connection failed within the PROXY protocol header",
        }
    }
}

/// A connection that did not begin with a PROXY protocol header we believe, in one sentence. For our log: the other side
/// is told nothing.
#[derive(Debug)]
pub struct ProxyError {
    reason: Reason,
    limit: Option<Duration>,
    source: Option<io::Error>,
}

impl ProxyError {
    /// What a caller reports that gave up after `limit`.
    #[must_use]
    pub fn timed_out(limit: Duration) -> Self {
        Self { reason: Reason::Timeout, limit: Some(limit), source: None }
    }

    /// Why, for a metric.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }
}

impl From<Reason> for ProxyError {
    fn from(reason: Reason) -> Self {
        Self { reason, limit: None, source: None }
    }
}

impl From<io::Error> for ProxyError {
    fn from(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::UnexpectedEof => Reason::Closed.into(),
            _ => Self { reason: Reason::Io, limit: None, source: Some(source) },
        }
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.sentence())?;
        match (&self.limit, &self.source) {
            (Some(limit), _) => write!(f, " ({limit:?})"),
            (None, Some(source)) => write!(f, ": {source}"),
            (None, None) => Ok(()),
        }
    }
}

impl Error for ProxyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

//! How a stream fails, and how a connection does not come about.

use std::error::Error;
use std::fmt;

use highball_core::BoxError;

/// What a failed stream may have done at the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendErrorKind {
    /// Nothing: its HEADERS were never written completely.
    NeverSent,
    /// Nothing, says the server: RST_STREAM with REFUSED_STREAM, or GOAWAY with a last stream below this one (RFC 9113
    /// section 6.8 and 8.7).
    Refused,
    /// Anything: RST_STREAM with this code (RFC 9113 section 7), received, or sent because the response broke the protocol.
    Reset(u32),
    /// Anything: the connection broke while the stream was under way.
    Lost,
}

impl fmt::Display for SendErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverSent => f.write_str("the request was not sent"),
            Self::Refused => f.write_str("the server refused the stream"),
            Self::Reset(code) => write!(f, "the stream was reset: {}", h2::Reason::from(*code)),
            Self::Lost => f.write_str("the connection was lost"),
        }
    }
}

/// Why a stream failed: what [`Slot::send`](super::Slot::send) fails with, and what stands in the `source()` chain of the
/// [`BodyError`](highball_core::BodyError) of a response body.
#[derive(Debug)]
pub struct StreamError {
    /// What may have happened at the server.
    pub kind: SendErrorKind,
    source: Option<BoxError>,
}

/// The same error under the name it has before there is a response.
pub type SendError = StreamError;

impl StreamError {
    pub(super) fn new(kind: SendErrorKind, source: impl Into<BoxError>) -> Self {
        Self { kind, source: Some(source.into()) }
    }

    /// Whether a GOAWAY overtook the stream: that tells of the connection's end, and nothing of the stream.
    #[must_use]
    pub fn is_goodbye(&self) -> bool {
        let cause = self.source.as_deref().and_then(|source| source.downcast_ref::<h2::Error>());
        self.kind == SendErrorKind::Refused && cause.is_some_and(|cause| !cause.is_reset())
    }

    pub(super) fn bare(kind: SendErrorKind) -> Self {
        Self { kind, source: None }
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl Error for StreamError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// Why a byte stream did not become an HTTP/2 connection. Its text is a sentence for the operator.
#[derive(Debug)]
pub struct ConnectError {
    kind: ConnectErrorKind,
    source: Option<BoxError>,
}

/// The kinds of a [`ConnectError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectErrorKind {
    /// It answered with a TLS record.
    Tls,
    /// It answered with an HTTP/1 response.
    Http1,
    /// It answered with something else that does not begin with SETTINGS.
    NotHttp2,
    /// It did not answer in [`Settings::settings_timeout`](super::Settings::settings_timeout).
    Timeout,
    /// The connection broke, or was closed, before its SETTINGS came.
    Lost,
}

impl ConnectError {
    pub(super) fn new(kind: ConnectErrorKind, source: Option<BoxError>) -> Self {
        Self { kind, source }
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ConnectErrorKind {
        self.kind
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            ConnectErrorKind::Tls => "the server answered with TLS: dial it with TLS",
            ConnectErrorKind::Http1 => {
                "the server answered with HTTP/1.1: gRPC needs HTTP/2, and this port does not speak it"
            }
            ConnectErrorKind::NotHttp2 => "the server does not speak HTTP/2: its first frame is not SETTINGS",
            ConnectErrorKind::Timeout => "the server accepted the connection and sent no SETTINGS in time",
            ConnectErrorKind::Lost => "the connection ended before the server's SETTINGS came",
        })
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

//! The one body every request and response in the workspace has.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;

/// Any error that may cross threads.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Why a body ended early.
///
/// A concrete type rather than a [`BoxError`]: some services only take bodies whose error implements
/// [`std::error::Error`], which a boxed error does not. Display prints the cause itself and `source()` returns it, so the
/// h2 reset code stays reachable for hyper.
#[derive(Debug)]
pub struct BodyError(BoxError);

impl BodyError {
    /// Wraps a cause. A `BodyError` handed in again is not nested.
    pub fn new(cause: impl Into<BoxError>) -> Self {
        match cause.into().downcast::<Self>() {
            Ok(same) => *same,
            Err(cause) => Self(cause),
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for BodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

/// A stream of data and trailers frames, boxed once at the door.
pub struct Body(Kind);

enum Kind {
    Empty,
    Boxed(UnsyncBoxBody<Bytes, BodyError>),
}

impl Body {
    /// A body without frames; the response head that carries it ends the stream (trailers-only).
    #[must_use]
    pub fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// Boxes any HTTP body. A `Body` handed in again is not boxed twice.
    pub fn new<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut body = Some(body);
        let any: &mut dyn Any = &mut body;
        if let Some(same) = any.downcast_mut::<Option<Self>>().and_then(Option::take) {
            return same;
        }
        body.map_or_else(Self::empty, Self::boxed)
    }

    /// Boxes a body whose error is this crate's already: nothing is looked at on its way.
    pub fn of<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes, Error = BodyError> + Send + 'static,
    {
        Self(Kind::Boxed(body.boxed_unsync()))
    }

    fn boxed<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Kind::Boxed(body.map_err(BodyError::new).boxed_unsync()))
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("end_stream", &self.is_end_stream()).finish()
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Boxed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Boxed(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_error_keeps_its_cause_reachable_and_is_not_nested() {
        let io = std::io::Error::other("reset");
        let once = BodyError::new(io);
        let twice = BodyError::new(once);
        let source = twice.source().expect("a cause");
        assert!(source.is::<std::io::Error>(), "{source:?}");
        assert_eq!(twice.to_string(), "reset");
    }
}

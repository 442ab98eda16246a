//! The request body as hyper hands it over, with an interrupted one told from a whole one.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use highball_core::{Body, BodyError};
use http::{Request, Version};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming as FromHyper;

/// The body of a request.
pub(crate) fn request(request: Request<FromHyper>) -> Request<Incoming> {
    let watched = request.version() == Version::HTTP_2;
    request.map(|incoming| Incoming { source: Source::Wire(incoming), watched })
}

/// The body of a request, as it comes in.
///
/// hyper reports RST_STREAM(NO_ERROR) as a clean end of the body, and some proxies reset with that code when their client
/// goes away: half an upload would pass for a whole one. After a true end h2 says that the stream is over; after a reset
/// it does not.
#[derive(Debug)]
pub struct Incoming {
    source: Source,
    /// Whether a reset must be told from an end: in HTTP/2.
    watched: bool,
}

#[derive(Debug)]
enum Source {
    Wire(FromHyper),
    /// Translated on the way.
    Made(Body),
    /// It has ended.
    Over,
}

impl Incoming {
    /// A body that stands for one that came in, such as its translation.
    #[must_use]
    pub fn of(body: Body) -> Self {
        Self { source: Source::Made(body), watched: false }
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { source, watched } = &mut *self;
        let incoming = match source {
            Source::Wire(incoming) => incoming,
            Source::Made(body) => return Pin::new(body).poll_frame(cx),
            Source::Over => return Poll::Ready(None),
        };
        let frame = match ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
            Some(Ok(frame)) => return Poll::Ready(Some(Ok(frame))),
            Some(Err(error)) => Some(Err(BodyError::new(error))),
            None if !*watched || incoming.is_end_stream() => None,
            None => Some(Err(BodyError::new(Interrupted))),
        };
        *source = Source::Over;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Wire(incoming) => incoming.is_end_stream(),
            Source::Made(body) => body.is_end_stream(),
            Source::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Wire(incoming) => incoming.size_hint(),
            Source::Made(body) => body.size_hint(),
            Source::Over => SizeHint::default(),
        }
    }
}

/// The client reset the stream before its request had ended.
#[derive(Debug)]
struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request was reset before its end")
    }
}

impl std::error::Error for Interrupted {}

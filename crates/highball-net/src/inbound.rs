//! The request body as hyper hands it over, with an interrupted one told from a whole one.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use highball_core::{Body, BodyError};
use http::{Request, Version};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

/// Boxes the body of a request.
pub(crate) fn request(request: Request<Incoming>) -> Request<Body> {
    let watched = request.version() == Version::HTTP_2;
    request.map(|incoming| if watched { Body::of(Whole(Some(incoming))) } else { Body::new(incoming) })
}

/// hyper reports RST_STREAM(NO_ERROR) as a clean end of the body, and some proxies reset with that code when their client
/// goes away: half an upload would pass for a whole one. After a true end h2 says that the stream is over; after a reset
/// it does not.
struct Whole(Option<Incoming>);

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(incoming) = &mut self.0 else { return Poll::Ready(None) };
        let frame = match ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
            Some(Ok(frame)) => return Poll::Ready(Some(Ok(frame))),
            Some(Err(error)) => Some(Err(BodyError::new(error))),
            None if incoming.is_end_stream() => None,
            None => Some(Err(BodyError::new(Interrupted))),
        };
        self.0 = None;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map(Incoming::size_hint).unwrap_or_default()
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

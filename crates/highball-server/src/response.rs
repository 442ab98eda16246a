//! The response on its way out: guarded, bounded, and made genuine gRPC.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt as _;
use highball_core::status::{DETAILS, MESSAGE, STATUS};
use highball_core::{Body, BodyError, Code, Dialect, Status};
use highball_telemetry::{Event, Limit};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;

use crate::record::Record;
use crate::stop::{Stop, caught};

/// Makes the service's response what gRPC over HTTP/2 asks for, and lets the record travel in its body.
///
/// An error that is known before the first message becomes a genuine trailers-only response, also when the service put
/// its status into a head that does not end the stream, because clients look for details there and nowhere else. Nothing
/// waits for that: a first frame that is not ready leaves the head free to go.
pub(crate) async fn normalise(response: Response<Body>, record: Record, stop: Stop) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    let in_head = Status::from_headers(&head.headers);
    if in_head.is_none() && (head.status != StatusCode::OK || Dialect::recognise(&head.headers).is_none()) {
        let what = format!(
            "the service answered HTTP {} without a gRPC status",
            head.status.as_u16()
        );
        record.telemetry.report(&Event::HandlerMisbehaved {
            method: record.label(),
            what: &what,
        });
        return record.refuse(Status::new(Code::from_http(head.status), what));
    }
    head.status = StatusCode::OK;
    let status_in_head = take_status(&mut head.headers);
    let must_wait = !status_in_head.is_empty();
    let mut body = Outbound {
        inner: Some(body),
        status_in_head,
        record,
        stop,
        first: None,
    };
    let first = if must_wait {
        Some(body.frame().await)
    } else {
        body.frame().now_or_never()
    };
    match first.map(|frame| frame.transpose()) {
        None => {}
        Some(Ok(Some(frame))) => match frame.into_trailers() {
            Ok(trailers) => {
                head.headers.extend(trailers);
                return Response::from_parts(head, Body::empty());
            }
            Err(frame) => body.first = Some(frame),
        },
        // `Outbound` ends every stream with trailers and never fails, so there is nothing else to see.
        Some(Ok(None) | Err(_)) => {}
    }
    Response::from_parts(head, Body::new(body))
}

/// Moves the status out of a head, with what would contradict the body we send.
fn take_status(headers: &mut HeaderMap) -> HeaderMap {
    headers.remove(CONTENT_LENGTH);
    if !headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    }
    let taken = [STATUS, MESSAGE, DETAILS].map(|name| headers.remove(&name).map(|value| (name, value)));
    taken.into_iter().flatten().collect()
}

/// The outbound body. Whatever happens, it ends with trailers that carry a status, and ends the record with the same.
struct Outbound {
    inner: Option<Body>,
    /// What the service put into its head; stands when the body brings no trailers.
    status_in_head: HeaderMap,
    record: Record,
    stop: Stop,
    first: Option<Frame<Bytes>>,
}

impl Outbound {
    /// Ends the stream with a status of ours. Dropping the service's body cancels what it was doing.
    fn end(&mut self, status: &Status) -> Frame<Bytes> {
        self.inner = None;
        self.record.end(status);
        Frame::trailers(status.to_trailers())
    }

    /// Ends the stream with the service's own trailers.
    fn finish(&mut self, mut trailers: HeaderMap) -> Frame<Bytes> {
        if !trailers.contains_key(STATUS) {
            trailers.extend(std::mem::take(&mut self.status_in_head));
        }
        let Some(status) = Status::from_headers(&trailers) else {
            self.misbehaved("the response ended without a status");
            return self.end(&Status::new(
                Code::Unknown,
                "the service ended the response without a status",
            ));
        };
        self.inner = None;
        self.record.end(&status);
        Frame::trailers(trailers)
    }

    fn misbehaved(&self, what: &str) {
        self.record.telemetry.report(&Event::HandlerMisbehaved {
            method: self.record.label(),
            what,
        });
    }

    /// Counts and bounds a data frame.
    fn data(&mut self, data: Bytes) -> Frame<Bytes> {
        match self.record.sent.walk(&data) {
            Ok(()) => Frame::data(data),
            Err(oversized) => {
                self.record.telemetry.report(&Event::LimitHit {
                    limit: Limit::OutboundMessageSize,
                });
                let sentence = format!("response {oversized} (message_size_bytes_max)");
                self.end(&Status::new(Code::ResourceExhausted, sentence))
            }
        }
    }

    fn broken(&mut self, error: &BodyError) -> Frame<Bytes> {
        self.misbehaved(&format!("the response body failed: {error}"));
        self.end(&Status::new(Code::Internal, "internal error"))
    }
}

impl http_body::Body for Outbound {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(frame) = this.first.take() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        // A stream that always has the next message ready would never reach the poll below.
        if let Some(status) = this.stop.now() {
            return Poll::Ready(Some(Ok(this.end(&status))));
        }
        let frame = match caught(&this.record, || Pin::new(inner).poll_frame(cx)) {
            Err(status) => this.end(&status),
            Ok(Poll::Pending) => match this.stop.poll(cx) {
                Poll::Ready(status) => this.end(&status),
                Poll::Pending => return Poll::Pending,
            },
            Ok(Poll::Ready(Some(Ok(frame)))) => match frame.into_data().map_err(Frame::into_trailers) {
                Ok(data) => this.data(data),
                Err(trailers) => this.finish(trailers.unwrap_or_default()),
            },
            // The service may fail its body because the request broke a rule.
            Ok(Poll::Ready(Some(Err(error)))) => match this.stop.now() {
                Some(status) => this.end(&status),
                None => this.broken(&error),
            },
            Ok(Poll::Ready(None)) => this.finish(HeaderMap::new()),
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_none() && self.first.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        // An exact size would become a content-length, which a status cut short would belie.
        SizeHint::default()
    }
}

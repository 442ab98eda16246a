//! The response on its way out: guarded, bounded, and made genuine gRPC.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use highball_core::status::{DETAILS, MESSAGE, STATUS};
use highball_core::{Body, BodyError, Code, Deadline, Dialect, MethodKind, Status};
use highball_net::{Life, LifeLimit, Room};
use highball_telemetry::{Event, Limit};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Instant;

use crate::record::Record;
use crate::stop::{Stop, expired};

/// Makes the service's response what gRPC over HTTP/2 asks for, and lets the record travel in its body.
///
/// An error that is known before the first message becomes a genuine trailers-only response, also when the service put
/// its status into a head that does not end the stream, because clients look for details there and nowhere else. Nothing
/// waits for that: a first frame that is not ready leaves the head free to go.
pub(crate) fn normalise(response: Response<Body>, record: Box<Record>, stop: Stop) -> Normalised {
    let (mut head, body) = response.into_parts();
    let dialect = Dialect::recognise(&head.headers);
    let is_answer = head.status == StatusCode::OK && dialect.is_some();
    if !is_answer && Status::from_headers(&head.headers).is_none() {
        let what = format!("the service answered HTTP {} without a gRPC status", head.status.as_u16());
        record.report(&Event::HandlerMisbehaved { method: record.label(), what: &what });
        let refused = record.refuse(Status::new(Code::from_http(head.status), what));
        return Normalised::Refused(Some(refused));
    }
    head.status = StatusCode::OK;
    let status_in_head = take_status(&mut head.headers, dialect);
    let body =
        Outbound { inner: Some(body), status_in_head, record, stop, room: Room::default(), first: None };
    Normalised::Begun(Some((head, body)))
}

/// A response whose first frame is looked for. Written by hand, because the future of the walk holds it.
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one")]
pub(crate) enum Normalised {
    Refused(Option<Response<Body>>),
    Begun(Option<(Parts, Outbound)>),
}

impl Future for Normalised {
    type Output = Response<Body>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response<Body>> {
        let begun = match &mut *self {
            Self::Refused(response) => return Poll::Ready(response.take().unwrap_or_default()),
            Self::Begun(begun) => begun,
        };
        let first = begun.as_mut().map(|(_, body)| {
            let must_wait = body.status_in_head.is_some();
            (Pin::new(body).poll_frame(cx), must_wait)
        });
        if let Some((Poll::Pending, true)) = first {
            return Poll::Pending;
        }
        let response = match (begun.take(), first) {
            (Some((head, body)), Some((Poll::Ready(Some(Ok(first))), _))) => with_first(head, body, first),
            // `Outbound` ends every stream with trailers and never fails, so there is nothing but frames to see.
            (Some((head, body)), _) => Response::from_parts(head, Body::of(body)),
            (None, _) => Response::default(),
        };
        Poll::Ready(response)
    }
}

fn with_first(mut head: Parts, mut body: Outbound, first: Frame<Bytes>) -> Response<Body> {
    match first.into_trailers() {
        Ok(trailers) if may_merge(&head.headers, &trailers) => {
            for (name, value) in &trailers {
                if name != CONTENT_TYPE {
                    head.headers.append(name, value.clone());
                }
            }
            return Response::from_parts(head, Body::empty());
        }
        Ok(trailers) => body.first = Some(Frame::trailers(trailers)),
        Err(frame) => body.first = Some(frame),
    }
    Response::from_parts(head, Body::of(body))
}

/// Whether head and trailers may become one block: always for an error, whose details must be found there; for OK only
/// when the service put no metadata of its own into the head, because it would arrive as trailing metadata.
fn may_merge(head: &HeaderMap, trailers: &HeaderMap) -> bool {
    let ok = trailers.get(STATUS).is_some_and(|status| Code::from_header(status) == Code::Ok);
    let plain = |name: &HeaderName| {
        *name == CONTENT_TYPE || matches!(name.as_str(), "grpc-encoding" | "grpc-accept-encoding" | "date")
    };
    !ok || head.keys().all(plain)
}

/// Moves the status out of a head, with what would contradict the body we send.
fn take_status(headers: &mut HeaderMap, dialect: Option<Dialect>) -> Option<Box<HeaderMap>> {
    headers.remove(CONTENT_LENGTH);
    if dialect.is_none() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    }
    let of_status = |name: &HeaderName| [&STATUS, &MESSAGE, &DETAILS].contains(&name);
    if !headers.keys().any(of_status) {
        return None;
    }
    let taken = [STATUS, MESSAGE, DETAILS].map(|name| headers.remove(&name).map(|value| (name, value)));
    Some(Box::new(taken.into_iter().flatten().collect()))
}

/// The outbound body. Whatever happens, it ends with trailers that carry a status, and ends the record with the same.
pub(crate) struct Outbound {
    inner: Option<Body>,
    /// What the service put into its head; stands when the body brings no trailers.
    status_in_head: Option<Box<HeaderMap>>,
    record: Box<Record>,
    stop: Stop,
    /// Where it waits while the connection has no room for another message.
    room: Room,
    first: Option<Frame<Bytes>>,
}

impl Outbound {
    /// Ends the stream with a status of ours. Dropping the service's body cancels what it was doing.
    fn end(&mut self, status: &Status) -> Frame<Bytes> {
        self.release();
        self.record.end(status);
        Frame::trailers(status.to_trailers())
    }

    /// Drops the service's body, which may panic; the RPC has its status already.
    fn release(&mut self) {
        if let Some(body) = self.inner.take() {
            self.stop.caught(&self.record, || drop(body)).ok();
        }
    }

    /// Ends the stream with the service's own trailers.
    fn finish(&mut self, mut trailers: HeaderMap, now: Instant) -> Frame<Bytes> {
        if let Some(in_head) = self.status_in_head.take_if(|_| !trailers.contains_key(STATUS)) {
            trailers.extend(*in_head);
        }
        let Some(status) = Status::from_headers(&trailers) else {
            self.misbehaved("the response ended without a status");
            return self.end(&Status::new(Code::Unknown, "the service ended the response without a status"));
        };
        if !self.record.sent.at_boundary() {
            self.misbehaved("the response ended inside a message");
            return self.end(&Status::new(Code::Internal, "internal error"));
        }
        self.release();
        match self.record.rpc().kind {
            // Its work was done with its message, before `now`.
            MethodKind::Unary => self.record.end_at(&status, now),
            MethodKind::Streaming | MethodKind::Unknown => self.record.end(&status),
        }
        Frame::trailers(trailers)
    }

    /// Ready while the connection has room for another message.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let waited = self.room.is_waiting();
        let ready = Life::poll_room(&mut self.room, cx);
        if ready.is_pending() && !waited {
            self.record.report(&Event::LimitHit { limit: Limit::BufferedSize });
        }
        ready
    }

    fn misbehaved(&self, what: &str) {
        self.record.report(&Event::HandlerMisbehaved { method: self.record.label(), what });
    }

    /// Counts and bounds a data frame.
    fn data(&mut self, data: Bytes) -> Frame<Bytes> {
        match self.record.sent.walk(&data) {
            Ok(()) => {
                // Making a message may take long; the next look at the clock may be long after.
                let rpc = self.record.rpc();
                if rpc.kind == MethodKind::Streaming && rpc.deadline.is_some() {
                    self.record.ran(Instant::now());
                }
                Frame::data(data)
            }
            Err(oversized) => {
                self.record.report(&Event::LimitHit { limit: Limit::OutboundMessageSize });
                let sentence = format!("response {oversized} (message_size_bytes_max)");
                self.end(&Status::new(Code::ResourceExhausted, sentence))
            }
        }
    }

    fn poll_next(&mut self, now: Instant, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        if self.stop.just_answered() {
            self.record.ran(now);
        }
        // A stream that always has the next message ready would never reach the poll below.
        let stop = self.stop.at(&self.record, now);
        if self.inner.is_none() {
            return Poll::Ready(None);
        }
        if let Some(status) = stop {
            return Poll::Ready(Some(self.end(&status)));
        }
        if self.poll_room(cx).is_pending() {
            let status = ready!(self.stop.poll(&self.record, cx));
            return Poll::Ready(Some(self.end(&status)));
        }
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let frame = match self.stop.caught(&self.record, || Pin::new(inner).poll_frame(cx)) {
            Err(status) => self.end(&status),
            Ok(Poll::Pending) => {
                let status = ready!(self.stop.poll(&self.record, cx));
                self.end(&status)
            }
            Ok(Poll::Ready(Some(Ok(frame)))) => match frame.into_data().map_err(Frame::into_trailers) {
                Ok(data) => self.data(data),
                Err(trailers) => self.finish(trailers.unwrap_or_default(), now),
            },
            // The service may fail its body because the request broke a rule.
            Ok(Poll::Ready(Some(Err(error)))) => match self.stop.now(&self.record) {
                Some(status) => self.end(&status),
                None => self.broken(&error),
            },
            Ok(Poll::Ready(None)) => self.finish(HeaderMap::new(), now),
        };
        Poll::Ready(Some(frame))
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
        // hyper polls only while the caller's window has room: being polled is a sign that it reads.
        Life::limit(None);
        let frame = match self.first.take() {
            Some(first) => Some(first),
            None => ready!(self.poll_next(Instant::now(), cx)),
        };
        if frame.as_ref().is_some_and(Frame::is_data) {
            let patience = self.record.host.settings.connection.write_stall;
            let at_latest = self.record.rpc().deadline.as_ref().map(Deadline::at);
            Life::limit(Some(LifeLimit { patience, at_latest }));
        }
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_none() && self.first.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        // An exact size would become a content-length, which a status cut short would belie.
        SizeHint::default()
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        if Life::is_over() {
            let status = match self.record.rpc().deadline.filter(Deadline::has_passed) {
                Some(deadline) => expired(&deadline),
                None => {
                    self.record.report(&Event::LimitHit { limit: Limit::WriteStall });
                    Status::new(
                        Code::Cancelled,
                        "the caller did not read its response (connection.write_stall)",
                    )
                }
            };
            self.record.end(&status);
        }
        self.release();
    }
}

//! The response on its way to the application: its deadline, its limits, its end.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use highball_core::{Body, BodyError, Code, Deadline, Envelopes, Status};
use highball_net::client::{SendErrorKind, StreamError};
use http::{HeaderMap, Response};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::balancer::load::{Active, Outcome};
use crate::channel::Owner;
use crate::orca::OrcaReport;
use crate::record::Record;
use crate::replay::Replay;

/// What has to hear how one attempt ends: the load of its backend.
#[derive(Debug)]
pub(crate) struct Leg {
    active: Option<Active>,
    deadline: Option<Deadline>,
    request: Replay,
}

impl Leg {
    pub(crate) fn new(active: Active, deadline: Option<Deadline>, request: Replay) -> Self {
        Self { active: Some(active), deadline, request }
    }

    /// The first message is here.
    fn answered(&mut self) {
        if let Some(active) = &mut self.active {
            active.answered(Instant::now());
        }
    }

    /// Ends it, once.
    pub(crate) fn end(&mut self, status: &Status, trailers: Option<&HeaderMap>) {
        self.end_at(status, trailers, Instant::now());
    }

    /// The same, for whoever has just looked at the clock.
    fn end_at(&mut self, status: &Status, trailers: Option<&HeaderMap>, now: Instant) {
        if let Some(active) = self.active.take() {
            let orca = trailers.and_then(OrcaReport::from_trailers);
            let outcome =
                Outcome { code: status.code(), orca: orca.as_ref(), pushback: status.retry_after() };
            active.finish(&outcome, now);
        }
    }
}

impl Drop for Leg {
    /// Dropped before its end: the time was up, another attempt won, or the application went away.
    fn drop(&mut self) {
        if self.active.is_none() {
            return;
        }
        let late =
            self.deadline.is_some_and(|deadline| deadline.has_passed()) && !self.request.is_unfinished();
        let code = if late { Code::DeadlineExceeded } else { Code::Cancelled };
        self.end(&Status::new(code, ""), None);
    }
}

/// Hands a committed response to the application.
pub(crate) fn deliver(
    response: Response<Body>,
    mut leg: Leg,
    mut record: Record,
    owner: Arc<Owner>,
    request: Replay,
    size_bytes_max: usize,
) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    let early = Status::from_headers(&head.headers);
    if body.is_end_stream() {
        let status = early.clone().unwrap_or_else(unfinished);
        leg.end(&status, Some(&head.headers));
        record.end(&status);
        return if early.is_some() { Response::from_parts(head, body) } else { status.into_response() };
    }
    if early.is_some() {
        // It is not over yet, and whoever reads this would take it for that.
        remove_status(&mut head.headers);
    }
    let deadline = record.deadline();
    let answer = Answer {
        body: Some(body),
        early,
        envelopes: Envelopes::new(size_bytes_max),
        deadline,
        timer: None,
        leg,
        record,
        request,
        _owner: owner,
    };
    Response::from_parts(head, Body::of(answer))
}

fn remove_status(headers: &mut HeaderMap) {
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
        headers.remove(name);
    }
}

fn unfinished() -> Status {
    Status::new(Code::Unknown, "the server ended the stream without a status")
}

/// The body of a response. Ends with a status, whatever happens.
struct Answer {
    body: Option<Body>,
    /// A status that came with the head, although the stream went on: counts if there is no other.
    early: Option<Status>,
    envelopes: Envelopes,
    deadline: Option<Deadline>,
    /// Set up once the body had to wait.
    timer: Option<Pin<Box<Sleep>>>,
    leg: Leg,
    record: Record,
    request: Replay,
    /// A stream outlives the last handle of its channel.
    _owner: Arc<Owner>,
}

impl Answer {
    /// The status from this side, as trailers. The server hears of it by a reset.
    fn cut(&mut self, status: &Status) -> Option<Result<Frame<Bytes>, BodyError>> {
        self.body = None;
        self.leg.end(status, None);
        self.record.end(status);
        Some(Ok(Frame::trailers(status.to_trailers())))
    }

    fn frame(
        &mut self,
        frame: Option<Result<Frame<Bytes>, BodyError>>,
    ) -> Option<Result<Frame<Bytes>, BodyError>> {
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => self.data(data),
                Err(frame) => self.trailers(frame.into_trailers().unwrap_or_default()),
            },
            // A request that is at fault is why the stream broke.
            Some(Err(error)) => match self.request.fault() {
                Some(fault) => {
                    self.leg.end(&Status::new(Code::Cancelled, ""), None);
                    self.cut(&fault)
                }
                None => self.cut(&broken(&error)),
            },
            None => {
                let status = self.early.take().unwrap_or_else(unfinished);
                self.cut(&status)
            }
        }
    }

    fn data(&mut self, data: Bytes) -> Option<Result<Frame<Bytes>, BodyError>> {
        self.leg.answered();
        // A server that never pauses would keep the timer from being asked.
        if let Some(deadline) = self.deadline.filter(Deadline::has_passed) {
            return self.cut(&deadline_exceeded(&deadline));
        }
        match self.envelopes.walk(&data) {
            Ok(()) => Some(Ok(Frame::data(data))),
            Err(oversized) => {
                let sentence = format!("the response has {oversized} (response_size_bytes_max)");
                // Our own limit: nothing speaks against the backend.
                self.leg.end(&Status::new(Code::Cancelled, ""), None);
                self.cut(&Status::new(Code::ResourceExhausted, sentence))
            }
        }
    }

    fn trailers(&mut self, trailers: HeaderMap) -> Option<Result<Frame<Bytes>, BodyError>> {
        let Some(status) = Status::from_headers(&trailers) else {
            return self.cut(&unfinished());
        };
        if status.code() == Code::Ok && !self.envelopes.at_boundary() {
            return self.cut(&Status::new(Code::Internal, "the response ended inside a message"));
        }
        self.body = None;
        let now = Instant::now();
        self.leg.end_at(&status, Some(&trailers), now);
        self.record.end_at(&status, now);
        Some(Ok(Frame::trailers(trailers)))
    }

    fn expired(&mut self, cx: &mut Context<'_>) -> Poll<Deadline> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.at())));
        timer.as_mut().poll(cx).map(|()| deadline)
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) {
            return Poll::Ready(this.frame(frame));
        }
        this.expired(cx).map(|deadline| this.cut(&deadline_exceeded(&deadline)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}

fn deadline_exceeded(deadline: &Deadline) -> Status {
    Status::new(Code::DeadlineExceeded, format!("deadline exceeded: {deadline}"))
}

/// The status of a response that broke off.
fn broken(error: &BodyError) -> Status {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(stream) = error.downcast_ref::<StreamError>() {
            return match stream.kind {
                SendErrorKind::Reset(code) => {
                    Status::new(Code::from_reset(code), "the server reset the stream")
                }
                _ => Status::new(Code::Unavailable, "the connection was lost"),
            };
        }
        cause = error.source();
    }
    Status::new(Code::Internal, "the response broke off")
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

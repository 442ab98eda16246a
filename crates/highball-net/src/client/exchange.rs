//! A request until the head of its response is there.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use highball_core::{Body, BodyError};
use http::{Request, Response};
use http_body::Body as _;

use super::body::Incoming;
use super::error::{SendErrorKind, StreamError};
use super::places::Place;
use super::pump::{self, Pumped};
use super::shared::Shared;
use super::upload::Upload;

/// Sends a request. The locals are dropped before `place`, as it wants.
pub(super) async fn run(mut place: Place, request: Request<Body>) -> Result<Response<Body>, StreamError> {
    let (head, body) = request.into_parts();
    let is_whole = body.is_end_stream();
    let shared = place.shared();
    shared.rouse();
    let Some(mut door) = shared.door() else {
        return Err(StreamError::bare(SendErrorKind::NeverSent));
    };
    let opened = door.send_request(Request::from_parts(head, ()), is_whole);
    // It would count as one who may still open streams.
    drop(door);
    // Refused by h2 itself: a malformed request, or a connection that has ended.
    let (mut response, stream) = opened.map_err(|error| StreamError::new(SendErrorKind::NeverSent, error))?;
    place.set_silent(false);
    let mut upload = Upload::new(body, stream, is_whole, place.shared().send_buffer_size);

    let mut begun = false;
    let shared = place.shared();
    let answered = poll_fn(|cx| {
        let eager = !std::mem::replace(&mut begun, true);
        poll_head(cx, shared, eager, &mut upload, &mut response)
    });
    let (head, receive) = answered.await?.into_parts();
    drop(response);
    if receive.is_end_stream() {
        let silent = upload.finish(&place.shared().wire);
        place.set_silent(silent);
        return Ok(Response::from_parts(head, Body::empty()));
    }
    let request = if upload.is_done() { Pumped::Here { upload, place } } else { pump::spawn(upload, place) };
    Ok(Response::from_parts(head, Body::new(Incoming::new(receive, request))))
}

fn poll_head(
    cx: &mut Context<'_>,
    shared: &Shared,
    eager: bool,
    upload: &mut Upload,
    response: &mut ResponseFuture,
) -> Poll<Result<Response<RecvStream>, StreamError>> {
    let begun = if eager { upload.begin_eagerly(cx, &shared.wire) } else { Ok(()) };
    match begun.map_or_else(|error| Poll::Ready(Err(error)), |()| upload.poll(cx)) {
        Poll::Ready(Err(error)) => return Poll::Ready(Err(failed(upload, error))),
        Poll::Ready(Ok(())) | Poll::Pending => {}
    }
    Pin::new(&mut *response)
        .poll(cx)
        .map(|answer| answer.map_err(|error| shared.explain(response.stream_id(), error)))
}

fn failed(upload: &mut Upload, error: BodyError) -> StreamError {
    upload.reset(Reason::CANCEL);
    StreamError::new(SendErrorKind::Reset(Reason::CANCEL.into()), error)
}

//! One attempt: pick a backend, send, and see whether the answer commits the call.

use std::sync::Arc;
use std::time::Duration;

use highball_core::deadline::{TIMEOUT_HEADER, encode_timeout};
use highball_core::{Body, Code, Status};
use highball_net::client::{SendError, SendErrorKind, Slot};
use highball_telemetry::ChannelEvent;
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Body as _;
use tokio::time::Instant;

use crate::answer::Leg;
use crate::backend::Backend;
use crate::balancer::load::Active;
use crate::balancer::{Ask, Pick};
use crate::call::Call;
use crate::picture::Picture;
use crate::replay::Cursor;

/// How many attempts there were before this one; absent on the first (gRFC A6).
const PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// An attempt that did not commit the call.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) status: Status,
    pub(crate) fate: Fate,
    /// What the server answered, if it did: goes to the application as it is, unless another attempt is made.
    pub(crate) response: Option<Response<Body>>,
}

/// How far a request got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It found no backend.
    Unsent,
    /// The balancer wants it to fail: another attempt is not made.
    Dropped,
    /// It never left this process.
    NeverLeft,
    /// It reached a peer that says it did not look at it.
    Refused,
    /// The peer may have worked on it.
    Seen,
    /// The peer took longer than an attempt may.
    TooSlow,
}

impl Failed {
    pub(crate) fn new(status: Status, fate: Fate) -> Self {
        Self { status, fate, response: None }
    }

    /// What the application gets if there is no other attempt.
    pub(crate) fn into_response(self) -> Response<Body> {
        self.response.unwrap_or_else(|| self.status.into_response())
    }
}

/// A response whose head commits the call, with what has to hear how it ends.
pub(crate) type Committed = (Response<Body>, Leg);

/// Runs one attempt. `previous` attempts were made before.
///
/// # Cancel safety
/// Dropping the future resets the stream; the backend's load is told.
pub(crate) async fn run(
    call: &Call,
    cursor: Cursor,
    previous: u32,
    timeout: Option<Duration>,
) -> Result<Committed, Failed> {
    let (backend, slot) = pick(call).await?;
    call.try_at(&backend);
    let mut leg = Leg::new(Active::begin(backend, Instant::now()), call.deadline);
    let request = request(call, cursor, previous).await.map_err(|status| {
        leg.end(&Status::new(Code::Cancelled, ""), None);
        Failed::new(status, Fate::Dropped)
    })?;
    let sent = match timeout {
        Some(timeout) => match tokio::time::timeout(timeout, slot.send(request)).await {
            Ok(sent) => sent,
            Err(_) => {
                let sentence = format!("no answer within {timeout:?} (per-attempt timeout)");
                let status = Status::new(Code::DeadlineExceeded, sentence);
                leg.end(&status, None);
                return Err(Failed::new(status, Fate::TooSlow));
            }
        },
        None => slot.send(request).await,
    };
    match sent {
        Ok(response) => judge(response, leg),
        Err(error) => {
            let (status, fate) = explain(&error);
            leg.end(&status, None);
            Err(Failed::new(status, fate))
        }
    }
}

/// A backend and a place for one stream on one of its connections.
///
/// # Errors
/// What the policy says when nothing is ready and the call does not wait for it, with why; RESOURCE_EXHAUSTED when too many
/// calls wait.
async fn pick(call: &Call) -> Result<(Arc<Backend>, Slot), Failed> {
    let (shared, tried) = (&call.shared, call.tried());
    // Set up only once the call has to wait; then the picture is looked at again, so that none is missed.
    let mut waiting = None;
    loop {
        let picture = shared.picture();
        let ask = Ask { method: &call.method, headers: &call.headers, tried: &tried, random: call.random() };
        let full = match picture.picker.pick(&ask) {
            Pick::To(backend, why) => match backend.reserve() {
                Some(slot) => {
                    shared.picks.note(&call.method, &backend, why);
                    return Ok((backend, slot));
                }
                None => Some(backend),
            },
            Pick::Queue => None,
            Pick::Fail(status) if !call.wait_for_ready => {
                return Err(Failed::new(hopeless(&status, &picture, &shared.name), Fate::Unsent));
            }
            Pick::Drop(status) => return Err(Failed::new(status, Fate::Dropped)),
            Pick::Fail(_) => None,
        };
        drop(picture);
        let Some((_line, pictures)) = &mut waiting else {
            let line = shared.wait_in_line().map_err(|status| Failed::new(status, Fate::Dropped))?;
            waiting = Some((line, shared.pictures()));
            continue;
        };
        tokio::select! {
            biased;
            // The channel lives for as long as a call does, so there will be another picture.
            changed = pictures.changed() => if changed.is_err() {
                return Err(Failed::new(Status::new(Code::Unavailable, "the channel is closed"), Fate::Dropped));
            },
            // A connection that leaves has no room either, and says so at once: its backend needs a turn to let go of it.
            () = room(full) => tokio::task::yield_now().await,
        }
    }
}

/// Resolves when a connection of `backend` may take another stream.
async fn room(backend: Option<Arc<Backend>>) {
    use futures_util::stream::{FuturesUnordered, StreamExt as _};
    let connections = backend.map(|backend| backend.connections()).unwrap_or_default();
    let mut rooms: FuturesUnordered<_> = connections.iter().map(|connection| connection.room()).collect();
    if rooms.next().await.is_none() {
        std::future::pending::<()>().await;
    }
}

/// Nothing is ready: the policy's status with the reasons that people need.
fn hopeless(status: &Status, picture: &Picture, name: &str) -> Status {
    match &picture.trouble {
        Some(trouble) => Status::new(status.code(), format!("{}: {name}: {trouble}", status.message())),
        None => Status::new(status.code(), format!("{}: {name}", status.message())),
    }
}

async fn request(call: &Call, cursor: Cursor, previous: u32) -> Result<Request<Body>, Status> {
    let mut request = Request::new(Body::new(cursor));
    *request.method_mut() = http::Method::POST;
    *request.version_mut() = http::Version::HTTP_2;
    *request.uri_mut() = call.uri.clone();
    let headers = request.headers_mut();
    headers.clone_from(&call.headers);
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/grpc"));
    if let Some(deadline) = &call.deadline {
        headers.insert(TIMEOUT_HEADER, encode_timeout(deadline.remaining()));
    }
    if previous > 0 {
        headers.insert(PREVIOUS_ATTEMPTS, HeaderValue::from(previous));
    }
    credentials(call, headers).await?;
    Ok(request)
}

async fn credentials(call: &Call, headers: &mut HeaderMap) -> Result<(), Status> {
    let Some(credentials) = &call.shared.credentials else { return Ok(()) };
    let given = credentials.headers(&call.shared.audience).await;
    // Why is for the log of whoever makes them: this status may be passed on.
    let given = given.map_err(|error| {
        let target = &call.shared.name;
        let error = error.to_string();
        call.shared.telemetry.report_channel(&ChannelEvent::CredentialsFailed { target, error: &error });
        Status::new(Code::Unavailable, "the credentials of the call are not to be had")
    })?;
    for (name, value) in given {
        headers.insert(name, value);
    }
    Ok(())
}

/// Whether the head of a response commits the call, or ends the attempt at once.
fn judge(response: Response<Body>, mut leg: Leg) -> Result<Committed, Failed> {
    let mut failed = |status: Status, response: Option<Response<Body>>| {
        leg.end(&status, response.as_ref().map(Response::headers));
        Err(Failed { status, fate: Fate::Seen, response })
    };
    // Trailers-only: a single block of headers with the status.
    if let Some(status) = Status::from_headers(response.headers())
        && response.body().is_end_stream()
    {
        if status.code() != Code::Ok {
            return failed(status, Some(response));
        }
        return Ok((response, leg));
    }
    if response.status() != http::StatusCode::OK {
        let sentence = format!("the server answered HTTP {} instead of gRPC", response.status());
        return failed(Status::new(Code::from_http(response.status()), sentence), None);
    }
    if !is_grpc(response.headers()) {
        return failed(Status::new(Code::Unknown, "the server answered something else than gRPC"), None);
    }
    Ok((response, leg))
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.strip_prefix("application/grpc").is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
}

fn explain(error: &SendError) -> (Status, Fate) {
    match error.kind {
        SendErrorKind::NeverSent => (
            Status::new(Code::Unavailable, "the connection was lost before the request was sent"),
            Fate::NeverLeft,
        ),
        SendErrorKind::Refused => {
            (Status::new(Code::Unavailable, "the server refused the stream"), Fate::Refused)
        }
        SendErrorKind::Reset(code) => {
            (Status::new(Code::from_reset(code), "the server reset the stream"), Fate::Seen)
        }
        SendErrorKind::Lost => (Status::new(Code::Unavailable, "the connection was lost"), Fate::Seen),
    }
}

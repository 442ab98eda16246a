//! One attempt: pick a backend, send, and see whether the answer commits the call.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
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
use crate::replay::{Cursor, Replay};

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

    /// Whether no server worked on it.
    pub(crate) fn is_unseen(&self) -> bool {
        matches!(self.fate, Fate::NeverLeft | Fate::Refused)
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
    replay: &Replay,
    cursor: Cursor,
    previous: u32,
    timeout: Option<Duration>,
) -> Result<Committed, Failed> {
    // Before the pick: whoever makes credentials may take long, which must neither hold a place nor be the backend's fault.
    let given = credentials(call).await.map_err(|status| Failed::new(status, Fate::Dropped))?;
    let (backend, slot) = pick(call).await?;
    call.try_at(&backend);
    let mut leg = Leg::new(Active::begin(backend, Instant::now()), call.deadline, replay.clone());
    let request = request(call, cursor, previous, given);
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
            // Streams that were on their way when the server said goodbye are nobody's failure: it may be polite and busy.
            let verdict = if error.is_goodbye() { Status::new(Code::Cancelled, "") } else { status.clone() };
            leg.end(&verdict, None);
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
    let (shared, mut tried) = (&call.shared, call.tried());
    let before = tried.len();
    // Set up only once the call has to wait; then the picture is looked at again, so that none is missed.
    let mut waiting = None;
    loop {
        let picture = shared.picture();
        let ask = Ask { method: &call.method, headers: &call.headers, tried: &tried, random: call.random() };
        match picture.picker.pick(&ask) {
            Pick::To(backend, why) => {
                if let Some(slot) = backend.reserve() {
                    shared.picks.note(&call.method, &backend, why);
                    return Ok((backend, slot));
                }
                // Every connection of it is full. That must not hold up what another one could take.
                let full = tried.get(before..).unwrap_or_default();
                if full.len() < FULL_MAX && !full.iter().any(|known| Arc::ptr_eq(known, &backend)) {
                    tried.push(backend);
                    continue;
                }
            }
            Pick::Fail(status) if !call.wait_for_ready => {
                return Err(Failed::new(hopeless(&status, &picture, &shared.alias), Fate::Unsent));
            }
            Pick::Drop(status) => return Err(Failed::new(named(&status, &shared.alias), Fate::Dropped)),
            Pick::Queue | Pick::Fail(_) => {}
        }
        drop(picture);
        let Some((_line, pictures)) = &mut waiting else {
            let line = shared.wait_in_line().map_err(|status| Failed::new(status, Fate::Dropped))?;
            waiting = Some((line, shared.pictures()));
            continue;
        };
        // The channel may have gone idle since the call began.
        shared.wake();
        tokio::select! {
            biased;
            () = pictures.changed() => {}
            (backend, slot) = place(tried.get(before..).unwrap_or_default()) => {
                shared.picks.note(&call.method, &backend, "the first that had a place");
                return Ok((backend, slot));
            }
        }
        tried.truncate(before);
    }
}

/// Endpoints whose connections are full that are passed over before the call waits for a place on one of them.
const FULL_MAX: usize = 4;

/// The first place on a connection of one of these. Waits its turn; for ever, once their connections take no new streams: then
/// another picture is on its way.
async fn place(full: &[Arc<Backend>]) -> (Arc<Backend>, Slot) {
    let mut places = FuturesUnordered::new();
    for backend in full {
        for connection in backend.connections() {
            places.push(async move { Some((backend.clone(), connection.slot().await?)) });
        }
    }
    loop {
        match places.next().await {
            Some(Some(found)) => return found,
            Some(None) => {}
            None => std::future::pending().await,
        }
    }
}

/// Nothing is ready: the policy's status with the reasons that people need.
fn hopeless(status: &Status, picture: &Picture, name: &str) -> Status {
    match &picture.trouble {
        Some(trouble) => Status::new(status.code(), format!("{}: {name}: {trouble}", status.message())),
        None => named(status, name),
    }
}

/// Which of a caller's channels it was.
fn named(status: &Status, name: &str) -> Status {
    Status::new(status.code(), format!("{}: {name}", status.message()))
}

fn request(call: &Call, cursor: Cursor, previous: u32, credentials: Given) -> Request<Body> {
    let mut request = Request::new(Body::of(cursor));
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
    for (name, value) in credentials {
        headers.insert(name, value);
    }
    request
}

/// Headers with credentials.
type Given = Vec<(HeaderName, HeaderValue)>;

async fn credentials(call: &Call) -> Result<Given, Status> {
    let Some(credentials) = &call.shared.credentials else { return Ok(Vec::new()) };
    // Why is for the log of whoever makes them: this status may be passed on.
    credentials.headers(&call.shared.audience).await.map_err(|error| {
        let target = &call.shared.name;
        let error = error.to_string();
        call.shared.telemetry.report_channel(&ChannelEvent::CredentialsFailed { target, error: &error });
        Status::new(Code::Unavailable, "the credentials of the call are not to be had")
    })
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

//! Walk c: what happens to a call, in the order in which it happens.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use highball_core::deadline::parse_timeout;
use highball_core::{Body, Code, Deadline, DeadlineOrigin, Method, Status, current};
use http::{HeaderMap, HeaderName, Request, Response, Uri, header};
use tokio::time::timeout_at;

use crate::answer;
use crate::attempt::{Committed, Failed};
use crate::backend::Backend;
use crate::channel::{Owner, WaitForReady};
use crate::options::CallOptions;
use crate::picture::Shared;
use crate::record::Record;
use crate::replay::Replay;
use crate::service_config::{MethodConfig, Repeat};
use crate::throttle::Throttle;
use crate::{Settings, State, hedge, retry};

/// What every attempt of a call needs.
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) method: Method,
    /// Absolute, as the connection wants it.
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) config: Arc<MethodConfig>,
    pub(crate) wait_for_ready: bool,
    pub(crate) throttle: Option<Arc<Throttle>>,
    /// Whether an attempt found a backend; else the call has waited for one all the time.
    pub(crate) picked: AtomicBool,
    /// Backends that attempts went to.
    pub(crate) tried: Mutex<Vec<Arc<Backend>>>,
}

/// Makes one call. Infallible: every failure is a response, and every call ends its record exactly once.
///
/// # Cancel safety
/// Dropping the future, or later the response body, resets the stream; the call is recorded as CANCELLED.
pub(crate) async fn run(
    owner: Arc<Owner>,
    request: Request<Body>,
    options: Option<Arc<CallOptions>>,
) -> Response<Body> {
    // Start the record. What is not a gRPC call never leaves.
    let shared = &owner.shared;
    let (mut head, body) = request.into_parts();
    remove_hops(&mut head.headers);
    let path = head.uri.path_and_query().cloned();
    let Some((method, path)) = path.and_then(|path| Some((Method::parse(&path).ok()?, path))) else {
        return Status::new(Code::Internal, "malformed path: expected /package.Service/Method")
            .into_response();
    };
    let mut record = Record::start(shared.clone(), &method);

    // The deadline: the application's, or that of the RPC being handled, whichever comes first.
    let started = record.started();
    match parse_timeout(&head.headers) {
        Ok(asked) => record.narrow(asked, DeadlineOrigin::Caller),
        Err(malformed) => return record.refuse(Status::new(Code::Internal, malformed.to_string())),
    }
    record.narrow(
        current::deadline().map(|at| at.at().saturating_duration_since(started)),
        DeadlineOrigin::Inherited,
    );
    if let Some((allowed, origin)) = options.as_ref().and_then(|options| options.deadline) {
        record.narrow(Some(allowed), origin);
    }

    // What the owner of the service wants for this method; known once the target was resolved.
    let wish = head.extensions.get::<WaitForReady>().map(|wish| wish.0);
    let stated = options.as_ref().and_then(|options| options.config.clone());
    let exact = stated.is_some();
    let wait = wish.unwrap_or(shared.settings.wait_for_ready);
    let found = {
        let found = pin!(config(shared, &method, &head.headers, stated, wait));
        in_time(record.deadline(), found).await
    };
    let (config, throttle) = match found {
        Some(Ok(found)) => found,
        Some(Err(status)) => return record.refuse(status),
        None => return record.expire("the target was not resolved"),
    };
    record.narrow(config.timeout, DeadlineOrigin::MethodConfig);
    record.throttle(throttle.clone());

    // Keep the request, so that it can be sent again.
    let Settings { request_size_bytes_max, response_size_bytes_max, replay_bytes_max, .. } = shared.settings;
    let request_max = smaller(config.request_size_bytes_max, request_size_bytes_max);
    let response_max = smaller(config.response_size_bytes_max, response_size_bytes_max);
    let replay = Replay::new(body, request_max, replay_bytes_max, shared.budget.clone());

    // Attempts, until one commits the call or none is left.
    let keep = options.is_some_and(|options| options.keep_authority);
    let authority = head.uri.authority().filter(|_| keep).cloned();
    let call = Call {
        shared: shared.clone(),
        method,
        uri: shared.connector.head.with(authority, path),
        headers: head.headers,
        deadline: record.deadline(),
        wait_for_ready: wish.or(config.wait_for_ready).unwrap_or(shared.settings.wait_for_ready),
        config,
        throttle,
        picked: AtomicBool::new(false),
        tried: Mutex::default(),
    };
    let outcome = {
        let attempts = pin!(attempts(&call, exact, &replay, &mut record));
        in_time(call.deadline, attempts).await
    };

    // The record travels in the body and ends with it.
    match (outcome, replay.fault()) {
        (_, Some(fault)) => record.refuse(fault),
        (Some(Ok((response, leg))), None) => {
            answer::deliver(response, leg, record, owner, replay, response_max)
        }
        (Some(Err(failed)), None) => {
            record.end(&failed.status);
            failed.into_response()
        }
        (None, None) => record.expire(&call.waited_for()),
    }
}

/// As the method's config says; `exact` when nothing is to be added to that.
async fn attempts(
    call: &Call,
    exact: bool,
    replay: &Replay,
    record: &mut Record,
) -> Result<Committed, Failed> {
    match &call.config.repeat {
        // Boxed, because every other call would carry it.
        Repeat::Hedge(policy) => Box::pin(hedge::run(call, policy, replay, record)).await,
        Repeat::Retry(policy) => retry::run(call, Some(policy), replay, record).await,
        Repeat::Never => {
            let policy = call.shared.idempotent.policy(&call.method).filter(|_| !exact);
            retry::run(call, policy, replay, record).await
        }
    }
}

impl Call {
    pub(crate) fn random(&self) -> u64 {
        self.shared.platform.random()
    }

    /// Backends that earlier attempts went to.
    pub(crate) fn tried(&self) -> Vec<Arc<Backend>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An attempt goes to `backend`.
    pub(crate) fn try_at(&self, backend: &Arc<Backend>) {
        self.picked.store(true, Ordering::Relaxed);
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        if !tried.iter().any(|known| Arc::ptr_eq(known, backend)) {
            tried.push(backend.clone());
        }
    }

    /// What the time went into, for the error.
    fn waited_for(&self) -> String {
        if self.picked.load(Ordering::Relaxed) {
            return "the server did not answer".to_owned();
        }
        let (picture, name) = (self.shared.picture(), &self.shared.alias);
        if picture.state == State::Ready {
            return format!("no connection to {name} had room for another stream");
        }
        let trouble = picture.trouble.as_deref().unwrap_or("still connecting");
        format!("no endpoint of {name} was ready: {trouble}")
    }
}

type Config = (Arc<MethodConfig>, Option<Arc<Throttle>>);

/// The config of a method, once there is one.
///
/// # Errors
/// UNAVAILABLE when the target cannot be resolved and the call does not wait; RESOURCE_EXHAUSTED when too many wait.
async fn config(
    shared: &Shared,
    method: &Method,
    headers: &HeaderMap,
    stated: Option<Arc<MethodConfig>>,
    wait: bool,
) -> Result<Config, Status> {
    let mut waiting = None;
    loop {
        {
            let picture = shared.picture();
            if let Some(config) = picture.method(method, headers) {
                return Ok((stated.unwrap_or(config), picture.throttle.clone()));
            }
            let hopeless = !wait || picture.state == State::Shutdown;
            if let Some(trouble) = picture.trouble.as_ref().filter(|_| hopeless) {
                return Err(Status::new(Code::Unavailable, format!("{}: {trouble}", shared.alias)));
            }
        }
        // Look again once subscribed, so that no picture is missed.
        match &mut waiting {
            None => waiting = Some((shared.wait_in_line()?, shared.pictures())),
            Some((_, pictures)) => {
                // The channel may have gone idle since the call began.
                shared.wake();
                pictures.changed().await;
            }
        }
    }
}

/// Removes what is between the application and its own peer, when it passes a request on: HTTP/2 forbids these (RFC 9113
/// section 8.2.2), and `host` may say something else than `:authority`.
fn remove_hops(headers: &mut HeaderMap) {
    // One pass over the names: hardly any request has one of these.
    if !headers.keys().any(is_hop) {
        return;
    }
    if headers.contains_key(header::CONNECTION) {
        let named = headers.get_all(header::CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
        let named = named.flat_map(|list| list.split(',')).filter_map(|name| name.trim().parse().ok());
        for name in named.collect::<Vec<HeaderName>>() {
            headers.remove(name);
        }
    }
    let hops: Vec<HeaderName> = headers.keys().filter(|name| is_hop(name)).cloned().collect();
    for name in hops {
        headers.remove(name);
    }
}

fn is_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" | "host"
    )
}

/// `None` when the time is up. What is late already is not begun. The caller pins it, so that its future holds it once.
async fn in_time<T>(deadline: Option<Deadline>, work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match deadline {
        Some(deadline) if deadline.has_passed() => None,
        Some(deadline) => timeout_at(deadline.at(), work).await.ok(),
        None => Some(work.await),
    }
}

fn smaller(config: Option<usize>, setting: usize) -> usize {
    config.map_or(setting, |config| config.min(setting))
}

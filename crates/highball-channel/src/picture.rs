//! What calls read: an immutable picture of the channel, replaced as a whole by the manager.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use highball_auth::credentials::Credentials;
use highball_core::{Code, Method, Status};
use highball_net::Platform;
use highball_telemetry::Telemetry;
use http::HeaderMap;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use crate::backend::Backend;
use crate::balancer::{Ask, Pick, Picker};
use crate::connector::Connector;
use crate::idempotency::Idempotent;
use crate::record::Meters;
use crate::replay::Budget;
use crate::resolver::ConfigSelector;
use crate::service_config::{MethodConfig, ServiceConfig};
use crate::throttle::Throttle;
use crate::{Settings, State};

/// The channel at one moment.
pub(crate) struct Picture {
    pub(crate) picker: Arc<dyn Picker>,
    pub(crate) state: State,
    /// `None` until the target was resolved once: then not even the deadline of a method is known.
    pub(crate) config: Option<Arc<ServiceConfig>>,
    pub(crate) selector: Option<Arc<dyn ConfigSelector>>,
    pub(crate) throttle: Option<Arc<Throttle>>,
    pub(crate) backends: Vec<Arc<Backend>>,
    /// Name of the policy.
    pub(crate) policy: &'static str,
    /// Why nothing is ready, for errors and for people: `2 of 3 endpoints: connection refused`.
    pub(crate) trouble: Option<String>,
}

impl Picture {
    /// Before anybody called, or after nobody did for long.
    pub(crate) fn idle() -> Self {
        Self {
            picker: Arc::new(Waiting),
            state: State::Idle,
            config: None,
            selector: None,
            throttle: None,
            backends: Vec::new(),
            policy: "none",
            trouble: None,
        }
    }

    /// Without endpoints because the target cannot be resolved.
    pub(crate) fn unresolved(why: String) -> Self {
        Self { picker: Arc::new(Nothing), state: State::TransientFailure, trouble: Some(why), ..Self::idle() }
    }

    /// Nobody keeps the channel any more.
    fn closed() -> Self {
        let trouble = Some(CLOSED.to_owned());
        Self { picker: Arc::new(Closed), state: State::Shutdown, trouble, ..Self::idle() }
    }

    /// Whether the channel itself is idle. A policy that waits to be asked is idle too, but has somebody at work: waking the
    /// manager then brings the same picture again, and whoever waits for a picture and wakes the manager each time would
    /// never let go.
    pub(crate) fn sleeps(&self) -> bool {
        self.state == State::Idle && self.config.is_none()
    }

    /// What the owner of the service wants for `method`.
    pub(crate) fn method(&self, method: &Method, headers: &HeaderMap) -> Option<Arc<MethodConfig>> {
        match (&self.selector, &self.config) {
            (Some(selector), _) => Some(selector.select(method, headers)),
            (None, Some(config)) => Some(config.method(method).clone()),
            (None, None) => None,
        }
    }
}

/// Why nothing is ready, without addresses: `2 of 3 endpoints: connection refused; 1: health: NOT_SERVING`.
pub(crate) fn trouble(backends: &[Arc<Backend>]) -> Option<String> {
    let mut reasons: Vec<(String, usize)> = Vec::new();
    for backend in backends {
        let story = backend.story();
        let ejected = story.ejection.as_ref().map(|(why, _)| format!("ejected: {why}"));
        let Some(brief) = ejected.or_else(|| story.trouble.as_ref().map(|trouble| trouble.brief.clone()))
        else {
            continue;
        };
        match reasons.iter_mut().find(|(known, _)| *known == brief) {
            Some((_, count)) => *count += 1,
            None => reasons.push((brief, 1)),
        }
    }
    let parts: Vec<String> = reasons
        .into_iter()
        .map(|(why, count)| format!("{count} of {} endpoints: {why}", backends.len()))
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Everything waits: there is no picker yet.
struct Waiting;

impl Picker for Waiting {
    fn pick(&self, _: &Ask<'_>) -> Pick {
        Pick::Queue
    }
}

/// There is nothing to pick from.
struct Nothing;

impl Picker for Nothing {
    fn pick(&self, _: &Ask<'_>) -> Pick {
        Pick::Fail(Status::new(Code::Unavailable, "no endpoint is known"))
    }
}

/// What calls hear of a channel whose manager has ended.
const CLOSED: &str = "the channel is closed";

/// There will be nothing to pick from.
struct Closed;

impl Picker for Closed {
    fn pick(&self, _: &Ask<'_>) -> Pick {
        Pick::Drop(Status::new(Code::Unavailable, CLOSED))
    }
}

/// Closes the channel when it is dropped: with the manager, which may end before the last handle does, because the runtime
/// it lives in has. Then calls must not wait for it.
pub(crate) struct Closing(pub(crate) Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.publish(Picture::closed());
    }
}

/// What all parts of a channel share.
pub(crate) struct Shared {
    /// The target as people wrote it: in errors, logs and metrics.
    pub(crate) name: String,
    /// The same for a status, which may be passed on: without an address or a path.
    pub(crate) alias: String,
    pub(crate) settings: Settings,
    pub(crate) platform: Arc<dyn Platform>,
    pub(crate) telemetry: Telemetry,
    pub(crate) connector: Connector,
    pub(crate) meters: Meters,
    pub(crate) idempotent: Idempotent,
    pub(crate) credentials: Option<Arc<dyn Credentials>>,
    /// Whom credentials are for: `https://` and the authority.
    pub(crate) audience: String,
    pub(crate) budget: Arc<Budget>,
    picture: ArcSwap<Picture>,
    /// Wakes who waits for the next picture: who came first picks first.
    renewed: Notify,
    /// A backend changed, or a call found the channel idle: the manager looks.
    pub(crate) changed: Arc<Notify>,
    /// Somebody could not connect: the resolver should look again.
    pub(crate) refresh: Notify,
    roused: AtomicBool,
    /// Somebody wants connections without a call.
    asked: AtomicBool,
    /// Calls under way, response bodies included.
    calls: AtomicUsize,
    /// When the last one ended, in milliseconds since `born`.
    last_call: AtomicU64,
    waiting: AtomicUsize,
    born: Instant,
    /// The last few picks, for people.
    pub(crate) picks: crate::explain::Picks,
    /// Why the last resolution failed.
    pub(crate) resolve_error: ArcSwapOption<String>,
    /// The last service config, if it could not be read.
    pub(crate) config_error: ArcSwapOption<String>,
}

/// What it takes to make one.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) alias: String,
    pub(crate) settings: Settings,
    pub(crate) platform: Arc<dyn Platform>,
    pub(crate) telemetry: Telemetry,
    pub(crate) connector: Connector,
    pub(crate) meters: Meters,
    pub(crate) idempotent: Idempotent,
    pub(crate) credentials: Option<Arc<dyn Credentials>>,
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts { name, alias, settings, platform, telemetry, connector, meters, idempotent, credentials } =
            parts;
        Arc::new(Self {
            audience: format!("https://{}", connector.head.authority),
            credentials,
            idempotent,
            budget: Budget::new(settings.replay_bytes_total_max),
            name,
            alias,
            settings,
            platform,
            telemetry,
            connector,
            meters,
            picture: ArcSwap::from_pointee(Picture::idle()),
            renewed: Notify::new(),
            changed: Arc::default(),
            refresh: Notify::new(),
            roused: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
            last_call: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            born: Instant::now(),
            picks: crate::explain::Picks::default(),
            resolve_error: ArcSwapOption::empty(),
            config_error: ArcSwapOption::empty(),
        })
    }

    /// The present picture: one atomic load.
    pub(crate) fn picture(&self) -> arc_swap::Guard<Arc<Picture>> {
        self.picture.load()
    }

    /// Replaces the picture and wakes who waits.
    pub(crate) fn publish(&self, picture: Picture) {
        self.picture.store(Arc::new(picture));
        self.renewed.notify_waiters();
    }

    /// Hears of every picture after this moment. Subscribe first, then look at [`picture`](Self::picture).
    pub(crate) fn pictures(&self) -> Pictures<'_> {
        Pictures { renewed: &self.renewed, next: Box::pin(self.renewed.notified()) }
    }

    /// A call begins.
    pub(crate) fn enter(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Rouses the channel if it is idle.
    pub(crate) fn wake(&self) {
        if self.picture().sleeps() {
            self.roused.store(true, Ordering::Release);
            self.changed.notify_one();
        }
    }

    /// Wants connections without a call, also of a policy that waits for one.
    pub(crate) fn ask(&self) {
        if self.picture().state == State::Idle {
            self.asked.store(true, Ordering::Release);
            self.changed.notify_one();
        }
        self.wake();
    }

    /// Whether somebody [asked](Self::ask) since the last time.
    pub(crate) fn take_asked(&self) -> bool {
        self.asked.swap(false, Ordering::AcqRel)
    }

    /// The channel is about to be idle: whoever roused it before that was served.
    pub(crate) fn rest(&self) {
        self.roused.store(false, Ordering::Release);
        self.asked.store(false, Ordering::Release);
    }

    /// Whether an idle channel must become active.
    pub(crate) fn is_roused(&self) -> bool {
        self.roused.swap(false, Ordering::AcqRel) || self.calls() > 0
    }

    /// A call is over `now`, its response body included.
    pub(crate) fn leave(&self, now: Instant) {
        let since_born = now.saturating_duration_since(self.born);
        let millis = u64::try_from(since_born.as_millis()).unwrap_or(u64::MAX);
        self.last_call.store(millis, Ordering::Relaxed);
        self.calls.fetch_sub(1, Ordering::Release);
    }

    /// Calls under way.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Acquire)
    }

    /// Since when no call has been under way; `None` while one is.
    pub(crate) fn unused_since(&self) -> Option<Instant> {
        let last = std::time::Duration::from_millis(self.last_call.load(Ordering::Relaxed));
        (self.calls() == 0).then(|| self.born + last)
    }

    /// A place among the calls that wait, or RESOURCE_EXHAUSTED.
    pub(crate) fn wait_in_line(&self) -> Result<InLine<'_>, Status> {
        let max = self.settings.waiting_calls_max;
        let fits = |waiting: usize| (waiting < max).then_some(waiting + 1);
        match self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(InLine(self)),
            Err(_) => {
                let sentence = format!("{max} calls wait for an endpoint already (waiting_calls_max)");
                Err(Status::new(Code::ResourceExhausted, sentence))
            }
        }
    }

    /// Calls that wait for an endpoint.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// The pictures after a moment.
pub(crate) struct Pictures<'a> {
    renewed: &'a Notify,
    /// Made before anybody looks at a picture, so that none is missed.
    next: Pin<Box<Notified<'a>>>,
}

impl Pictures<'_> {
    /// Resolves when there has been another picture since the last time. Cancel safe.
    pub(crate) async fn changed(&mut self) {
        self.next.as_mut().await;
        self.next.set(self.renewed.notified());
    }
}

/// A place among the calls that wait.
pub(crate) struct InLine<'a>(&'a Shared);

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("target", &self.name)
            .field("state", &self.picture().state)
            .finish_non_exhaustive()
    }
}

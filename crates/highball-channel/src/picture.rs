//! What calls read: an immutable picture of the channel, replaced as a whole by the manager.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use highball_auth::credentials::Credentials;
use highball_core::{Code, Method, Status};
use highball_net::Platform;
use highball_telemetry::Telemetry;
use http::HeaderMap;
use tokio::sync::{Notify, watch};
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

    /// What the owner of the service wants for `method`.
    pub(crate) fn method(&self, method: &Method, headers: &HeaderMap) -> Option<Arc<MethodConfig>> {
        match (&self.selector, &self.config) {
            (Some(selector), _) => Some(selector.select(method, headers)),
            (None, Some(config)) => Some(config.method(method).clone()),
            (None, None) => None,
        }
    }
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

/// What all parts of a channel share.
pub(crate) struct Shared {
    /// The target as people wrote it: in errors, logs and metrics.
    pub(crate) name: String,
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
    /// Counts pictures, and wakes who waits for the next.
    version: watch::Sender<u64>,
    /// A backend changed, or a call found the channel idle: the manager looks.
    pub(crate) changed: Arc<Notify>,
    /// Somebody could not connect: the resolver should look again.
    pub(crate) refresh: Notify,
    roused: AtomicBool,
    /// Calls under way, response bodies included.
    calls: AtomicUsize,
    /// When the last one ended, in milliseconds since `born`.
    last_call: AtomicU64,
    waiting: AtomicUsize,
    born: Instant,
    /// The last few picks, for people.
    pub(crate) picks: crate::explain::Picks,
    /// The last service config that could not be read.
    pub(crate) config_error: ArcSwapOption<String>,
}

/// What it takes to make one.
pub(crate) struct Parts {
    pub(crate) name: String,
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
        let Parts { name, settings, platform, telemetry, connector, meters, idempotent, credentials } = parts;
        Arc::new(Self {
            audience: format!("https://{}", connector.head.authority),
            credentials,
            idempotent,
            budget: Budget::new(settings.replay_bytes_total_max),
            name,
            settings,
            platform,
            telemetry,
            connector,
            meters,
            picture: ArcSwap::from_pointee(Picture::idle()),
            version: watch::Sender::new(0),
            changed: Arc::default(),
            refresh: Notify::new(),
            roused: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
            last_call: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            born: Instant::now(),
            picks: crate::explain::Picks::default(),
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
        self.version.send_modify(|version| *version += 1);
    }

    /// Hears of every picture after this moment. Subscribe first, then look at [`picture`](Self::picture).
    pub(crate) fn pictures(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// A call begins.
    pub(crate) fn enter(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Rouses the channel if it is idle.
    pub(crate) fn wake(&self) {
        if self.picture().state == State::Idle {
            self.roused.store(true, Ordering::Release);
            self.changed.notify_one();
        }
    }

    /// Whether an idle channel must become active.
    pub(crate) fn is_roused(&self) -> bool {
        self.roused.swap(false, Ordering::AcqRel) || self.calls() > 0
    }

    /// A call is over, its response body included.
    pub(crate) fn leave(&self) {
        let millis = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
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

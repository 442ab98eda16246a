//! The only writer of a channel: resolver, service config, policy, backends; publishes pictures.

use std::sync::Arc;
use std::time::Duration;

use highball_core::backoff::Backoff;
use highball_net::Tasks;
use highball_telemetry::{ChannelEvent, Ejection};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use crate::backend::Backend;
use crate::balancer::load::Tuning;
use crate::balancer::{self, Policy};
use crate::health::Wanted;
use crate::outlier::{Change, Detector, Spared};
use crate::picture::{Picture, Shared};
use crate::resolver::{ConfigSelector, ResolveError, Resolver, Update};
use crate::service_config::ServiceConfig;
use crate::service_config::balancing::{Balancing, PolicyConfig};
use crate::subchannel::Subchannel;
use crate::throttle::{Throttle, ThrottleSettings};
use crate::{Endpoint, State};

type News = Result<Update, ResolveError>;

/// Runs a channel until it is dropped: idle until somebody calls, then active until nobody does for long.
pub(crate) async fn run(
    shared: Arc<Shared>,
    mut resolver: Box<dyn Resolver>,
    default_config: Option<Arc<ServiceConfig>>,
) {
    let seed = shared.platform.random();
    loop {
        shared.publish(Picture::idle());
        while !shared.is_roused() {
            shared.changed.notified().await;
        }
        let (tx, rx) = mpsc::channel(1);
        let mut manager = Manager::new(shared.clone(), default_config.clone(), seed);
        tokio::select! {
            biased;
            () = resolve(&mut *resolver, &shared, tx) => {}
            () = manager.run(rx) => {}
        }
        manager.retire_all();
    }
}

/// Asks the resolver again and again: after news at once (it waits by itself), after a failure when the backoff is over or a
/// connection failed.
async fn resolve(resolver: &mut dyn Resolver, shared: &Shared, news: mpsc::Sender<News>) {
    let mut backoff = Backoff::new(shared.settings.backoff);
    loop {
        let told = {
            let mut next = resolver.next();
            loop {
                tokio::select! {
                    biased;
                    told = &mut next => break told,
                    () = shared.refresh.notified() => {}
                }
                // `next` may be dropped at any time, and holds the resolver.
                drop(next);
                resolver.refresh();
                next = resolver.next();
            }
        };
        let failed = told.is_err();
        if news.send(told).await.is_err() {
            return;
        }
        if failed {
            sleep(backoff.next(shared.platform.random())).await;
        } else {
            backoff.reset();
        }
    }
}

struct Manager {
    shared: Arc<Shared>,
    default_config: Option<Arc<ServiceConfig>>,
    /// In force; `None` until the first resolution.
    config: Option<Arc<ServiceConfig>>,
    selector: Option<Arc<dyn ConfigSelector>>,
    throttle: Option<Arc<Throttle>>,
    policy: Option<(Choice, Box<dyn Policy>)>,
    detector: Option<Detector>,
    members: Vec<Member>,
    /// Why the target is not resolved; only while there are no endpoints.
    unresolved: Option<String>,
    /// Spreads subsets and rings.
    seed: u64,
    rebuild_at: Option<Instant>,
    tick_at: Option<Instant>,
}

/// A backend with the task that keeps it connected.
struct Member {
    backend: Arc<Backend>,
    /// Owns the subchannel's task.
    _life: Tasks,
}

/// What decides which policy runs: a change of it makes a new one.
#[derive(Debug, Clone, PartialEq)]
struct Choice {
    balancing: Balancing,
}

impl Choice {
    fn is_pick_first(&self) -> bool {
        matches!(self.balancing.policy, PolicyConfig::PickFirst { .. })
    }
}

impl Manager {
    fn new(shared: Arc<Shared>, default_config: Option<Arc<ServiceConfig>>, seed: u64) -> Self {
        Self {
            shared,
            default_config,
            config: None,
            selector: None,
            throttle: None,
            policy: None,
            detector: None,
            members: Vec::new(),
            unresolved: None,
            seed,
            rebuild_at: None,
            tick_at: None,
        }
    }

    /// Returns when nobody has called for the idle timeout.
    async fn run(&mut self, mut news: mpsc::Receiver<News>) {
        let shared = self.shared.clone();
        let mut look = Instant::now() + shared.settings.idle_timeout;
        loop {
            tokio::select! {
                biased;
                told = news.recv() => match told {
                    Some(told) => self.resolved(told),
                    None => return,
                },
                () = shared.changed.notified() => {}
                () = at(self.rebuild_at) => {}
                () = at(self.tick_at) => self.tick(),
                () = sleep_until(look) => match self.idle_at() {
                    Some(idle) if idle <= Instant::now() => return,
                    idle => look = idle.unwrap_or(Instant::now() + shared.settings.idle_timeout),
                },
            }
            self.suspect();
            self.publish();
        }
    }

    /// When the idle timeout is over, if nobody calls.
    fn idle_at(&self) -> Option<Instant> {
        self.shared.unused_since().map(|since| since + self.shared.settings.idle_timeout)
    }

    fn resolved(&mut self, told: News) {
        match told {
            Ok(update) => self.update(update),
            Err(error) => {
                let text = error.to_string();
                let (target, endpoints) = (&*self.shared.name, self.members.len());
                self.report(&ChannelEvent::ResolveFailed { target, error: &text, endpoints });
                // What was good stays in force.
                if self.members.is_empty() {
                    self.unresolved = Some(text);
                }
            }
        }
    }

    fn update(&mut self, update: Update) {
        match update.service_config {
            Some(Ok(config)) => self.config = Some(config),
            // A bad one never replaces a good one (gRFC A21).
            Some(Err(error)) => {
                let text = error.to_string();
                self.report(&ChannelEvent::ConfigRefused { target: &self.shared.name, error: &text });
                self.shared.config_error.store(Some(Arc::new(text.clone())));
                if self.config.is_none() && self.default_config.is_none() {
                    self.unresolved = Some(text);
                    return;
                }
            }
            None => self.config = self.default_config.clone(),
        }
        let config = self.config.clone().or_else(|| self.default_config.clone()).unwrap_or_default();
        self.config = Some(config.clone());
        self.selector = update.config_selector;
        self.throttle =
            Throttle::renew(self.throttle.as_ref(), config.throttling.or_else(ThrottleSettings::default_on));
        self.unresolved = update.endpoints.is_empty().then(|| "the name has no endpoints".to_owned());
        self.choose(&config, update.endpoints);
        let endpoints = self.members.len();
        self.report(&ChannelEvent::Resolved { target: &self.shared.name, endpoints });
    }

    fn choose(&mut self, config: &ServiceConfig, endpoints: Vec<Endpoint>) {
        let choice = Choice { balancing: balancer::effective(config.balancing.as_ref()) };
        if self.policy.as_ref().is_none_or(|(known, _)| *known != choice) {
            // Subchannels differ in what they watch: begin anew where that changes.
            let changes_kind = self
                .policy
                .as_ref()
                .is_some_and(|(known, _)| known.is_pick_first() != choice.is_pick_first());
            if changes_kind {
                self.retire_all();
            }
            let outlier = choice.balancing.outlier.clone();
            self.tick_at = outlier.as_ref().map(|outlier| Instant::now() + outlier.interval);
            self.detector = outlier.map(Detector::new);
            let alarm = self.shared.changed.clone();
            let tuning = Tuning::new(&choice.balancing, self.shared.settings.endpoint_calls_max, alarm);
            let policy = balancer::policy_for(&choice.balancing, &tuning, self.seed);
            self.policy = Some((choice.clone(), policy));
        }
        let endpoints =
            balancer::members(&choice.balancing, endpoints, self.seed, self.shared.platform.random());
        self.follow(endpoints, choice.is_pick_first());
    }

    /// Makes the members those `endpoints`, keeping what is there already.
    fn follow(&mut self, endpoints: Vec<Endpoint>, one: bool) {
        let mut before = std::mem::take(&mut self.members);
        for endpoint in endpoints {
            let known = before.iter().position(|member| {
                let now = member.backend.endpoint();
                // A single backend of all addresses stays while it is connected to one that is still wanted.
                now.addresses == endpoint.addresses
                    || (one && member.backend.is_connected_within(&endpoint.addresses))
            });
            let member = match known {
                Some(place) => {
                    let member = before.swap_remove(place);
                    member.backend.set_endpoint(endpoint);
                    member
                }
                None => self.join(endpoint, one),
            };
            self.members.push(member);
        }
        for gone in before {
            gone.backend.retire();
        }
    }

    fn join(&self, endpoint: Endpoint, one: bool) -> Member {
        let backend = Backend::new(endpoint);
        let configured = self.config.as_deref().map_or(1, |config| config.connections_per_subchannel_max);
        let connections_max =
            self.shared.settings.connections_per_endpoint_max.max(configured as usize).clamp(1, 10);
        let life = Tasks::new();
        let subchannel = Subchannel {
            backend: backend.clone(),
            shared: self.shared.clone(),
            health: if one { None } else { self.health() },
            connections_max,
        };
        life.spawn(subchannel.run());
        Member { backend, _life: life }
    }

    fn health(&self) -> Option<Wanted> {
        match self.config.as_deref().and_then(|config| config.health_check_service.as_deref()) {
            Some(service) if self.shared.settings.health => {
                Some(Wanted { service: service.to_owned(), configured: true })
            }
            None if self.shared.settings.health => Some(Wanted { service: String::new(), configured: false }),
            _ => None,
        }
    }

    /// One interval of outlier detection is over.
    fn tick(&mut self) {
        let now = Instant::now();
        let Some(detector) = &mut self.detector else {
            self.tick_at = None;
            return;
        };
        let backends: Vec<_> = self.members.iter().map(|member| member.backend.clone()).collect();
        let changes = detector.tick(now, &backends, &mut || self.shared.platform.random());
        self.tick_at = Some(now + detector.interval());
        let spared = detector.take_spared();
        self.apply(changes);
        for Spared { backend, why, rule } in spared {
            let (endpoint, why) = (backend.endpoint().name(), format!("{why}; stays because {rule}"));
            let (target, what) = (&*self.shared.name, Ejection::Spared);
            self.report(&ChannelEvent::Ejection { target, endpoint: &endpoint, what, why: &why });
        }
    }

    /// Looks at backends that failed several times in a row, without waiting for the interval.
    fn suspect(&mut self) {
        let Some(detector) = &mut self.detector else { return };
        let backends: Vec<_> = self.members.iter().map(|member| member.backend.clone()).collect();
        let changes = detector.suspects(Instant::now(), &backends);
        self.apply(changes);
    }

    fn apply(&self, changes: Vec<Change>) {
        for change in changes {
            let endpoint = change.backend.endpoint().name();
            let what = if change.ejected.is_some() { Ejection::Ejected } else { Ejection::Back };
            let why = change.ejected.as_deref().unwrap_or("its time is over");
            self.report(&ChannelEvent::Ejection {
                target: &self.shared.name,
                endpoint: &endpoint,
                what,
                why,
            });
            change.backend.eject(change.ejected);
        }
    }

    fn publish(&mut self) {
        let now = Instant::now();
        self.rebuild_at = None;
        let Some((_, policy)) = self.policy.as_mut().filter(|_| !self.members.is_empty()) else {
            if let Some(why) = &self.unresolved {
                let picture = Picture { config: self.config.clone(), ..Picture::unresolved(why.clone()) };
                self.shared.publish(picture);
            }
            return;
        };
        let backends: Vec<_> = self.members.iter().map(|member| member.backend.clone()).collect();
        let well = backends.iter().any(|backend| backend.is_well());
        backends.iter().for_each(|backend| backend.avoid(well));
        let published = policy.build(&backends, now);
        self.rebuild_at = published.rebuild_after.map(|after| now + after.max(MIN_REBUILD));
        if !policy.is_lazy() {
            backends
                .iter()
                .filter(|backend| backend.own_state() == State::Idle)
                .for_each(|backend| backend.connect());
        }
        let trouble = (published.state != State::Ready).then(|| trouble(&backends)).flatten();
        self.shared.publish(Picture {
            picker: published.picker,
            state: published.state,
            config: self.config.clone(),
            selector: self.selector.clone(),
            throttle: self.throttle.clone(),
            policy: policy.name(),
            trouble,
            backends,
        });
    }

    fn report(&self, event: &ChannelEvent<'_>) {
        self.shared.telemetry.report_channel(event);
    }

    /// Lets go of every backend.
    fn retire_all(&mut self) {
        for member in self.members.drain(..) {
            member.backend.retire();
        }
    }
}

/// Weights that move with time are looked at no more often than this.
const MIN_REBUILD: Duration = Duration::from_millis(10);

/// Why nothing is ready, without addresses: `2 of 3 endpoints: connection refused; 1: health: NOT_SERVING`.
fn trouble(backends: &[Arc<Backend>]) -> Option<String> {
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

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

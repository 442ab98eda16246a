//! The only writer of a channel: resolver, service config, policy, backends; publishes pictures.

use std::collections::HashMap;
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
use crate::picture::{Closing, Picture, Shared, trouble};
use crate::resolver::{ConfigSelector, ResolveError, Resolver, Update};
use crate::service_config::ServiceConfig;
use crate::service_config::balancing::{Balancing, PolicyConfig};
use crate::subchannel::Subchannel;
use crate::throttle::{Throttle, ThrottleSettings};
use crate::{Address, Endpoint, State};

type News = Result<Update, ResolveError>;

/// Runs a channel until it is dropped: idle until somebody calls, then active until nobody does for long.
pub(crate) async fn run(
    closing: Closing,
    mut resolver: Box<dyn Resolver>,
    default_config: Option<Arc<ServiceConfig>>,
) {
    let shared = closing.0.clone();
    let seed = shared.platform.random();
    let mut last = None;
    loop {
        shared.publish(Picture::idle());
        while !shared.is_roused() {
            shared.changed.notified().await;
        }
        let (tx, rx) = mpsc::channel(1);
        let mut manager = Manager::new(shared.clone(), default_config.clone(), seed);
        manager.last = last.take();
        tokio::select! {
            biased;
            () = resolve(&mut *resolver, &shared, tx) => {}
            () = manager.run(rx) => {}
        }
        manager.retire_all();
        last = manager.last;
        resolver.restart();
        shared.rest();
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
    /// The last good resolution, before the channel was idle perhaps.
    last: Option<Update>,
    orders: Option<Orders>,
    /// Why the target is not resolved, without a word of who was asked; only while there are no endpoints.
    unresolved: Option<&'static str>,
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

/// What subchannels are told at their start, and follow for as long as they live: they begin anew where it changes.
#[derive(Debug, Clone, Default, PartialEq)]
struct Orders {
    /// One backend has all addresses.
    one: bool,
    health: Option<Wanted>,
    connections_max: usize,
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
            last: None,
            orders: None,
            unresolved: None,
            seed,
            rebuild_at: None,
            tick_at: None,
        }
    }

    /// Returns when nobody has called for the idle timeout.
    async fn run(&mut self, mut news: mpsc::Receiver<News>) {
        let shared = self.shared.clone();
        // Of none at all, every look would be due at once.
        let wait = shared.settings.idle_timeout.max(IDLE_MIN);
        let mut look = Instant::now() + wait;
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
                    idle => {
                        look = idle.unwrap_or(Instant::now() + wait);
                        continue;
                    }
                },
            }
            self.suspect();
            self.publish();
            if self.shared.take_asked() {
                self.connect_first();
            }
        }
    }

    /// When the idle timeout is over, if nobody calls.
    fn idle_at(&self) -> Option<Instant> {
        self.shared.unused_since().map(|since| since + self.shared.settings.idle_timeout.max(IDLE_MIN))
    }

    fn resolved(&mut self, told: News) {
        match told {
            Ok(update) => {
                self.shared.resolve_error.store(None);
                self.update(update);
            }
            Err(error) => {
                let text = error.to_string();
                let (target, endpoints) = (&*self.shared.name, self.members.len());
                self.report(&ChannelEvent::ResolveFailed { target, error: &text, endpoints });
                self.shared.resolve_error.store(Some(Arc::new(text)));
                // What was good stays in force, also what was so before the channel was idle.
                if self.members.is_empty() {
                    match self.last.clone().filter(|_| self.config.is_none()) {
                        Some(last) => self.update(last),
                        None => self.unresolved = Some("the name cannot be resolved"),
                    }
                }
            }
        }
    }

    fn update(&mut self, update: Update) {
        self.last = Some(update.clone());
        if !matches!(update.service_config, Some(Err(_))) {
            self.shared.config_error.store(None);
        }
        match update.service_config {
            Some(Ok(config)) => self.config = Some(config),
            // A bad one never replaces a good one (gRFC A21).
            Some(Err(error)) => {
                let text = error.to_string();
                self.report(&ChannelEvent::ConfigRefused { target: &self.shared.name, error: &text });
                self.shared.config_error.store(Some(Arc::new(text)));
                if self.config.is_none() && self.default_config.is_none() {
                    self.unresolved = Some("its service config cannot be read");
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
        self.unresolved = update.endpoints.is_empty().then_some("the name has no endpoints");
        self.choose(&config, update.endpoints);
        let endpoints = self.members.len();
        self.report(&ChannelEvent::Resolved { target: &self.shared.name, endpoints });
    }

    fn choose(&mut self, config: &ServiceConfig, endpoints: Vec<Endpoint>) {
        let choice = Choice { balancing: balancer::effective(config.balancing.as_ref()) };
        if self.policy.as_ref().is_none_or(|(known, _)| *known != choice) {
            let outlier = choice.balancing.outlier.clone();
            self.tick_at = outlier.as_ref().map(|outlier| Instant::now() + outlier.interval);
            self.detector = outlier.map(Detector::new);
            let alarm = self.shared.changed.clone();
            let tuning = Tuning::new(&choice.balancing, self.shared.settings.endpoint_calls_max, alarm);
            let policy = balancer::policy_for(&choice.balancing, &tuning, self.seed);
            self.policy = Some((choice.clone(), policy));
        }
        let orders = Some(self.orders(choice.is_pick_first()));
        if orders != self.orders {
            self.retire_all();
        }
        self.orders = orders;
        let endpoints =
            balancer::members(&choice.balancing, endpoints, self.seed, self.shared.platform.random());
        self.follow(endpoints, choice.is_pick_first());
    }

    /// Makes the members those `endpoints`, keeping what is there already.
    fn follow(&mut self, endpoints: Vec<Endpoint>, one: bool) {
        let mut before: HashMap<Vec<Address>, Vec<Member>> = HashMap::new();
        for member in self.members.drain(..) {
            before.entry(member.backend.endpoint().addresses.clone()).or_default().push(member);
        }
        for endpoint in endpoints {
            let same = before.get_mut(&endpoint.addresses).and_then(Vec::pop);
            // A single backend of all addresses stays while it is connected to one that is still wanted.
            let connected = || {
                let mut all = before.values_mut().filter(|_| one);
                all.find_map(|members| {
                    members.pop_if(|member| member.backend.is_connected_within(&endpoint.addresses))
                })
            };
            let member = match same.or_else(connected) {
                Some(member) => {
                    member.backend.set_endpoint(endpoint);
                    member
                }
                None => self.join(endpoint),
            };
            self.members.push(member);
        }
        for gone in before.into_values().flatten() {
            gone.backend.retire();
        }
    }

    fn join(&self, endpoint: Endpoint) -> Member {
        let backend = Backend::new(endpoint);
        let Orders { health, connections_max, .. } = self.orders.clone().unwrap_or_default();
        let life = Tasks::new();
        let subchannel =
            Subchannel { backend: backend.clone(), shared: self.shared.clone(), health, connections_max };
        life.spawn(subchannel.run());
        Member { backend, _life: life }
    }

    fn orders(&self, one: bool) -> Orders {
        let configured = self.config.as_deref().map_or(1, |config| config.connections_per_subchannel_max);
        let connections_max = self.shared.settings.connections_per_endpoint_max.max(configured as usize);
        let health = if one { None } else { self.health() };
        Orders { one, health, connections_max: connections_max.clamp(1, 10) }
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
                let picture =
                    Picture { config: self.config.clone(), ..Picture::unresolved((*why).to_owned()) };
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

    /// What a policy that connects on demand does for the first call.
    fn connect_first(&self) {
        let idle = |member: &&Member| member.backend.own_state() == State::Idle;
        if let Some(member) = self.members.iter().find(idle) {
            member.backend.connect();
        }
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

/// The shortest idle timeout.
const IDLE_MIN: Duration = Duration::from_millis(1);

/// Weights that move with time are looked at no more often than this.
const MIN_REBUILD: Duration = Duration::from_millis(10);

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

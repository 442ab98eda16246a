//! The host that calls: its channels, its load, and what is checked all the time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use highball::channel::explain::Snapshot;
use highball::channel::resolver;
use highball::core::BackoffSettings;
use highball::net::{Address, ConnectOptions, Io, ListenAddr, Listener, Lookup, LookupError, Platform};
use highball::{Channel, Code, Telemetry, channel};
use highball_testkit::sim::{Named, Random, Turmoil};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::caller;
use crate::config::{Method, PEAK_EWMA};
use crate::host::PORT;
use crate::ledger::{Dial, Ledger, now};
use crate::plan::Call;
use crate::world::World;

/// The numbers of calls that look whether all is well again.
pub(crate) const PROBES: u64 = 1_000_000;
/// How often the invariants of the channels are looked at.
const LOOK: Duration = Duration::from_millis(25);
/// After everything is whole, the last call must have ended by then. A connection into the void is found out after ten
/// seconds, the least that keepalive may be set to, and one call may meet several.
const LAST_CALL: Duration = Duration::from_secs(45);
/// After everything is whole and all calls have ended, endpoints must be ready and calls must succeed by then.
const CONVERGENCE: Duration = Duration::from_secs(20);
/// A connection into the void is found out by then: keepalive's time and timeout, and a little.
const VOID: Duration = Duration::from_secs(12);
/// After the channels are gone, servers must know by then.
const FAREWELL: Duration = Duration::from_secs(10);

/// A channel and its own metrics.
pub(crate) struct Line {
    number: usize,
    channel: Channel,
    telemetry: Telemetry,
}

/// The software of the client.
pub(crate) async fn run(world: Arc<World>) -> turmoil::Result {
    let began = Instant::now();
    let lines: Vec<Arc<Line>> =
        (0..world.plan.channels).map(|number| Line::open(&world, number)).collect::<Result<_, _>>()?;
    let mut watch = JoinSet::new();
    for line in &lines {
        watch.spawn(watch_over(world.clone(), line.clone()));
    }
    let mut calls = JoinSet::new();
    for call in world.plan.calls.clone() {
        let (line, world) = (lines[call.channel].clone(), world.clone());
        calls.spawn(async move {
            sleep_until(began + call.at).await;
            caller::run(&line.channel, call, &world.ledger).await;
            attempts(&world, &call);
        });
    }
    let healed = began + world.plan.healed;
    sleep_until(healed).await;
    let all = async { while calls.join_next().await.is_some() {} };
    if timeout_at(healed + LAST_CALL, all).await.is_err() {
        world.ledger.violation(format_args!("{} calls never ended", calls.len()));
        return Ok(());
    }
    let mut ids = PROBES..;
    for line in &lines {
        converge(&world, line, &mut ids).await;
    }
    watch.shutdown().await;
    for line in &lines {
        rest(&world, line).await;
    }
    drop(lines);
    farewell(&world).await;
    Ok(())
}

impl Line {
    fn open(world: &World, number: usize) -> Result<Arc<Self>, channel::ChannelError> {
        let mut settings = channel::Settings::default();
        settings.connect_timeout = Duration::from_secs(1);
        settings.backoff = BackoffSettings {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(1),
            ..Default::default()
        };
        settings.idle_timeout = world.plan.idle_timeout;
        settings.endpoint_calls_max = world.plan.endpoint_calls_max;
        settings.waiting_calls_max = world.plan.waiting_calls_max;
        settings.connections_per_endpoint_max = world.plan.connections_max;
        settings.connection.keepalive_time = Some(Duration::from_secs(10));
        settings.connection.keepalive_timeout = Duration::from_secs(1);
        let mut resolving = resolver::Settings::default();
        resolving.dns.interval_min = Duration::from_millis(300);
        let telemetry = Telemetry::new();
        let platform =
            Turmoil.with_names(world.names.clone()).with_random(Random::new(world.plan.seed ^ number as u64));
        let platform = Counted { platform, ledger: world.ledger.clone(), channel: number };
        let channel = Channel::builder(&format!("dns:///shop:{PORT}"))
            .with_settings(settings)
            .with_resolving(resolving)
            .with_service_config(world.plan.config.json())
            .with_descriptors(world.plan.config.descriptors())
            .with_platform(Arc::new(platform))
            .with_telemetry(telemetry.clone())
            .build()?;
        Ok(Arc::new(Self { number, channel, telemetry }))
    }

    /// Retries after failures so far.
    fn retries(&self) -> f64 {
        let page = self.telemetry.render();
        let line =
            page.lines().find(|line| line.starts_with("channel_retries_total{") && line.contains("policy"));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }
}

/// Attempts of one call stay in their budget, and are numbered.
fn attempts(world: &World, call: &Call) {
    let seen = world.ledger.seen_of(call.id);
    let max = world.plan.config.repeat(call.method).attempts_max();
    if seen.len() > max {
        world.ledger.violation(format_args!(
            "call {} was seen {} times, {max} are allowed",
            call.id,
            seen.len()
        ));
    }
    let mut numbers: Vec<u32> = seen.iter().map(|seen| seen.previous).collect();
    numbers.sort_unstable();
    numbers.dedup();
    if numbers.len() != seen.len() || numbers.iter().any(|number| *number as usize >= max) {
        world.ledger.violation(format_args!("call {}: attempts are numbered {seen:?}", call.id));
    }
}

/// Looks at what must hold at any time. Never ends.
async fn watch_over(world: Arc<World>, line: Arc<Line>) {
    let (mut before, mut looks) = (String::new(), 0);
    loop {
        let snapshot = line.channel.snapshot();
        let outline = outline(line.number, &snapshot);
        if outline != before {
            world.ledger.note(&outline);
            before = outline;
        }
        let (count, config) = (snapshot.endpoints.len(), &world.plan.config);
        let ejected = snapshot.endpoints.iter().filter(|endpoint| endpoint.ejected.is_some()).count();
        if ejected > config.ejected_max(count) {
            world.ledger.violation(format_args!("{ejected} of {count} endpoints are ejected"));
        }
        looks += 1;
        // Reading metrics is slow.
        if looks % 20 == 0 {
            throttled(&world, &line);
        }
        sleep(LOOK).await;
    }
}

/// Every retry costs a token, half of them are never spent, and only successes earn some.
fn throttled(world: &World, line: &Line) {
    let ((tokens, ratio), retries) = (world.plan.config.throttle, line.retries());
    let allowed = f64::from(tokens) / 2.0 + ratio * world.ledger.oks(line.number) as f64;
    // A channel that has been idle begins anew.
    if retries > allowed && world.plan.idle_timeout > world.plan.healed {
        world.ledger.violation(format_args!("{retries} retries with {allowed} tokens"));
    }
}

/// The state of a channel in one line.
fn outline(number: usize, snapshot: &Snapshot) -> String {
    let endpoints: Vec<String> = snapshot
        .endpoints
        .iter()
        .map(|endpoint| {
            let out = if endpoint.ejected.is_some() { " ejected" } else { "" };
            format!("{} {}{out}", name_of(&endpoint.addresses[0]), endpoint.state)
        })
        .collect();
    format!("channel {number} {} {}: {}", snapshot.policy, snapshot.state, endpoints.join(", "))
}

/// The host behind an address.
fn name_of(address: &str) -> String {
    let ip = address.rsplit_once(':').and_then(|(ip, _)| ip.parse().ok());
    ip.and_then(turmoil::reverse_lookup).unwrap_or_else(|| address.to_owned())
}

/// Calls until every endpoint is ready and calls succeed; then calls must go to all of them, and none may fail.
async fn converge(world: &World, line: &Line, ids: &mut std::ops::RangeFrom<u64>) {
    let (hosts, config) = (world.plan.hosts, &world.plan.config);
    if config.policy == PEAK_EWMA {
        // It keeps away from a connection into the void, and calls would not find it.
        sleep((world.plan.healed + VOID).saturating_sub(now())).await;
    }
    let patience = Instant::now() + CONVERGENCE;
    // An endpoint counts once it has answered.
    let all = if config.spreads() { hosts } else { 1 };
    let (mut row, mut heard) = (0, BTreeSet::new());
    while row < 3 * hosts || heard.len() < all {
        let ended = caller::run(&line.channel, probe(ids, line, 1000), &world.ledger).await;
        let snapshot = line.channel.snapshot();
        let ready = snapshot.endpoints.iter().filter(|endpoint| endpoint.state == "READY").count();
        if ended.code == Some(Code::Ok) && ready == if config.is_pick_first() { 1 } else { hosts } {
            row += 1;
            heard.extend(ended.host);
        } else {
            (row, heard) = (0, BTreeSet::new());
        }
        if Instant::now() > patience {
            world.ledger.violation(format_args!("channel {} does not converge: {snapshot:#?}", line.number));
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    world.ledger.note(format_args!("channel {} has converged", line.number));
    let mut reached = vec![0; hosts];
    for _ in 0..12 * hosts {
        let ended = caller::run(&line.channel, probe(ids, line, 2000), &world.ledger).await;
        if ended.code != Some(Code::Ok) {
            world.ledger.violation(format_args!("call {} failed although all is well", ended.id));
        }
        let host = ended.host.as_deref().and_then(|host| host.strip_prefix('b')?.parse::<usize>().ok());
        if let Some(count) = host.and_then(|host| reached.get_mut(host)) {
            *count += 1;
        }
    }
    if config.spreads() && reached.contains(&0) {
        world.ledger.violation(format_args!("calls of channel {} are not spread: {reached:?}", line.number));
    }
}

fn probe(ids: &mut std::ops::RangeFrom<u64>, line: &Line, millis: u64) -> Call {
    Call {
        id: ids.next().unwrap_or(u64::MAX),
        at: now(),
        channel: line.number,
        method: Method::Get,
        deadline: Some(Duration::from_millis(millis)),
        wait_for_ready: false,
        dropped_after: None,
        message_bytes: 1,
    }
}

/// Without calls nothing is in flight, waiting or kept.
async fn rest(world: &World, line: &Line) {
    // Hedges that lost are reset by then.
    sleep(Duration::from_millis(100)).await;
    throttled(world, line);
    let snapshot = line.channel.snapshot();
    let active: usize = snapshot.endpoints.iter().map(|endpoint| endpoint.active).sum();
    let left = (snapshot.calls, snapshot.waiting, snapshot.replay_bytes, active);
    if left != (0, 0, 0, 0) {
        world.ledger.violation(format_args!("calls, waiting, bytes kept, in flight: {left:?} without calls"));
    }
}

/// Without channels the servers have neither RPCs nor connections.
async fn farewell(world: &World) {
    let patience = Instant::now() + FAREWELL;
    loop {
        let leaks: Vec<_> = world.hosts.iter().map(|host| (&host.name, host.leaks())).collect();
        if leaks.iter().all(|(_, found)| found.is_empty()) {
            return;
        }
        if Instant::now() > patience {
            return world.ledger.violation(format_args!("begun and never ended: {leaks:?}"));
        }
        sleep(10 * LOOK).await;
    }
}

/// A platform that notes attempts to connect.
struct Counted {
    platform: Named,
    ledger: Arc<Ledger>,
    channel: usize,
}

impl Platform for Counted {
    fn bind<'a>(&'a self, addr: &'a ListenAddr) -> BoxFuture<'a, std::io::Result<Box<dyn Listener>>> {
        self.platform.bind(addr)
    }

    fn connect<'a>(
        &'a self,
        address: &'a Address,
        options: ConnectOptions,
    ) -> BoxFuture<'a, std::io::Result<Box<dyn Io>>> {
        self.ledger.dialled(Dial { at: now(), channel: self.channel });
        self.platform.connect(address, options)
    }

    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Lookup, LookupError>> {
        self.platform.lookup(name)
    }

    fn lookup_txt<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Lookup<bytes::Bytes>, LookupError>> {
        self.platform.lookup_txt(name)
    }

    fn wall_clock(&self) -> std::time::SystemTime {
        self.platform.wall_clock()
    }

    fn random(&self) -> u64 {
        self.platform.random()
    }
}

//! The life of a server: serving, lame duck, drain, force, report.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use highball_core::{Body, Code, Status};
use highball_net::caps::Caps;
use highball_net::{Drain, Draining, ListenAddr, Listener, Phase, Tasks};
use highball_telemetry::Event;
use http::Request;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::accept::{Acceptor, Ends, Session};
use crate::checklist::{self, OpenBox, Posture};
use crate::entrance::Entrance;
use crate::rpc::Host;
use crate::{Settings, admin, keys, renew, rpc};

/// After force, the time connections get to carry their last frames out before their tasks are aborted. Longer than the
/// connection's own farewell, which is the orderly way.
const ABORT_AFTER: Duration = Duration::from_secs(1);

/// Connections to a port beside those for RPCs.
const SIDE_CONNECTIONS_MAX: usize = 256;

/// A listener, and what its connections pass.
pub(crate) type Guarded = (Box<dyn Listener>, Entrance);

/// A server that holds its addresses and serves nothing yet.
#[must_use = "a bound server serves nothing until it is run"]
pub struct BoundServer {
    host: Arc<Host>,
    listeners: Vec<Guarded>,
    probes: Option<Box<dyn Listener>>,
    admin: Option<Box<dyn Listener>>,
    drain: Arc<Drain>,
    /// Told when TLS files should be read again at once.
    reload: Arc<Notify>,
}

impl BoundServer {
    pub(crate) fn new(
        host: Arc<Host>,
        listeners: Vec<Guarded>,
        probes: Option<Box<dyn Listener>>,
        admin: Option<Box<dyn Listener>>,
        drain: Arc<Drain>,
    ) -> Self {
        Self { host, listeners, probes, admin, drain, reload: Arc::default() }
    }

    /// Where it listens for RPCs, with the ports the system chose.
    #[must_use]
    pub fn addrs(&self) -> Vec<ListenAddr> {
        self.listeners.iter().map(|(listener, _)| listener.local_addr()).collect()
    }

    /// Where the port that only answers health checks is.
    #[must_use]
    pub fn health_only_addr(&self) -> Option<ListenAddr> {
        self.probes.as_ref().map(|listener| listener.local_addr())
    }

    /// Where the admin port is.
    #[must_use]
    pub fn admin_addr(&self) -> Option<ListenAddr> {
        self.admin.as_ref().map(|listener| listener.local_addr())
    }

    /// The limits in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.host.settings
    }

    /// The boxes of the launch checklist this server leaves open.
    #[must_use]
    pub fn open_boxes(&self) -> Vec<OpenBox> {
        let listeners = self
            .listeners
            .iter()
            .map(|(listener, entrance)| (listener.local_addr(), entrance.tls.is_some()))
            .collect();
        let posture = Posture { listeners, guarded: self.host.guard.is_some() };
        checklist::open_boxes(&self.host.settings, &posture)
    }

    /// Runs until SIGTERM or SIGINT, then drains; a second signal forces the drain. SIGHUP reads TLS files again at once.
    ///
    /// # Errors
    /// When the process may not handle signals, which no ordinary process is denied.
    pub async fn run_until_signal(self) -> io::Result<DrainReport> {
        let mut signals = Signals::new()?;
        let drain = self.drain.clone();
        let mut hangup = signal(SignalKind::hangup())?;
        let reload = self.reload.clone();
        let (first, stop) = tokio::sync::oneshot::channel();
        let watch = Tasks::new();
        watch.spawn(async move {
            signals.next().await;
            // The server is gone when nobody listens; there is nothing left to stop.
            first.send(()).ok();
            signals.next().await;
            drain.advance(Phase::Forced);
        });
        watch.spawn(async move {
            while hangup.recv().await.is_some() {
                reload.notify_waiters();
            }
        });
        Ok(self.run(async move { stop.await.unwrap_or_default() }).await)
    }

    /// Runs until `stop` resolves, then drains: readiness says no for [`Settings::lame_duck`] while everything is still
    /// accepted; then no new connections, GOAWAY on the open ones, and up to [`Settings::drain_timeout`] for what is in
    /// flight; then the rest is answered UNAVAILABLE and closed.
    ///
    /// # Cancel safety
    /// Dropping the future closes every connection at once.
    pub async fn run(self, stop: impl Future<Output = ()>) -> DrainReport {
        let Self { host, listeners, probes, admin, drain, reload } = self;
        let (loops, connections, side_tasks) = (Tasks::new(), Tasks::new(), Tasks::new());
        let ends = Arc::new(Ends::default());
        let acceptor = Arc::new(rpc_acceptor(&host, &connections, &ends));
        let watchers = Tasks::new();
        if let Some(verifier) = keys::shown(&host.telemetry, host.guard.as_ref()) {
            watchers.spawn(keys::watch(host.telemetry.clone(), verifier));
        }
        for (listener, entrance) in listeners {
            if let Some(tls) = entrance.tls.clone() {
                let addr = listener.local_addr().to_string();
                watchers.spawn(renew::watch(host.telemetry.clone(), addr, tls, reload.clone()));
            }
            loops.spawn(acceptor.clone().run(listener, entrance));
        }
        open_side_doors(&host, &side_tasks, probes, admin);
        let draining = drain.listen();
        tokio::select! {
            () = stop => {}
            // Somebody else who holds the drain has begun it.
            () = draining.reached(Phase::LameDuck) => {}
        }
        let cut_before = ends.cut.load(Ordering::Relaxed);
        let started = Instant::now();
        let enter = |phase, name| {
            drain.advance(phase);
            let open = ends.open.load(Ordering::Relaxed);
            host.telemetry.report(&Event::Draining {
                phase: name,
                rpcs: host.in_flight.now(),
                connections: open,
            });
        };
        host.health.drain();
        enter(Phase::LameDuck, "lame_duck");
        tokio::select! {
            () = sleep(host.settings.lame_duck) => {}
            () = draining.begun() => {}
        }
        enter(Phase::Draining, "drain");
        loops.finished().await;
        tokio::select! {
            () = connections.finished() => {}
            () = sleep(host.settings.drain_timeout) => {}
            () = draining.reached(Phase::Forced) => {}
        }
        if connections.running() > 0 || drain.phase() == Phase::Forced {
            enter(Phase::Forced, "force");
            // Whatever is left then never took its last frames.
            timeout(ABORT_AFTER, connections.finished()).await.ok();
        }
        connections.abort_all();
        // In vain for a task that never yields; the drain ends all the same.
        timeout(ABORT_AFTER, connections.finished()).await.ok();
        // A probe that still watches would be waited for below.
        drop(side_tasks);
        // The streams of an aborted connection are dropped by the runtime soon after it; the report must have them all.
        let patience = Instant::now() + ABORT_AFTER;
        while host.in_flight.now() > 0 && Instant::now() < patience {
            sleep(Duration::from_millis(1)).await;
        }
        let connections_cut = ends.cut.load(Ordering::Relaxed) - cut_before;
        report(&host, connections_cut, started.elapsed())
    }
}

fn report(host: &Host, connections_cut: u64, took: Duration) -> DrainReport {
    let report = DrainReport {
        finished: host.in_flight.finished_in_drain(),
        cut: host.in_flight.cut(),
        connections_cut,
        took,
    };
    let DrainReport { finished, cut, connections_cut, took } = report;
    host.telemetry.report(&Event::Drained { finished, cut, connections_cut, took });
    report
}

fn rpc_acceptor(
    host: &Arc<Host>,
    connections: &Tasks,
    ends: &Arc<Ends>,
) -> Acceptor<impl Fn(Arc<Session>, Draining, Request<Body>) -> RpcFuture + Clone + Send + Sync + 'static> {
    let handle = host.clone();
    Acceptor {
        settings: host.settings.connection.clone(),
        platform: host.platform.clone(),
        caps: Caps::new(host.settings.connections_max, host.settings.connections_per_peer_max),
        telemetry: host.telemetry.clone(),
        draining: host.draining.clone(),
        connections: connections.spawner(),
        ends: ends.clone(),
        service: move |session, draining, request| -> RpcFuture {
            Box::pin(rpc::handle(handle.clone(), session, draining, request))
        },
    }
}

/// The walk, boxed once at the door.
type RpcFuture = futures_util::future::BoxFuture<'static, http::Response<Body>>;

/// Starts the ports beside those for RPCs.
fn open_side_doors(
    host: &Arc<Host>,
    tasks: &Tasks,
    probes: Option<Box<dyn Listener>>,
    admin: Option<Box<dyn Listener>>,
) {
    if let Some(listener) = probes {
        let acceptor = side_acceptor(host, tasks, host.settings.connection.clone(), probe(host));
        tasks.spawn(Arc::new(acceptor).run(listener, Entrance::default()));
    }
    if let Some(listener) = admin {
        let (health, telemetry) = (host.health.clone(), host.telemetry.clone());
        let answer = move |_, _, request: Request<Body>| {
            std::future::ready(admin::answer(&health, &telemetry, &request))
        };
        let acceptor = side_acceptor(host, tasks, highball_net::http::Settings::default(), answer);
        tasks.spawn(Arc::new(acceptor).run(listener, Entrance::default()));
    }
}

/// A port beside those for RPCs: for a scraper, a prober and a few people. It hears no drain, so that they are answered to
/// the end, and its bound keeps anybody from using up the process through it.
fn side_acceptor<S>(
    host: &Host,
    tasks: &Tasks,
    settings: highball_net::http::Settings,
    service: S,
) -> Acceptor<S> {
    Acceptor {
        settings,
        platform: host.platform.clone(),
        caps: Caps::new(SIDE_CONNECTIONS_MAX, SIDE_CONNECTIONS_MAX),
        telemetry: host.telemetry.clone(),
        draining: Draining::never(),
        connections: tasks.spawner(),
        ends: Arc::default(),
        service,
    }
}

/// What the port for probes answers: the same walk, for one service only.
fn probe(
    host: &Arc<Host>,
) -> impl Fn(Arc<Session>, Draining, Request<Body>) -> RpcFuture + Clone + Send + Sync + 'static {
    let handle = host.clone();
    move |session, draining, request: Request<Body>| -> RpcFuture {
        if request.uri().path().starts_with("/grpc.health.v1.Health/") {
            Box::pin(rpc::handle(handle.clone(), session, draining, request))
        } else {
            let refusal = Status::new(Code::Unimplemented, "this port answers health checks only");
            Box::pin(std::future::ready(refusal.into_response()))
        }
    }
}

impl fmt::Debug for BoundServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundServer").field("addrs", &self.addrs()).finish_non_exhaustive()
    }
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What became of the work that was in flight when the server was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainReport {
    /// RPCs that ended by themselves after the signal, whenever they began.
    pub finished: u64,
    /// RPCs that were answered UNAVAILABLE or lost because time was up.
    pub cut: u64,
    /// Connections that were closed although their client had not let go.
    pub connections_cut: u64,
    /// From the signal to the end.
    pub took: Duration,
}

impl DrainReport {
    /// 0 when nothing was cut, 1 otherwise. A connection counts too: a response that its caller had not read may have been
    /// in it, and the RPC was over when its last byte was handed to HTTP/2.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        u8::from(self.cut > 0 || self.connections_cut > 0)
    }
}

impl fmt::Display for DrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { finished, cut, connections_cut, took } = self;
        write!(
            f,
            "drained in {took:.1?}: {finished} RPCs finished, {cut} cut; {connections_cut} connections cut"
        )
    }
}

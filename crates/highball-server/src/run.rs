//! The life of a server, until it is told to stop; the rest is in [`crate::leave`].

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;

use highball_core::{Body, Code, Dialect, Status};
use highball_gateway::Gateway;
use highball_net::caps::Caps;
use highball_net::{Drain, Draining, Handover, Incoming, ListenAddr, Listener, Phase, Tasks, Workers};
use http::Request;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::accept::{Acceptor, Ends, Session};
use crate::checklist::{self, OpenBox, Posture};
use crate::entrance::Entrance;
use crate::leave::{DrainReport, Leaving};
use crate::rpc::Host;
use crate::{Settings, admin, keys, renew, rpc, upgrade};

/// Connections to a port beside those for RPCs.
const SIDE_CONNECTIONS_MAX: usize = 256;

/// A listener, and what its connections pass.
pub(crate) type Guarded = (Box<dyn Listener>, Entrance);

/// A server that holds its addresses and serves nothing yet.
#[must_use = "a bound server serves nothing until it is run"]
pub struct BoundServer {
    host: Arc<Host>,
    /// Where connections are served; without any, on the runtime that runs the server.
    workers: Option<Arc<Workers>>,
    /// How a successor is started, and the predecessor.
    handover: Option<Arc<Handover>>,
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
        workers: Option<Arc<Workers>>,
        handover: Option<Arc<Handover>>,
        listeners: Vec<Guarded>,
        probes: Option<Box<dyn Listener>>,
        admin: Option<Box<dyn Listener>>,
        drain: Arc<Drain>,
    ) -> Self {
        Self { host, workers, handover, listeners, probes, admin, drain, reload: Arc::default() }
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
    /// SIGUSR2 starts a successor, if [`Server::with_handover`](crate::Server::with_handover) says how; before this call,
    /// and without it, the signal ends the process.
    ///
    /// # Errors
    /// When the process may not handle signals, which no ordinary process is denied.
    pub async fn run_until_signal(self) -> io::Result<DrainReport> {
        let mut signals = Signals::new()?;
        let drain = self.drain.clone();
        let mut hangup = signal(SignalKind::hangup())?;
        let reload = self.reload.clone();
        let successors =
            self.handover.clone().map(|how| Ok::<_, io::Error>((how, signal(SignalKind::user_defined2())?)));
        let (first, stop) = tokio::sync::oneshot::channel();
        let watch = Tasks::new();
        watch.spawn(async move {
            signals.next().await;
            // The server is gone when nobody listens; there is nothing left to stop.
            first.send(()).ok();
            signals.next().await;
            drain.advance(Phase::Forced);
        });
        if let Some((handover, asked)) = successors.transpose()? {
            let (drain, telemetry) = (self.drain.clone(), self.host.telemetry.clone());
            watch.spawn(upgrade::watch(handover, drain, telemetry, asked));
        }
        watch.spawn(async move {
            while hangup.recv().await.is_some() {
                reload.notify_waiters();
            }
        });
        Ok(self.run(async move { stop.await.unwrap_or_default() }).await)
    }

    /// Runs until `stop` resolves, then drains: readiness says no for [`Settings::lame_duck`] while everything is still
    /// accepted; then no new connections, GOAWAY on the open ones, and up to [`Settings::drain_timeout`] for what is in
    /// flight; then the rest is answered UNAVAILABLE and closed. When a successor accepts from the same sockets, the drain
    /// proper begins at once, and nobody is told that this server is not ready: another is, at the same address. A successor
    /// that is told to stop before it took over accepts nothing, and ends.
    ///
    /// # Cancel safety
    /// Dropping the future closes every connection at once.
    pub async fn run(self, stop: impl Future<Output = ()>) -> DrainReport {
        let Self { host, workers, handover, listeners, probes, admin, drain, reload } = self;
        let (loops, connections, side_tasks) = (Tasks::new(), Tasks::new(), Tasks::new());
        let ends = Arc::new(Ends::default());
        let acceptor = Arc::new(rpc_acceptor(&host, workers, &connections, &ends));
        let watchers = Tasks::new();
        if let Some(verifier) = keys::shown(&host.telemetry, host.guard.as_ref()) {
            watchers.spawn(keys::watch(host.telemetry.clone(), verifier));
        }
        let draining = drain.listen();
        let mut stop = pin!(told(stop, &draining));
        let stopped = tokio::select! {
            () = &mut stop => true,
            () = upgrade::take_over(handover.as_deref(), &host.health, &host.telemetry) => false,
        };
        if stopped && handover.is_some_and(|handover| !handover.is_serving()) {
            // The predecessor goes on, and kills this process: what it accepted would be lost.
            drop((listeners, probes, admin));
            drain.advance(Phase::Draining);
            return Leaving { host, drain, ends, loops, connections, side_tasks }.run().await;
        }
        for (listener, entrance) in listeners {
            if let Some(tls) = entrance.tls.clone() {
                let addr = listener.local_addr().to_string();
                watchers.spawn(renew::watch(host.telemetry.clone(), addr, tls, reload.clone()));
            }
            loops.spawn(acceptor.clone().run(listener, entrance));
        }
        open_side_doors(&host, &side_tasks, probes, admin);
        if !stopped {
            stop.await;
        }
        Leaving { host, drain, ends, loops, connections, side_tasks }.run().await
    }
}

/// Resolves when the server is told to stop, by `stop` or by somebody else who holds the drain.
async fn told(stop: impl Future<Output = ()>, draining: &Draining) {
    tokio::select! {
        () = stop => {}
        () = draining.reached(Phase::LameDuck) => {}
        () = draining.handed_over() => {}
    }
}

fn rpc_acceptor(
    host: &Arc<Host>,
    workers: Option<Arc<Workers>>,
    connections: &Tasks,
    ends: &Arc<Ends>,
) -> Acceptor<impl Fn(Arc<Session>, Draining, Request<Incoming>) -> RpcFuture + Clone + Send + Sync + 'static>
{
    let handle = host.clone();
    Acceptor {
        settings: host.settings.connection.clone(),
        platform: host.platform.clone(),
        caps: Caps::new(host.settings.connections_max, host.settings.connections_per_peer_max),
        telemetry: host.telemetry.clone(),
        draining: host.draining.clone(),
        server: host.draining.clone(),
        connections: connections.spawner(),
        workers,
        ends: ends.clone(),
        service: move |session, draining, request: Request<Incoming>| -> RpcFuture {
            match &handle.gateway {
                Some(gateway) if Dialect::recognise(request.headers()).is_none() => {
                    Box::pin(translated(gateway.clone(), handle.clone(), session, draining, request))
                }
                _ => Box::pin(rpc::handle(handle.clone(), session, draining, request)),
            }
        },
    }
}

/// The walk, between translations: what it sees is gRPC.
async fn translated(
    gateway: Arc<Gateway>,
    host: Arc<Host>,
    session: Arc<Session>,
    draining: Draining,
    request: Request<Incoming>,
) -> http::Response<Body> {
    let walk = move |mut request: Request<Body>| {
        request.extensions_mut().insert(Dialect::Rest);
        rpc::handle(host, session, draining, request.map(Incoming::of))
    };
    gateway.call(request.map(Body::of), walk).await
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
        let pages = host.pages.clone();
        let answer = move |_, _, request: Request<Incoming>| {
            let request = request.map(Body::of);
            std::future::ready(admin::answer(&health, &telemetry, pages.as_ref(), &request))
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
        server: host.draining.clone(),
        connections: tasks.spawner(),
        workers: None,
        ends: Arc::default(),
        service,
    }
}

/// What the port for probes answers: the same walk, for one service only.
fn probe(
    host: &Arc<Host>,
) -> impl Fn(Arc<Session>, Draining, Request<Incoming>) -> RpcFuture + Clone + Send + Sync + 'static {
    let handle = host.clone();
    move |session, draining, request: Request<Incoming>| -> RpcFuture {
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

//! From settings to a running edge, and to other settings while it runs.

mod control;
mod entrances;
mod error;
mod parts;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;

use highball_core::Body;
use highball_net::{ListenAddr, Os, Platform, Workers};
use highball_server::{BoundServer, DrainReport, OpenBox, Server};
use highball_telemetry::{EdgeEvent, Telemetry};
use http::{Request, Response};
use tower::service_fn;

pub(crate) use control::Control;
pub use control::{Reloaded, Reloader};
use entrances::{Entrance, entrances};
pub use error::EdgeError;
use parts::Parts;

use crate::cluster;
use crate::explain;
use crate::settings::Settings;
use crate::table::Plan;

/// An edge that holds nothing yet.
#[must_use = "an edge does nothing until it is bound and run"]
pub struct Edge {
    settings: Settings,
    platform: Arc<dyn Platform>,
    telemetry: Telemetry,
    threads: bool,
    parts: Parts,
}

impl Edge {
    /// An edge on the operating system's sockets.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            platform: Os::shared(),
            telemetry: Telemetry::new(),
            threads: true,
            parts: Parts::default(),
        }
    }

    /// Runs on another [`Platform`], such as one that was started with sockets.
    pub fn with_platform(mut self, platform: Arc<dyn Platform>) -> Self {
        self.platform = platform;
        self
    }

    /// Reports into a registry the application already uses.
    pub fn with_telemetry(mut self, telemetry: Telemetry) -> Self {
        self.telemetry = telemetry;
        self
    }

    /// Carries connections on the runtime that binds it instead of on worker threads: for simulations, whose time stands
    /// still on one thread only.
    pub fn without_workers(mut self) -> Self {
        self.threads = false;
        self
    }

    /// Everything that [`bind`](Self::bind) does before its first socket, and nothing that connects: reads every file that the
    /// settings name, makes every cluster, and looks at the limits. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`EdgeError`] with a sentence for each problem, of all parts.
    pub fn check(self) -> Result<(), EdgeError> {
        let Self { settings, platform, telemetry, threads: _, parts } = self;
        let (entrances, descriptors, plan) = prepare(settings, &parts, &platform, &telemetry)?;
        plan.check(&platform, &telemetry)?;
        let nobody =
            service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
        let server =
            Server::new(nobody).with_settings(plan.settings.limits.clone()).with_telemetry(telemetry);
        let server = furnish(server, entrances, &descriptors, &plan.settings);
        Ok(parts.give(server).check()?)
    }

    /// Reads the files that the settings name, begins to connect to every backend, and binds every address, or nothing.
    ///
    /// # Errors
    /// [`EdgeError`] with a sentence for each problem.
    ///
    /// # Cancel safety
    /// Dropping the future closes what was bound.
    pub async fn bind(self) -> Result<BoundEdge, EdgeError> {
        let Self { settings, platform, telemetry, threads, parts } = self;
        let (entrances, descriptors, plan) = prepare(settings, &parts, &platform, &telemetry)?;
        let threads = match threads {
            true => {
                Some(Workers::start(plan.settings.workers.unwrap_or_default()).map_err(EdgeError::workers)?)
            }
            false => None,
        };
        let given = parts.descriptors.clone();
        let control = Arc::new(Control::new(plan, given, threads, platform, telemetry)?);
        let settings = control.settings();
        let mut server = furnish(control.server(), entrances, &descriptors, &settings);
        if settings.admin.is_some() {
            server = server.with_admin_pages(explain::pages(control.clone()));
        }
        let bound = parts.give(server).bind().await?;
        let (routes, clusters) = (settings.routes.len(), settings.clusters.len());
        control.telemetry.report_edge(&EdgeEvent::Reloaded { routes, clusters, kept: 0 });
        Ok(BoundEdge { bound, control })
    }
}

/// What is read before anything is bound. Names every problem, of whichever part.
fn prepare(
    settings: Settings,
    parts: &Parts,
    platform: &Arc<dyn Platform>,
    telemetry: &Telemetry,
) -> Result<(Vec<Entrance>, Vec<Vec<u8>>, Plan), EdgeError> {
    let entrances = entrances(&settings, platform);
    let descriptors = cluster::descriptors(&settings.descriptors);
    let all: Vec<Vec<u8>> = parts.descriptors.iter().chain(descriptors.iter().flatten()).cloned().collect();
    let plan = Plan::new(settings, all.clone(), None, platform, telemetry);
    match (entrances, descriptors, plan) {
        (Ok(entrances), Ok(_), Ok(plan)) => Ok((entrances, all, plan)),
        (entrances, descriptors, plan) => {
            let entrances = entrances.err().map(|error| error.problems().to_vec());
            let problems = [entrances, descriptors.err(), plan.err()];
            Err(problems.into_iter().flatten().flatten().collect::<Vec<_>>().into())
        }
    }
}

/// Gives a server what the settings say of it.
fn furnish(
    mut server: Server,
    entrances: Vec<Entrance>,
    descriptors: &[Vec<u8>],
    settings: &Settings,
) -> Server {
    for set in descriptors {
        server = server.with_descriptors(set);
    }
    for (address, tls, proxies) in entrances {
        server = match (proxies, tls) {
            (Some(proxies), tls) => server.listen_proxied(address, proxies, tls),
            (None, Some(tls)) => server.listen_tls(address, tls),
            (None, None) => server.listen(address),
        };
    }
    if let Some(admin) = &settings.admin {
        server = server.admin(admin.clone());
    }
    if let Some(health) = &settings.health {
        server = server.health_only(health.clone());
    }
    server
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edge").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// An edge that holds its addresses and serves nothing yet.
#[must_use = "a bound edge serves nothing until it is run"]
pub struct BoundEdge {
    bound: BoundServer,
    control: Arc<Control>,
}

impl BoundEdge {
    /// Where it listens for RPCs, with the ports the system chose.
    #[must_use]
    pub fn addrs(&self) -> Vec<ListenAddr> {
        self.bound.addrs()
    }

    /// Where the admin port is.
    #[must_use]
    pub fn admin_addr(&self) -> Option<ListenAddr> {
        self.bound.admin_addr()
    }

    /// Where the port that only answers health checks is.
    #[must_use]
    pub fn health_only_addr(&self) -> Option<ListenAddr> {
        self.bound.health_only_addr()
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &highball_server::Settings {
        self.bound.settings()
    }

    /// The boxes of the launch checklist this edge leaves open.
    #[must_use]
    pub fn open_boxes(&self) -> Vec<OpenBox> {
        self.bound.open_boxes()
    }

    /// Threads that carry connections.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.control.workers.len()
    }

    /// A hand that brings new settings while it runs.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        Reloader(self.control.clone())
    }

    /// Runs until `stop` resolves, then drains: see [`BoundServer::run`].
    ///
    /// # Cancel safety
    /// Dropping the future closes every connection at once.
    pub async fn run(self, stop: impl Future<Output = ()>) -> DrainReport {
        let Self { bound, control } = self;
        let report = bound.run(stop).await;
        // Backends hear of the end only now: RPCs were under way until here.
        drop(control);
        report
    }

    /// Runs until SIGTERM or SIGINT, then drains: see [`BoundServer::run_until_signal`].
    ///
    /// # Errors
    /// When the process may not handle signals.
    pub async fn run_until_signal(self) -> io::Result<DrainReport> {
        let Self { bound, control } = self;
        let report = bound.run_until_signal().await;
        drop(control);
        report
    }
}

impl fmt::Debug for BoundEdge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundEdge").field("addrs", &self.addrs()).finish_non_exhaustive()
    }
}

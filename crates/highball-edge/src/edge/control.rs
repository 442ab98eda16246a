//! What the server, its admin port and whoever reloads share.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use highball_channel::State;
use highball_core::{Body, Code, Status};
use highball_net::{Platform, Tasks, Workers};
use highball_server::Server;
use highball_telemetry::{EdgeEvent, Telemetry};
use http::Request;
use tower::service_fn;

use super::EdgeError;
use crate::cluster;
use crate::proxy::{Worker, forward};
use crate::settings::Settings;
use crate::table::{Plan, Table};

/// What the server, its admin port and whoever reloads share.
pub(crate) struct Control {
    pub(crate) workers: Vec<Arc<Worker>>,
    /// Where they run; `None` for here.
    threads: Option<Arc<Workers>>,
    /// In force. Held while a reload is under way, so that one follows the other.
    plan: Mutex<Arc<Plan>>,
    /// Beside those of the settings.
    descriptors: Vec<Vec<u8>>,
    platform: Arc<dyn Platform>,
    pub(crate) telemetry: Telemetry,
    /// Owns the copies of mirrored RPCs.
    _mirrors: Tasks,
}

impl Control {
    pub(super) fn new(
        plan: Plan,
        descriptors: Vec<Vec<u8>>,
        threads: Option<Arc<Workers>>,
        platform: Arc<dyn Platform>,
        telemetry: Telemetry,
    ) -> Result<Self, EdgeError> {
        let mirrors = Tasks::new();
        let count = threads.as_ref().map_or(1, |threads| threads.len());
        let worker = |index: usize| {
            let _inside = threads.as_ref().map(|threads| threads.handle(index).enter());
            let table = Table::new(&plan, None, &platform, &telemetry)?;
            Ok(Arc::new(Worker {
                table: ArcSwap::from_pointee(table),
                platform: platform.clone(),
                telemetry: telemetry.clone(),
                mirrors: mirrors.spawner(),
            }))
        };
        let workers: Result<Vec<_>, Vec<String>> = (0..count).map(worker).collect();
        let workers = workers?;
        let plan = Mutex::new(Arc::new(plan));
        Ok(Self { workers, threads, plan, descriptors, platform, telemetry, _mirrors: mirrors })
    }

    /// The server whose service is this edge.
    pub(super) fn server(&self) -> Server {
        let service = |index: usize| {
            // There are as many as threads; without threads there is one.
            let worker = self.workers.get(index).or(self.workers.first()).cloned();
            service_fn(move |request: Request<Body>| {
                let worker = worker.clone();
                async move {
                    Ok::<_, Infallible>(match worker {
                        Some(worker) => forward(worker, request).await,
                        None => Status::new(Code::Internal, "the edge has no worker").into_response(),
                    })
                }
            })
        };
        let server = match &self.threads {
            Some(threads) => Server::per_worker(threads.clone(), service),
            None => Server::new(service(0)),
        };
        // Messages go through as they come.
        let limits = highball_server::Settings { decompress: false, ..self.settings().limits };
        server
            .with_settings(limits)
            .with_platform(self.platform.clone())
            .with_telemetry(self.telemetry.clone())
    }

    /// In force.
    pub(crate) fn settings(&self) -> Settings {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).settings.clone()
    }

    fn reload(&self, settings: Settings) -> Result<Reloaded, EdgeError> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let fixed = fixed(&plan.settings, &settings);
        if !fixed.is_empty() {
            return Err(fixed.into());
        }
        let read = cluster::descriptors(&settings.descriptors)?;
        let descriptors = self.descriptors.iter().cloned().chain(read).collect();
        let next = Plan::new(settings, descriptors, Some(&plan), &self.platform, &self.telemetry)?;
        // All tables first: nothing changes unless everything can.
        let mut tables = Vec::with_capacity(self.workers.len());
        for (index, worker) in self.workers.iter().enumerate() {
            let _inside = self.threads.as_ref().map(|threads| threads.handle(index).enter());
            tables.push(Table::new(&next, Some(&worker.table.load()), &self.platform, &self.telemetry)?);
        }
        let known = |name: &&String| plan.settings.clusters.get(*name) == next.settings.clusters.get(*name);
        let kept = next.settings.clusters.keys().filter(known).count();
        let reloaded =
            Reloaded { routes: next.settings.routes.len(), clusters: next.settings.clusters.len(), kept };
        for (worker, table) in self.workers.iter().zip(tables) {
            worker.table.store(Arc::new(table));
        }
        *plan = Arc::new(next);
        Ok(reloaded)
    }
}

/// What cannot change while it runs.
fn fixed(old: &Settings, new: &Settings) -> Vec<String> {
    let changed = [
        ("workers", old.workers != new.workers),
        ("admin", old.admin != new.admin),
        ("health", old.health != new.health),
        ("listeners", old.listeners != new.listeners),
        ("limits", old.limits != new.limits),
        ("descriptors", old.descriptors != new.descriptors),
    ];
    let changed = changed.into_iter().filter(|(_, changed)| *changed);
    changed
        .map(|(name, _)| {
            format!("{name} cannot change while it runs: SIGUSR2 starts a new process with the new file, without a gap")
        })
        .collect()
}

/// Brings new settings to an edge that runs. Cheap to clone.
#[derive(Clone)]
pub struct Reloader(pub(super) Arc<Control>);

impl Reloader {
    /// Replaces routes and clusters, all at once. RPCs under way keep their route; clusters whose settings are the same keep
    /// their connections; those that are gone close theirs once the last RPC over them has ended. Must be called inside a
    /// tokio runtime; reads the files that the settings name.
    ///
    /// # Errors
    /// [`EdgeError`] with all that is wrong; then nothing has changed.
    pub fn reload(&self, settings: Settings) -> Result<Reloaded, EdgeError> {
        let outcome = self.0.reload(settings);
        match &outcome {
            Ok(Reloaded { routes, clusters, kept }) => {
                let (routes, clusters, kept) = (*routes, *clusters, *kept);
                self.0.telemetry.report_edge(&EdgeEvent::Reloaded { routes, clusters, kept });
            }
            Err(error) => self.refuse(&error.to_string()),
        }
        outcome
    }

    /// Each cluster by name, with how reachable it is for each worker.
    #[must_use]
    pub fn clusters(&self) -> Vec<(String, Vec<State>)> {
        let tables: Vec<_> = self.0.workers.iter().map(|worker| worker.table.load_full()).collect();
        let names = tables.first().into_iter().flat_map(|table| table.clusters.keys());
        let states = |name: &String| {
            let clusters = tables.iter().filter_map(|table| table.clusters.get(name));
            (name.clone(), clusters.map(|cluster| cluster.channel.state()).collect())
        };
        names.map(states).collect()
    }

    /// Reports that there are new settings which could not even be read.
    pub fn refuse(&self, problems: &str) {
        self.0.telemetry.report_edge(&EdgeEvent::ReloadRefused { problems });
    }
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reloader")
    }
}

/// What a reload brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reloaded {
    /// Routes there are now.
    pub routes: usize,
    /// Clusters there are now.
    pub clusters: usize,
    /// Of these, the clusters that kept their connections.
    pub kept: usize,
}

//! `highball up`: the whole thing, on this machine, with one command: replicas of the order service on one database, and an
//! edge in front of them.

mod banner;
mod log;
mod plan;
mod replicas;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use highball::auth::Guard;
use highball::auth::token::World;
use highball::channel::State;
use highball::net::Tasks;
use highball::server::Dependency;
use highball::{Health, ListenAddr, telemetry};
use highball_edge::{BoundEdge, Edge, Reloader};
use orders::SecurityFlags;
use tokio::time::{Instant, sleep};

use crate::{edge, say};
use plan::Wishes;
use replicas::{Place, Replicas};

/// What `highball up` takes.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// Where to listen for RPCs: IP:PORT or unix:PATH. May be given several times.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:50051")]
    listen: Vec<ListenAddr>,
    /// Where to serve /livez, /readyz and /metrics over HTTP.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9090")]
    admin: ListenAddr,
    /// Where to keep the data; made when it does not exist.
    #[arg(long, value_name = "DIR", default_value = "./data")]
    data: PathBuf,
    /// Processes that serve the database together, behind the edge in this one.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8))]
    replicas: u8,
    #[command(flatten)]
    security: SecurityFlags,
    /// What to log, such as `info` or `highball::rpc=debug,info`.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
}

/// How long the edge may take until it reaches a replica that listens.
const WARM_MAX: Duration = Duration::from_secs(5);

/// How often the edge is asked whether it reaches one.
const GLANCE: Duration = Duration::from_millis(50);

/// Starts, serves until a signal, drains. The exit code, or a sentence for the person who started it.
pub(crate) async fn run(flags: Flags) -> Result<u8, String> {
    let log = telemetry::log::start(&flags.log).map_err(|cause| cause.to_string())?;
    fs::create_dir_all(&flags.data).map_err(|cause| {
        format!(
            "cannot make the data directory {}: {cause}; choose another with --data",
            flags.data.display()
        )
    })?;
    let count = usize::from(flags.replicas);
    let place = Place::new(&flags.data, &flags.log)?;
    let endpoints = place.endpoints(count)?;
    let Flags { listen, admin, data, security, .. } = flags;
    let (settings, auth) = plan::edge(Wishes { listen, admin, security, endpoints })?;
    let tls = settings.listeners.iter().any(|listener| listener.tls.is_some());
    let tasks = Tasks::new();
    let guard = match auth {
        Some(auth) => {
            Some(Guard::start(&auth, World::new(tasks.spawner())).await.map_err(|cause| cause.to_string())?)
        }
        None => None,
    };
    let health = Health::new();
    let make = || {
        let edge = Edge::new(settings.clone()).with_descriptors(orders::DESCRIPTORS);
        let edge = edge.with_health(health.clone());
        guard.clone().into_iter().fold(edge, Edge::with_guard)
    };
    // What can be wrong with flags and files is found before a database is made.
    make().check().map_err(|error| error.to_string())?;
    let replicas = Replicas::start(place, count).await?;
    let bound = match make().bind().await {
        Ok(bound) => bound,
        Err(error) => {
            replicas.stop().await;
            return Err(error.to_string());
        }
    };
    let reloader = bound.reloader();
    warm(&reloader).await;
    tasks.spawn(follow(reloader, health.ready_when("replicas")));
    let banner = banner::of(&bound, &replicas, tls, &data);
    let code = serve(bound, replicas, &banner).await?;
    drop(tasks);
    // The last log lines before the prompt.
    drop(log);
    Ok(code)
}

/// Serves until a signal; the edge drains first, for its calls need the replicas.
async fn serve(bound: BoundEdge, replicas: Replicas, banner: &str) -> Result<u8, String> {
    let drained = edge::serve(bound, banner).await;
    let killed = replicas.stop().await;
    let report = drained.map_err(|cause| format!("cannot handle signals: {cause}"))?;
    say(report);
    Ok(if killed > 0 { 1 } else { report.exit_code() })
}

/// Waits until every worker reaches a replica, so that the first call does not wait for a connection.
async fn warm(reloader: &Reloader) {
    let until = Instant::now() + WARM_MAX;
    while Instant::now() < until && !states(reloader).iter().all(|state| *state == State::Ready) {
        sleep(GLANCE).await;
    }
}

/// The whole is ready while one replica is.
async fn follow(reloader: Reloader, replicas: Dependency) {
    loop {
        match states(&reloader).contains(&State::Ready) {
            true => replicas.up(),
            false => replicas.down("none is ready"),
        }
        sleep(GLANCE).await;
    }
}

/// For each worker.
fn states(reloader: &Reloader) -> Vec<State> {
    reloader.clusters().into_iter().flat_map(|(_, workers)| workers).collect()
}

//! What is told to others: readiness to load balancers, signs of life to systemd.

use std::env;
use std::io;
use std::time::Duration;

use highball::channel::State;
use highball::net::systemd::{self, Notifier};
use highball::net::{Draining, Phase, Tasks};
use highball::server::Dependency;
use highball_edge::Reloader;
use tokio::time::{Instant, sleep};

/// How long backends may keep a new edge from being ready. Then it is: an edge in front of a service that is down must still
/// say so to callers.
const WARM_MAX: Duration = Duration::from_secs(5);

/// How often the clusters are looked at meanwhile.
const GLANCE: Duration = Duration::from_millis(20);

/// Reports the backends up once every worker knows for each cluster whether it can be reached. A successor is told to go
/// then: its first call must not wait for a connection.
pub(super) async fn warm(reloader: Reloader, backends: Dependency) {
    let until = Instant::now() + WARM_MAX;
    let settled = |state: &State| matches!(state, State::Ready | State::TransientFailure);
    while Instant::now() < until
        && !reloader.clusters().iter().all(|(_, workers)| workers.iter().all(settled))
    {
        sleep(GLANCE).await;
    }
    backends.up();
}

/// Tells systemd READY now, STOPPING when the drain begins, and signs of life in between, if it listens. A manager that does
/// not is reported in the log and changes nothing.
pub(super) async fn tell(tasks: &Tasks, notifier: &Notifier, draining: Draining) {
    let told = |what: &str, outcome: io::Result<()>| {
        if let Err(error) = outcome {
            tracing::warn!(%error, what, "the supervisor was not told");
        }
    };
    told("ready", notifier.ready().await);
    let variable = |name| env::var(name).ok();
    let watchdog =
        systemd::watchdog_timeout(variable("WATCHDOG_USEC").as_deref(), variable("WATCHDOG_PID").as_deref());
    if let Some(timeout) = watchdog {
        let notifier = notifier.clone();
        tasks.spawn(async move {
            loop {
                let error = notifier.watchdog(timeout, || true).await;
                tracing::warn!(%error, "the watchdog was not told");
                sleep(timeout / 4).await;
            }
        });
    }
    let notifier = notifier.clone();
    tasks.spawn(async move {
        draining.reached(Phase::LameDuck).await;
        // After an upgrade the unit goes on, in another process.
        if !draining.is_handed_over() {
            told("stopping", notifier.stopping().await);
        }
    });
}

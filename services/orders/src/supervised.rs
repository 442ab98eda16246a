//! Running under systemd: it is told when the service is ready, stopping and alive.

use std::io;
use std::time::Duration;

use highball::DrainReport;
use highball::net::systemd::Notifier;
use highball::net::{Phase, Tasks};

use crate::Bound;

impl Bound {
    /// As [`run_until_signal`](Self::run_until_signal), telling a supervisor: READY at once, since every address is bound
    /// and the database is open; STOPPING when the drain begins; and signs of life within `watchdog`, which stop when the
    /// runtime is wedged. A supervisor that does not listen is reported in the log and changes nothing.
    ///
    /// # Errors
    /// When the process may not handle signals.
    pub async fn run_supervised(
        self,
        notifier: Notifier,
        watchdog: Option<Duration>,
    ) -> io::Result<DrainReport> {
        let told = |what: &str, outcome: io::Result<()>| {
            if let Err(error) = outcome {
                tracing::warn!(%error, what, "the supervisor was not told");
            }
        };
        told("ready", notifier.ready().await);
        let draining = self.draining();
        let tasks = Tasks::new();
        if let Some(timeout) = watchdog {
            let notifier = notifier.clone();
            tasks.spawn(async move {
                loop {
                    let error = notifier.watchdog(timeout, || true).await;
                    tracing::warn!(%error, "the watchdog was not told");
                    tokio::time::sleep(timeout / 4).await;
                }
            });
        }
        tasks.spawn(async move {
            draining.reached(Phase::LameDuck).await;
            told("stopping", notifier.stopping().await);
        });
        self.run_until_signal().await
    }
}

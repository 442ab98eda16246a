//! `highball replica`: one replica of the order service behind the edge of `highball up`. Hidden: `up` starts it.

use std::io::Read as _;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::Args;
use highball::{ListenAddr, Settings, telemetry};
use orders::{Database, Plan, Security};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// What `highball replica` takes.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    #[arg(long, value_name = "ADDR")]
    listen: ListenAddr,
    #[arg(long, value_name = "ADDR")]
    admin: ListenAddr,
    #[arg(long, value_name = "FILE")]
    database: PathBuf,
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
}

/// How long RPCs may take to finish. The edge in front has drained before.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until SIGTERM, or until whoever started it closes the standard input or is gone; then drains.
pub(crate) async fn run(flags: Flags) -> Result<u8, String> {
    // Dropped last: it flushes the lines of the shutdown.
    let _log = telemetry::log::start(&flags.log).map_err(|cause| cause.to_string())?;
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|cause| format!("cannot handle signals: {cause}"))?;
    let alone = alone()?;
    // Nobody looks for another server when this one says that it is not ready: the edge hears it by the health check.
    let settings =
        Settings { lame_duck: Duration::ZERO, drain_timeout: DRAIN_TIMEOUT, ..Settings::default() };
    let plan = Plan {
        listen: vec![flags.listen],
        admin: Some(flags.admin),
        database: Database::sqlite(&flags.database),
        settings,
        // The edge knows who calls and whether they may; only it may reach these sockets.
        security: Security::default(),
        platform: highball::net::Os::shared(),
    };
    let bound = plan.bind().await.map_err(|cause| cause.to_string())?;
    let report = bound
        .run(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                // Its sender ends with the thread.
                _ = alone => {}
            }
        })
        .await;
    Ok(report.exit_code())
}

/// Resolves when the standard input ends.
///
/// A thread, because a read of it cannot be cancelled; it ends with its read, or with the process.
fn alone() -> Result<oneshot::Receiver<()>, String> {
    let (end, ended) = oneshot::channel();
    let read = move || {
        let (mut stdin, mut buffer) = (std::io::stdin(), [0; 64]);
        while stdin.read(&mut buffer).is_ok_and(|size| size > 0) {}
        // In vain when it drains already.
        end.send(()).ok();
    };
    let thread = thread::Builder::new().name("highball-parent".to_owned()).spawn(read);
    thread.map_err(|cause| format!("cannot start a thread: {cause}"))?;
    Ok(ended)
}

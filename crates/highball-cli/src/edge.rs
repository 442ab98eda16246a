//! `highball edge`: a proxy for gRPC as one file says, taken again when the file changes.

mod banner;
mod changes;
pub(crate) mod file;
mod follow;
mod supervised;

use std::env;
use std::future::ready;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use clap::Args;
use highball::net::handover::{self, Program};
use highball::net::systemd::{Activated, ListenFd, Notifier};
use highball::net::{Handover, Os, Tasks};
use highball::{Drain, DrainReport, Health, telemetry};
use highball_edge::{BoundEdge, Edge};
use tokio::signal::unix::{SignalKind, signal};

use crate::say;
use file::{Source, Wrong};
use follow::Follower;

/// What `highball edge` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "SIGHUP reads the file and its certificates again at once. SIGUSR2 starts the program anew, hands its \
                        sockets over and drains. SIGTERM and Ctrl-C drain; a second one stops at once.\n\n\
                        Exit codes: 0 drained; 1 something was cut; 2 it did not start"
)]
pub(crate) struct Flags {
    /// Listeners, routes and clusters (TOML). Read again when it changes.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What to log, such as `info` or `highball::rpc=warn,info`.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
}

/// Starts, serves until a signal, drains. The exit code, or a sentence for the person who started it.
pub(crate) async fn run(flags: Flags, sockets: ListenFd) -> Result<u8, String> {
    let log = telemetry::log::start(&flags.log).map_err(|cause| cause.to_string())?;
    let source = Source::load(&flags.file)?;
    let refused = |wrong: &Wrong| {
        say(format_args!("{wrong}\n"));
        match wrong.lines.len() {
            1 => "the file cannot be used; nothing is started".to_owned(),
            count => format!("the file has {count} problems; nothing is started"),
        }
    };
    let read = source.read().map_err(|wrong| refused(&wrong))?;
    let notifier = Notifier::new(env::var_os("NOTIFY_SOCKET"));
    let Sockets { handover, activated, is_successor } = Sockets::new(sockets, &notifier)?;
    let (health, drain) = (Health::new(), Arc::new(Drain::new()));
    let backends = health.ready_when("backends");
    let bound = Edge::new(read.settings.clone())
        .with_handover(handover)
        .with_health(health)
        .with_drain(drain.clone())
        .bind()
        .await
        .map_err(|error| refused(&source.unusable(&error)))?;
    claimed(&activated, is_successor)?;
    for open in bound.open_boxes() {
        tracing::warn!(open_box = open.name, "{open}");
    }
    for warning in &read.warnings {
        tracing::warn!(warning = source.line(warning), "the file may not say what it means");
    }
    let banner = banner::of(&bound, &source, &read, is_successor);
    let hangup = signal(SignalKind::hangup()).map_err(|cause| no_signals(&cause))?;
    let tasks = Tasks::new();
    tasks.spawn(supervised::warm(bound.reloader(), backends));
    tasks.spawn(Follower::new(flags.file, source, read.settings, bound.reloader()).run(hangup));
    supervised::tell(&tasks, &notifier, drain.listen()).await;
    let report = serve(bound, &banner).await.map_err(|cause| no_signals(&cause))?;
    drop(tasks);
    // The last log lines first, then the summary.
    drop(log);
    say(report);
    Ok(report.exit_code())
}

/// Serves until a signal. Who reads the banner may send one: it is said once signals are heard.
pub(crate) async fn serve(bound: BoundEdge, banner: &str) -> io::Result<DrainReport> {
    let mut serving = pin!(bound.run_until_signal());
    tokio::select! {
        // Its first poll begins to listen for signals.
        biased;
        report = &mut serving => return report,
        () = ready(()) => say(banner),
    }
    serving.await
}

fn no_signals(cause: &io::Error) -> String {
    format!("cannot handle signals: {cause}")
}

/// Where sockets come from: systemd, a predecessor, or the system.
struct Sockets {
    handover: Arc<Handover>,
    activated: Arc<Activated>,
    is_successor: bool,
}

impl Sockets {
    fn new(passed: ListenFd, notifier: &Notifier) -> Result<Self, String> {
        let names = env::var("LISTEN_FDNAMES").ok();
        let (passed, predecessor) =
            handover::inherited(passed, names.as_deref()).map_err(|cause| cause.to_string())?;
        let is_successor = predecessor.is_some();
        let program = Program::again(env::args_os()).ok_or("the command line is empty")?;
        let activated = Arc::new(Activated::new(Os::shared(), passed));
        let handover = Handover::new(activated.clone(), program)
            .with_predecessor(predecessor)
            .with_notifier(notifier.clone());
        Ok(Self { handover: Arc::new(handover), activated, is_successor })
    }
}

/// What was handed over must be listened on, or closed: its clients would connect, and wait for ever.
fn claimed(activated: &Activated, is_successor: bool) -> Result<(), String> {
    if is_successor {
        // The file no longer names it, on purpose: that is what the upgrade was for.
        for (_, addr) in activated.release() {
            tracing::info!(%addr, "the predecessor listened here, and this file does not: closed");
        }
        return Ok(());
    }
    match activated.unclaimed().first() {
        Some((name, addr)) => {
            Err(format!("the socket {name} on {addr} was handed over, and no listener of the file names it"))
        }
        None => Ok(()),
    }
}

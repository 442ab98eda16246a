//! The `orders` program: the reference service behind the defaults of highball.

use std::env;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use highball::net::Os;
use highball::net::systemd::{self, Activated, ListenFd, Notifier};
use highball::{ListenAddr, Settings, telemetry};
use orders::{Database, Plan, SecurityFlags};

/// Allocations are small and come from every worker; the system's allocator makes them wait for each other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Orders, users and a greeter over gRPC, kept in one SQLite file that several processes of this machine may share.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// Where to listen for RPCs: IP:PORT or unix:PATH. May be given several times.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:50051")]
    listen: Vec<ListenAddr>,
    /// Where to serve /livez, /readyz and /metrics over HTTP. Nowhere unless given.
    #[arg(long, value_name = "ADDR")]
    admin: Option<ListenAddr>,
    /// Where to keep the data. The file is created when it does not exist; its directory must, on a disk of this machine.
    #[arg(long, value_name = "sqlite:PATH", default_value = "sqlite:orders.db")]
    database: Database,
    /// Let clients read the descriptors of the services by reflection.
    #[arg(long)]
    reflection: bool,
    #[command(flatten)]
    security: SecurityFlags,
    /// What to log, such as `info` or `orders=debug,info`.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
}

fn main() -> ExitCode {
    // Before any other thread: taking over inherited sockets clears the variables that announced them.
    let sockets = ListenFd::from_env();
    let outcome = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(Flags::parse(), sockets)),
        Err(cause) => Err(format!("cannot start the runtime: {cause}")),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(sentence) => {
            #[expect(clippy::print_stderr, reason = "the person who started the program reads it")]
            {
                eprintln!("orders: {sentence}");
            }
            ExitCode::from(2)
        }
    }
}

async fn run(flags: Flags, sockets: ListenFd) -> Result<u8, String> {
    let sentence = |cause: &dyn std::error::Error| cause.to_string();
    // Dropped last: it flushes the lines of the shutdown.
    let _log = telemetry::log::start(&flags.log).map_err(|cause| sentence(&cause))?;
    let mut settings = Settings { reflection: flags.reflection, ..Settings::default() };
    let security = flags.security.read(&mut settings)?;
    let Flags { listen, admin, database, .. } = flags;
    let names = env::var("LISTEN_FDNAMES").ok();
    let sockets = systemd::inherited(sockets, names.as_deref()).map_err(|cause| sentence(&cause))?;
    let activated = Arc::new(Activated::new(Os::shared(), sockets));
    let plan = Plan { listen, admin, database, settings, security, platform: activated.clone() };
    tracing::info!(database = %plan.database.path().display(), "starting");
    let bound = plan.bind().await.map_err(|cause| sentence(&cause))?;
    if let Some((name, addr)) = activated.unclaimed().first() {
        return Err(format!(
            "the socket {name} on {addr} was handed over, and no --listen or --admin names it"
        ));
    }
    for open in bound.open_boxes() {
        tracing::warn!(open_box = open.name, "{open}");
    }
    let variable = |name| env::var(name).ok();
    let watchdog =
        systemd::watchdog_timeout(variable("WATCHDOG_USEC").as_deref(), variable("WATCHDOG_PID").as_deref());
    let notifier = Notifier::new(env::var_os("NOTIFY_SOCKET"));
    let report = bound
        .run_supervised(notifier, watchdog)
        .await
        .map_err(|cause| format!("cannot handle signals: {cause}"))?;
    Ok(report.exit_code())
}

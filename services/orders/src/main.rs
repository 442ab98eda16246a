//! The `orders` program: the reference service behind the defaults of highball.

use std::process::ExitCode;

use clap::Parser;
use highball::{ListenAddr, Settings, telemetry};
use orders::{Database, Plan, SecurityFlags};

/// Allocations are small and come from every worker; the system's allocator makes them wait for each other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Orders, users and a greeter over gRPC, kept in one SQLite file.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// Where to listen for RPCs: IP:PORT or unix:PATH. May be given several times.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:50051")]
    listen: Vec<ListenAddr>,
    /// Where to serve /livez, /readyz and /metrics over HTTP. Nowhere unless given.
    #[arg(long, value_name = "ADDR")]
    admin: Option<ListenAddr>,
    /// Where to keep the data. The file is created when it does not exist; its directory must.
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

#[tokio::main]
async fn main() -> ExitCode {
    match run(Flags::parse()).await {
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

async fn run(flags: Flags) -> Result<u8, String> {
    let sentence = |cause: &dyn std::error::Error| cause.to_string();
    // Dropped last: it flushes the lines of the shutdown.
    let _log = telemetry::log::start(&flags.log).map_err(|cause| sentence(&cause))?;
    let mut settings = Settings { reflection: flags.reflection, ..Settings::default() };
    let security = flags.security.read(&mut settings)?;
    let Flags { listen, admin, database, .. } = flags;
    let plan = Plan { listen, admin, database, settings, security };
    tracing::info!(database = %plan.database.path().display(), "starting");
    let bound = plan.bind().await.map_err(|cause| sentence(&cause))?;
    for open in bound.open_boxes() {
        tracing::warn!(open_box = open.name, "{}", open.what);
    }
    let report = bound.run_until_signal().await.map_err(|cause| sentence(&cause))?;
    Ok(report.exit_code())
}

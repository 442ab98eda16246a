//! `compare`: the same backends behind nginx, HAProxy, Envoy, a naive proxy and our own edge, in one run and one table.
//!
//! Two raw backends, which cost a fraction of any proxy, stand behind every proxy at once. The load is `h2load`'s. The
//! proxies are driven round after round, each time in another order, so that whatever else the machine does falls on all
//! of them, and are compared round by round. CPU time comes from the scheduler (`/proc`, Linux only) and is that of the
//! proxy alone, all its threads. Each proxy has one worker, plaintext on both sides and, but for `edge-log`, no access log; what
//! else each is told stands in `benches/compare`. Before anything is measured each must carry real RPCs, small and
//! large, whose status and bodies are compared; while it is, every RPC must come back with every byte, and the backends must
//! have answered as many as were asked for. Nothing here is a test: the numbers are for people, and only ratios of one run carry over to another machine.
//!
//! With `--pinned` the proxy has CPU 0 to itself, and load and backends share CPU 1. A proxy that is not installed is
//! counted at the end.
//!
//! ```sh
//! cargo build --release -p highball-cli
//! cargo run --release -p highball-benches --bin compare -- --pinned
//! ```

mod backend;
mod calls;
#[path = "../cpu.rs"]
mod cpu;
mod load;
mod measure;
mod naive;
mod peer;
mod process;
mod setting;
mod table;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

use crate::peer::{Peer, Programs};
use crate::setting::Setting;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Time in which killed children are collected, so that none stays behind as a zombie.
const COLLECT: Duration = Duration::from_millis(200);

/// Measures proxies for gRPC against each other.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What is measured.
#[derive(Debug, clap::Args)]
struct Options {
    /// Rounds; each drives every proxy once in each setting. One more, before them, is not counted.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// A setting: `c8m16` is 8 connections of 16 streams and messages of 64 bytes. May be given several times.
    #[arg(long = "setting", default_values = ["c1m32", "c8m16", "c64m4", "c1m1", "c8m4-64k"])]
    settings: Vec<Setting>,
    /// RPCs of one round, rounded to a multiple of connections times streams. Default: about a second's.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rpcs: Option<u32>,
    /// Which proxies.
    #[arg(long, value_delimiter = ',', default_values_t = Peer::ALL, value_enum)]
    peers: Vec<Peer>,
    /// The proxy on CPU 0, load and backends on CPU 1.
    #[arg(long)]
    pinned: bool,
    /// Fail when a proxy or `h2load` is missing.
    #[arg(long)]
    require_all: bool,
    /// The whole run may take so many seconds; then it fails.
    #[arg(long, default_value_t = 360, value_parser = clap::value_parser!(u64).range(1..=7200))]
    seconds_max: u64,
    #[command(flatten)]
    programs: Programs,
}

/// The parts, each in a process of its own.
#[derive(Debug, Subcommand)]
enum Part {
    /// A raw backend; says where it listens on standard error, and ends with its standard input.
    Backend,
    /// The naive proxy; says where it listens on standard error.
    Naive {
        /// Where the backends are.
        #[arg(required = true)]
        backends: Vec<SocketAddr>,
    },
    /// The load where `h2load` is missing, once; a line per RPC.
    Load {
        /// Where the proxy is.
        addr: SocketAddr,
        /// The shape.
        setting: Setting,
        /// How many, a multiple of connections times streams.
        rpcs: u32,
    },
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            process::tell(error);
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), Box<dyn Error>> {
    if let Some(Part::Backend) = args.part {
        return Ok(backend::run()?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match args.part {
        Some(Part::Naive { backends }) => runtime.block_on(naive::run(backends)),
        Some(Part::Load { addr, setting, rpcs }) => {
            runtime.block_on(calls::drive(addr, setting, rpcs)).map_err(|error| -> Box<dyn Error> { error })
        }
        Some(Part::Backend) | None => runtime.block_on(bounded(&args.options)),
    }
}

/// However the run ends, the children end with it: each is killed when its owner is dropped.
async fn bounded(options: &Options) -> Result<(), Box<dyn Error>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let longest = Duration::from_secs(options.seconds_max);
    let result = tokio::select! {
        result = timeout(longest, measure::run(options)) => {
            result.map_err(|_| format!("stopped after {longest:?}: fewer --rounds, or more --seconds-max").into()).flatten()
        }
        _ = interrupt.recv() => Err("interrupted".into()),
        _ = terminate.recv() => Err("terminated".into()),
    };
    // The runtime collects them while it waits.
    sleep(COLLECT).await;
    result
}

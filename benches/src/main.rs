//! `cost`: what the stack costs, as CPU time of the server per RPC.
//!
//! Each variant serves the same unary method from a process of its own, on one current-thread runtime, with the allocator
//! that the reference service ships with. The variants are driven in turn, round after round, so that whatever else the
//! machine does falls on all of them. CPU time comes from the scheduler (`/proc`, Linux only) and includes every thread of
//! the server: the one that writes the log, too. Nothing here is a test: the numbers are for people.
//!
//! ```sh
//! cargo run --release -p highball-benches --bin cost
//! ```

mod cpu;
mod load;
mod serve;

use std::error::Error;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::load::Load;
use crate::serve::Variant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One round of one variant may take this long; then the run fails.
const ROUND_MAX: Duration = Duration::from_secs(60);

/// Lets the server finish what no caller waits for, such as its log.
const SETTLE: Duration = Duration::from_millis(100);

/// Measures the CPU time of a server per RPC, variant against variant.
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    load: Load,
    /// Rounds; each drives every variant once.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    #[command(subcommand)]
    part: Option<Part>,
}

/// The parts, for a profiler to look at one of them.
#[derive(Debug, Subcommand)]
enum Part {
    /// Serves one variant and says where on standard error, until it is killed.
    Serve {
        /// Which.
        variant: Variant,
    },
    /// Drives a server that runs already, once.
    Drive {
        /// Where it listens.
        addr: SocketAddr,
    },
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match args.part {
        None => runtime.block_on(compare(&args)),
        Some(Part::Serve { variant }) => runtime.block_on(serve::run(variant)),
        Some(Part::Drive { addr }) => runtime.block_on(load::drive(addr, &args.load)),
    }
}

/// A variant in its process; killed when dropped.
struct Server {
    variant: Variant,
    child: Child,
    addr: SocketAddr,
    /// Microseconds of CPU per RPC, by round.
    costs: Vec<f64>,
}

impl Server {
    async fn start(variant: Variant) -> Result<Self, Box<dyn Error>> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", variant.name()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stderr = child.stderr.take().ok_or("no standard error")?;
        let line = BufReader::new(stderr).lines().next_line().await?;
        let addr = line.ok_or("the server did not say where it listens")?.parse()?;
        Ok(Self { variant, child, addr, costs: Vec::new() })
    }

    /// Microseconds of CPU per RPC.
    async fn round(&self, load: &Load) -> Result<f64, Box<dyn Error>> {
        let pid = self.child.id().ok_or("the server is gone")?;
        let before = cpu::used(pid)?;
        timeout(ROUND_MAX, load::drive(self.addr, load)).await??;
        sleep(SETTLE).await;
        let used = cpu::used(pid)? - before;
        Ok(used.as_secs_f64() * 1e6 / f64::from(load.rpcs()))
    }
}

async fn compare(args: &Args) -> Result<(), Box<dyn Error>> {
    let mut servers = Vec::new();
    for variant in Variant::ALL {
        servers.push(Server::start(variant).await?);
    }
    for server in &servers {
        server.round(&args.load).await?;
    }
    for _ in 0..args.rounds {
        for server in &mut servers {
            let cost = server.round(&args.load).await?;
            server.costs.push(cost);
        }
    }
    print(args, &servers);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a command for people")]
fn print(args: &Args, servers: &[Server]) {
    let Load { connections, streams, rpcs } = args.load;
    println!(
        "{rpcs} RPCs a round over {connections} connections of {streams} streams; {} rounds\n",
        args.rounds
    );
    println!("| variant | CPU µs per RPC, median (min to max) | over bare, median (min to max) |");
    println!("|---|---|---|");
    let bare = servers.first().map(|server| server.costs.as_slice()).unwrap_or_default();
    for Server { variant, costs, .. } in servers {
        // Round by round: both saw the same machine.
        let ratios: Vec<f64> = costs.iter().zip(bare).map(|(cost, bare)| cost / bare).collect();
        let (cost, ratio) = (Spread::of(costs), Spread::of(&ratios));
        println!(
            "| {} | {:.2} ({:.2} to {:.2}) | {:.2} ({:.2} to {:.2}) |",
            variant.name(),
            cost.median,
            cost.min,
            cost.max,
            ratio.median,
            ratio.min,
            ratio.max
        );
    }
}

struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        Self { min: at(0), median: at(sorted.len() / 2), max: at(sorted.len().saturating_sub(1)) }
    }
}

//! `cost`: what the stack costs, as CPU time of the server per RPC.
//!
//! Each variant serves the same unary method from a process of its own, on one current-thread runtime, with the allocator
//! that the reference service ships with. Every request has a deadline and a bearer token; the bare service gets the same
//! bytes, and looks at the deadline only. The variants are driven in turn, round after round and each time in another order, so that
//! whatever else the machine does falls on all of them, and compared round by round. CPU time comes from the scheduler
//! (`/proc`, Linux only) and includes every thread of the server: the one that writes the log, too. Nothing here is a
//! test: the numbers are for people.
//!
//! Quoted is `full` over `bare`, the median, with 8 connections of 8 streams. The other shapes say where it holds: 32
//! streams over one connection share reads and writes the most, one stream at a time the least. There the wall time is
//! the latency of a call.
//!
//! ```sh
//! cargo run --release -p highball-benches --bin cost
//! ```

mod cpu;
mod load;
mod serve;
mod table;
mod token;

use std::error::Error;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::load::Shape;
use crate::serve::Variant;
use crate::table::Cost;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One round of one variant may take this long; then the run fails.
const ROUND_MAX: Duration = Duration::from_secs(60);

/// Lets the server finish what no caller waits for, such as its log.
const SETTLE: Duration = Duration::from_millis(100);

/// Measures the CPU time of a server per RPC, variant against variant.
#[derive(Debug, Parser)]
struct Args {
    /// RPCs of one round, rounded down to a multiple of connections times streams.
    #[arg(long, default_value_t = 40_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rpcs: u32,
    /// Rounds; each drives every variant once.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// A shape of the load, as connections x streams; may be given several times.
    #[arg(long = "shape", default_values = ["8x8", "1x32", "1x1"])]
    shapes: Vec<Shape>,
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
    /// Drives a server that runs already, once with each shape.
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
        Some(Part::Drive { addr }) => runtime.block_on(drive(addr, &args)),
    }
}

async fn drive(addr: SocketAddr, args: &Args) -> Result<(), Box<dyn Error>> {
    let token = token::signed()?;
    for shape in &args.shapes {
        load::drive(addr, *shape, args.rpcs, &token).await?;
    }
    Ok(())
}

/// A variant in its process; killed when dropped.
struct Server {
    child: Child,
    addr: SocketAddr,
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
        Ok(Self { child, addr })
    }

    async fn round(&self, shape: Shape, rpcs: u32, token: &str) -> Result<Cost, Box<dyn Error>> {
        let pid = self.child.id().ok_or("the server is gone")?;
        let before = cpu::used(pid)?;
        let started = Instant::now();
        timeout(ROUND_MAX, load::drive(self.addr, shape, rpcs, token)).await??;
        let wall = started.elapsed();
        sleep(SETTLE).await;
        let used = cpu::used(pid)? - before;
        let per_rpc = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(shape.round(rpcs));
        Ok(Cost { cpu: per_rpc(used), wall: per_rpc(wall) })
    }
}

async fn compare(args: &Args) -> Result<(), Box<dyn Error>> {
    let token = token::signed()?;
    let mut servers = Vec::new();
    for variant in Variant::ALL {
        servers.push(Server::start(variant).await?);
    }
    for shape in &args.shapes {
        let mut costs = vec![Vec::new(); servers.len()];
        for server in &servers {
            server.round(*shape, args.rpcs, &token).await?;
        }
        for round in 0..args.rounds as usize {
            for turn in 0..servers.len() {
                let index = (round + turn) % servers.len();
                let cost = servers[index].round(*shape, args.rpcs, &token).await?;
                costs[index].push(cost);
            }
        }
        table::print(*shape, args.rpcs, args.rounds, &costs);
    }
    Ok(())
}

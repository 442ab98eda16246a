//! `calls`: what the channel costs its caller, as CPU time of the client per RPC, and what a pick costs.
//!
//! Three servers run in processes of their own. Two clients call them in turn from this process, on one current-thread
//! runtime, 32 calls at a time: hyper's bare HTTP/2 client with one connection to each server and a counter that takes turns,
//! and the channel with `round_robin` over the three. Both build the same request and read the response to its trailers. They
//! are driven round after round in turns, and compared round by round. CPU time comes from the scheduler (`/proc`, Linux
//! only). Nothing here is a test: the numbers are for people.
//!
//! ```sh
//! cargo run --release -p highball-benches --bin calls
//! ```

mod clients;
#[path = "../cpu.rs"]
mod cpu;
mod picks;

use std::convert::Infallible;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use clap::{Parser, Subcommand};
use highball::core::envelope::seal;
use highball::net::Tasks;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::clients::Client;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SERVERS: usize = 3;

/// One round may take this long; then the run fails.
const ROUND_MAX: Duration = Duration::from_secs(60);

/// Measures what the channel costs beside a bare client.
#[derive(Debug, Parser)]
struct Args {
    /// RPCs of one round.
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rpcs: u32,
    /// Rounds; each drives every client once.
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Calls at a time.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1000))]
    at_a_time: u32,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Serves and says where on standard error, until it is killed.
    Serve,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match args.part {
        Some(Part::Serve) => runtime.block_on(serve()),
        None => {
            runtime.block_on(compare(&args))?;
            picks::print();
            Ok(())
        }
    }
}

/// As small a server as there is: it reads the request and answers one message.
#[expect(clippy::print_stderr, reason = "the parent reads the address there")]
#[expect(clippy::disallowed_methods, reason = "a bare server")]
async fn serve() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    eprintln!("{}", listener.local_addr()?);
    let connections = Tasks::new();
    loop {
        let (io, _) = listener.accept().await?;
        io.set_nodelay(true)?;
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let connection = builder.serve_connection(TokioIo::new(io), service_fn(answer));
        // How it ends is the client's business.
        connections.spawn(async move { drop(connection.await) });
    }
}

#[expect(clippy::disallowed_methods, reason = "our own requests")]
async fn answer(
    request: Request<Incoming>,
) -> Result<Response<http_body_util::combinators::BoxBody<Bytes, Infallible>>, hyper::Error> {
    let health = request.uri().path().starts_with("/grpc.health");
    request.into_body().collect().await?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(if health { "12" } else { "0" }));
    let body = Full::new(seal(b"pong")).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(body.boxed());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
}

/// A server in its process; killed when dropped.
struct Server {
    _child: Child,
    addr: SocketAddr,
}

impl Server {
    async fn start() -> Result<Self, Box<dyn Error>> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stderr = child.stderr.take().ok_or("no standard error")?;
        let line = BufReader::new(stderr).lines().next_line().await?;
        let addr = line.ok_or("the server did not say where it listens")?.parse()?;
        Ok(Self { _child: child, addr })
    }
}

#[expect(clippy::print_stdout, reason = "a command for people")]
async fn compare(args: &Args) -> Result<(), Box<dyn Error>> {
    let mut servers = Vec::new();
    for _ in 0..SERVERS {
        servers.push(Server::start().await?);
    }
    let addrs: Vec<SocketAddr> = servers.iter().map(|server| server.addr).collect();
    let clients = [Client::bare(&addrs).await?, Client::channel(&addrs).await?];
    let mut costs = vec![Vec::new(); clients.len()];
    for client in &clients {
        round(client, args).await?;
    }
    for number in 0..args.rounds as usize {
        for turn in 0..clients.len() {
            let index = (number + turn) % clients.len();
            costs[index].push(round(&clients[index], args).await?);
        }
    }
    println!(
        "{SERVERS} servers, {} calls at a time; {} rounds of {} RPCs\n",
        args.at_a_time, args.rounds, args.rpcs
    );
    println!(
        "| client | CPU µs per RPC, median (min to max) | over bare, median (min to max) |\n|---|---|---|"
    );
    for (name, own) in ["bare hyper", "channel, round_robin"].iter().zip(&costs) {
        let ratio = own.iter().zip(&costs[0]).map(|(own, bare)| own / bare).collect();
        println!("| {name} | {} | {} |", spread(own.clone()), spread(ratio));
    }
    println!();
    Ok(())
}

/// CPU microseconds of this process per RPC.
async fn round(client: &Client, args: &Args) -> Result<f64, Box<dyn Error>> {
    let pid = std::process::id();
    let before = cpu::used(pid)?;
    timeout(ROUND_MAX, client.drive(args.rpcs, args.at_a_time)).await??;
    Ok((cpu::used(pid)? - before).as_secs_f64() * 1e6 / f64::from(args.rpcs))
}

fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    format!("{:.2} ({:.2} to {:.2})", at(values.len() / 2), at(0), at(values.len().saturating_sub(1)))
}

//! The `highball` command. What it says to a person goes to standard error, the log to standard output.

mod certs;
mod edge;
mod explain;
mod health;
mod import;
mod probe;
mod replica;
mod token;
mod up;
mod validate;

use std::env;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use highball::net::systemd::ListenFd;

/// Allocations are small and come from every worker; the system's allocator makes them wait for each other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The production layer for gRPC.
#[derive(Debug, Parser)]
#[command(name = "highball", version, arg_required_else_help = true)]
struct Flags {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make certificates for development: a CA, leaves from it, and its rotation.
    Certs(certs::Flags),
    /// Proxy gRPC as a file says: balance, retry, check health; taken again when the file changes.
    Edge(edge::Flags),
    /// Say what a channel makes of a target, and whether a call would succeed; or with --edge, what an edge does with it.
    Explain(explain::Flags),
    /// Translate the file of another proxy into one for `highball edge`.
    Import(import::Flags),
    /// Ask a server for its health, and answer with the exit code of grpc_health_probe.
    Probe(probe::Flags),
    #[command(hide = true)]
    Replica(replica::Flags),
    /// Make keys and bearer tokens for development.
    Token(token::Flags),
    /// Start replicas of the reference order service and an edge on this machine, and say where everything is.
    Up(up::Flags),
    /// Check a file for `highball edge`: everything that a start does, without listening or connecting.
    Validate(validate::Flags),
}

fn main() -> ExitCode {
    // Before any other thread: taking over inherited sockets clears the variables that announced them.
    let sockets = ListenFd::from_env();
    let command = match Flags::try_parse() {
        Ok(Flags { command }) => command,
        Err(error) => return mistaken(&error),
    };
    let end = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(command, sockets)),
        Err(cause) => Err(format!("cannot start the runtime: {cause}")),
    };
    match end {
        Ok(code) => ExitCode::from(code),
        Err(sentence) => {
            say(format_args!("highball: {sentence}"));
            ExitCode::from(2)
        }
    }
}

/// The exit code, or a sentence.
async fn run(command: Command, sockets: ListenFd) -> Result<u8, String> {
    match command {
        Command::Certs(flags) => certs::run(flags).map(|()| 0),
        Command::Edge(flags) => edge::run(flags, sockets).await,
        Command::Explain(flags) => explain::run(flags).await,
        Command::Import(flags) => import::run(&flags),
        Command::Probe(flags) => Ok(probe::run(flags).await),
        Command::Replica(flags) => replica::run(flags).await,
        Command::Token(flags) => token::run(flags).map(|()| 0),
        Command::Up(flags) => up::run(flags).await,
        Command::Validate(flags) => validate::run(&flags),
    }
}

/// Prints what clap has to say, which may be what was asked for. A probe's mistakes have the exit code that probes have.
fn mistaken(error: &clap::Error) -> ExitCode {
    // Nobody is left to hear of a terminal that is gone.
    error.print().ok();
    let is_probe = env::args_os().nth(1).is_some_and(|command| command == "probe");
    if is_probe && error.use_stderr() {
        return ExitCode::from(probe::INVALID_ARGUMENTS);
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Speaks to the person at the terminal.
#[expect(clippy::print_stderr, reason = "the one place of this program that does")]
fn say(line: impl std::fmt::Display) {
    eprintln!("{line}");
}

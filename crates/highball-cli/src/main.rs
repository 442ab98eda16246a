//! The `highball` command. What it says to a person goes to standard error, the log to standard output.

mod certs;
mod explain;
mod health;
mod probe;
mod token;
mod up;

use std::env;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// Say what a channel makes of a target: its endpoints, their state, and whether a call would succeed.
    Explain(explain::Flags),
    /// Ask a server for its health, and answer with the exit code of grpc_health_probe.
    Probe(probe::Flags),
    /// Make keys and bearer tokens for development.
    Token(token::Flags),
    /// Start the reference order service on this machine, with a database, and say where everything is.
    Up(up::Flags),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Flags { command } = match Flags::try_parse() {
        Ok(flags) => flags,
        Err(error) => return mistaken(&error),
    };
    let end = match command {
        Command::Certs(flags) => certs::run(flags).map(|()| 0),
        Command::Explain(flags) => Ok(explain::run(flags).await),
        Command::Probe(flags) => Ok(probe::run(flags).await),
        Command::Token(flags) => token::run(flags).map(|()| 0),
        Command::Up(flags) => up::run(flags).await,
    };
    match end {
        Ok(code) => ExitCode::from(code),
        Err(sentence) => {
            say(format_args!("highball: {sentence}"));
            ExitCode::from(2)
        }
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

//! The `highball` command. What it says to a person goes to standard error, the log to standard output.

mod certs;
mod token;
mod up;

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
    /// Make keys and bearer tokens for development.
    Token(token::Flags),
    /// Start the reference order service on this machine, with a database, and say where everything is.
    Up(up::Flags),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Flags { command } = Flags::parse();
    let end = match command {
        Command::Certs(flags) => certs::run(flags).map(|()| 0),
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

/// Speaks to the person at the terminal.
#[expect(clippy::print_stderr, reason = "the one place of this program that does")]
fn say(line: impl std::fmt::Display) {
    eprintln!("{line}");
}

//! `cargo xtask`: the checks of this workspace that cargo does not do itself.
//!
//! Each command is a module: [`arrows`] keeps the rooms apart, [`tidy`] keeps the files readable, [`interop`]
//! lets other languages' clients drive the reference service. All of them report every problem at once.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool for people: its output is its product"
)]

mod arrows;
mod interop;
mod process;
mod report;
mod source;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Checks of the highball workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fail on a dependency between rooms that the design does not allow
    Arrows {
        /// Print the table of allowed arrows as Markdown and stop
        #[arg(long)]
        table: bool,
    },
    /// Fail on long files, missing module docs, leftovers and drift between documents and CI
    Tidy,
    /// Drive the reference service with gRPC clients in Python and Node.js
    Interop(interop::Options),
}

/// What went wrong with the tool itself, as opposed to what a check found.
type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let root = workspace::root();
    let outcome = match Cli::parse().command {
        Command::Arrows { table: true } => {
            print!("{}", arrows::table());
            Ok(true)
        }
        Command::Arrows { table: false } => arrows::run(&root).map(|report| report.print("arrows")),
        Command::Tidy => tidy::run(&root).map(|report| report.print("tidy")),
        Command::Interop(options) => interop::run(&root, &options),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

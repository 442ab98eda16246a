//! `cargo xtask interop`: other people's gRPC clients drive the reference service.
//!
//! Each suite is a folder below `tests/interop`: its toolchain is installed once below `target/interop`, then a fresh
//! `orders` process with a fresh database is started for it, driven by the suite's script, and stopped by SIGTERM.
//! A toolchain that is not there is a skip, said loudly and counted in the last line.

mod server;
mod toolchain;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::Error;
use crate::process;
use server::Server;
use toolchain::Toolchain;

/// A suite checks behaviour, not endurance.
const SUITE_LIMIT: Duration = Duration::from_secs(300);

/// A first build of the service and everything below it, on two slow cores.
const BUILD_LIMIT: Duration = Duration::from_secs(1_500);

/// How to run the suites.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Treat a suite whose toolchain is missing as failed
    #[arg(long)]
    require_all: bool,
    /// Run this suite only
    #[arg(long, value_enum)]
    suite: Option<Suite>,
    /// Drive this binary instead of building the reference service
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

/// The clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// grpcio, the C core
    Python,
    /// grpc-js, written in JavaScript
    Node,
}

impl Suite {
    const ALL: [Self; 2] = [Self::Python, Self::Node];

    fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
        }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Tally {
    fn line(&self) -> String {
        let Self { passed, failed, skipped } = self;
        let suites = if *passed == 1 { "suite" } else { "suites" };
        format!("interop: {passed} {suites} passed, {failed} failed, {skipped} skipped")
    }

    fn is_success(&self, require_all: bool) -> bool {
        self.failed == 0 && (self.skipped == 0 || !require_all)
    }
}

/// Runs the suites. True when all passed, or when what did not run was allowed to be skipped.
pub(crate) fn run(root: &Path, options: &Options) -> Result<bool, Error> {
    let work = root.join("target/interop");
    std::fs::create_dir_all(&work)?;
    let mut tally = Tally::default();
    let mut ready = Vec::new();
    for suite in Suite::ALL.into_iter().filter(|suite| options.suite.is_none_or(|only| only == *suite)) {
        println!("interop: {}: preparing", suite.name());
        match toolchain::prepare(suite, root, &work) {
            Ok(toolchain) => ready.push((suite, toolchain)),
            Err(reason) => {
                tally.skipped += 1;
                eprintln!("interop: !!!!!! SKIPPED {}: {reason} !!!!!!", suite.name());
            }
        }
    }
    if !ready.is_empty() {
        let binary = match &options.binary {
            // The service runs in a folder of its own: a relative path would be looked up there.
            Some(binary) => {
                binary.canonicalize().map_err(|error| format!("{}: {error}", binary.display()))?
            }
            None => build(root)?,
        };
        for (suite, toolchain) in ready {
            match drive(suite, &toolchain, &binary, root, &work) {
                Ok(()) => tally.passed += 1,
                Err(error) => {
                    tally.failed += 1;
                    eprintln!("interop: {}: FAILED: {error}", suite.name());
                }
            }
        }
    }
    println!("{}", tally.line());
    Ok(tally.is_success(options.require_all))
}

/// Builds the service as CI builds it and returns where cargo put the binary.
fn build(root: &Path) -> Result<PathBuf, Error> {
    println!("interop: building orders");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--package", "orders", "--bin", "orders"]);
    command.arg("--message-format=json-render-diagnostics").current_dir(root);
    let mut binary = None;
    process::run_with_lines("cargo build", &mut command, BUILD_LIMIT, |line| {
        if let Some(path) = executable(&line, "orders") {
            binary = Some(path);
        }
    })?;
    binary.ok_or_else(|| "cargo build named no orders binary".into())
}

/// The path in cargo's message about the finished binary `name`.
fn executable(message: &str, name: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let is_binary = message["reason"] == "compiler-artifact" && message["target"]["name"] == name;
    if is_binary { message["executable"].as_str().map(PathBuf::from) } else { None }
}

/// Starts the service, runs one suite against it and stops it.
fn drive(suite: Suite, toolchain: &Toolchain, binary: &Path, root: &Path, work: &Path) -> Result<(), Error> {
    let started = Instant::now();
    let server = Server::start(binary, &work.join(format!("orders-{}.log", suite.name())))?;
    let script = script(toolchain, &server, root);
    let outcome = check(suite, script);
    // Stopped in either case: a service that does not end is a finding of its own.
    let stopped = server.stop();
    let log = stopped.log.display();
    if let Err(error) = &stopped.outcome {
        eprintln!("interop: {}: {error}; its log: {log}", suite.name());
    }
    let (passed, failed) = outcome.map_err(|error| format!("{error}; the service's log: {log}"))?;
    let seconds = started.elapsed().as_secs_f32();
    println!("interop: {}: {passed} checks passed, {failed} failed ({seconds:.1} s)", suite.name());
    if failed > 0 {
        return Err(format!("{failed} checks; the service's log: {log}").into());
    }
    stopped.outcome
}

fn script(toolchain: &Toolchain, server: &Server, root: &Path) -> Command {
    let mut command = toolchain.command();
    command.args(["--grpc", &server.grpc, "--unix", &server.unix, "--admin", &server.admin]);
    command.arg("--proto").arg(root.join("proto")).arg("--reflection").current_dir(root);
    command
}

/// Runs a script and counts its lines: `ok ...` for a check that held, `FAIL ...` for one that did not.
fn check(suite: Suite, mut script: Command) -> Result<(usize, usize), Error> {
    let (mut passed, mut failed) = (0, 0);
    let outcome =
        process::run_with_lines(suite.name(), script.stderr(Stdio::inherit()), SUITE_LIMIT, |line| {
            println!("{line}");
            passed += usize::from(line.starts_with("ok "));
            failed += usize::from(line.starts_with("FAIL "));
        });
    match outcome {
        Ok(()) if passed == 0 => Err("the script checked nothing".into()),
        Err(error) if failed == 0 => Err(error.into()),
        Ok(()) | Err(_) => Ok((passed, failed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts_what_was_skipped() {
        let tally = Tally { passed: 1, failed: 0, skipped: 1 };
        assert_eq!(tally.line(), "interop: 1 suite passed, 0 failed, 1 skipped");
        assert!(tally.is_success(false) && !tally.is_success(true));
        let tally = Tally { passed: 2, ..Tally::default() };
        assert_eq!(tally.line(), "interop: 2 suites passed, 0 failed, 0 skipped");
        assert!(tally.is_success(true));
        assert!(!Tally { failed: 1, ..Tally::default() }.is_success(false));
    }

    #[test]
    fn the_binary_is_where_cargo_says_it_is() {
        let artifact =
            r#"{"reason":"compiler-artifact","target":{"name":"orders"},"executable":"/t/debug/orders"}"#;
        assert_eq!(executable(artifact, "orders"), Some(PathBuf::from("/t/debug/orders")));
        let library = r#"{"reason":"compiler-artifact","target":{"name":"orders"},"executable":null}"#;
        assert_eq!(executable(library, "orders"), None);
        assert_eq!(executable("not json", "orders"), None);
    }

    #[test]
    fn a_script_that_checks_nothing_has_failed() {
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        assert!(check(Suite::Node, shell("echo hello")).is_err());
        assert!(check(Suite::Node, shell("echo 'ok a'; exit 1")).is_err());
        assert_eq!(check(Suite::Node, shell("echo 'ok a'; echo 'FAIL b'; exit 1")).ok(), Some((1, 1)));
        assert_eq!(check(Suite::Node, shell("echo 'ok a'; echo 'ok b'")).ok(), Some((2, 0)));
    }
}

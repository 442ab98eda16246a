//! Child processes that end: every one has a time limit and is killed by its handle.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

/// Lines a child may be ahead of its reader before it has to wait.
const LINES_AHEAD: usize = 1_024;

/// How often a child without output is asked whether it has ended.
const POLL: Duration = Duration::from_millis(20);

/// Why a child did not end well.
#[derive(Debug)]
pub(crate) enum Failure {
    /// There is no such program on this machine.
    Missing(String),
    /// It could not be started or watched.
    Io(String, std::io::Error),
    /// It ended with something else than 0.
    Exit(String, ExitStatus),
    /// It was killed at its time limit.
    Timeout(String, Duration),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "{name} is not installed"),
            Self::Io(name, error) => write!(f, "{name}: {error}"),
            Self::Exit(name, status) => write!(f, "{name}: {status}"),
            Self::Timeout(name, limit) => write!(f, "{name}: killed after {} s", limit.as_secs()),
        }
    }
}

impl std::error::Error for Failure {}

/// A child that does not outlive its owner.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    pub(crate) child: Child,
}

impl Running {
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self, Failure> {
        let child = command.stdin(Stdio::null()).spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::Missing(name.to_owned()),
            _ => Failure::Io(name.to_owned(), error),
        })?;
        Ok(Self { name: name.to_owned(), child })
    }

    /// Waits until the child has ended; kills it when `deadline` has passed.
    pub(crate) fn wait_until(&mut self, started: Instant, limit: Duration) -> Result<ExitStatus, Failure> {
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if started.elapsed() >= limit => {
                    self.kill();
                    return Err(Failure::Timeout(self.name.clone(), limit));
                }
                Ok(None) => thread::sleep(POLL),
                Err(error) => return Err(Failure::Io(self.name.clone(), error)),
            }
        }
    }

    fn kill(&mut self) {
        // Both fail only for a child that has ended already, which is what is wanted.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a command to its end with its output on this terminal.
pub(crate) fn run(name: &str, command: &mut Command, limit: Duration) -> Result<(), Failure> {
    let started = Instant::now();
    let status = Running::start(name, command)?.wait_until(started, limit)?;
    if status.success() { Ok(()) } else { Err(Failure::Exit(name.to_owned(), status)) }
}

/// Runs a command to its end and hands over each line of its standard output as it comes.
pub(crate) fn run_with_lines(
    name: &str,
    command: &mut Command,
    limit: Duration,
    mut each: impl FnMut(String),
) -> Result<(), Failure> {
    let started = Instant::now();
    let mut running = Running::start(name, command.stdout(Stdio::piped()))?;
    let lines = running.child.stdout.take().map(lines);
    while let Some(lines) = &lines {
        match lines.recv_timeout(limit.saturating_sub(started.elapsed())) {
            Ok(line) => each(line),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = running.wait_until(started, limit)?;
    if status.success() { Ok(()) } else { Err(Failure::Exit(name.to_owned(), status)) }
}

/// Reads lines on a thread of its own. The thread ends with the pipe, or when nobody listens any more.
pub(crate) fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(LINES_AHEAD);
    thread::spawn(move || forward(from, &sender));
    receiver
}

fn forward(from: impl Read, to: &SyncSender<String>) {
    for line in BufReader::new(from).lines().map_while(Result::ok) {
        if to.send(line).is_err() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_child_that_does_not_end_is_killed_at_its_limit() {
        let started = Instant::now();
        let failure = run("sleeper", &mut shell("exec sleep 60"), Duration::from_millis(100));
        assert!(matches!(failure, Err(Failure::Timeout(name, _)) if name == "sleeper"));
        let failure =
            run_with_lines("sleeper", &mut shell("exec sleep 60"), Duration::from_millis(100), drop);
        assert!(matches!(failure, Err(Failure::Timeout(..))));
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn lines_arrive_and_the_exit_code_counts() {
        let mut lines = Vec::new();
        let limit = Duration::from_secs(30);
        let outcome =
            run_with_lines("two", &mut shell("echo a; echo b; exit 3"), limit, |line| lines.push(line));
        assert_eq!(lines, ["a", "b"]);
        assert!(matches!(outcome, Err(Failure::Exit(_, status)) if status.code() == Some(3)));
    }

    #[test]
    fn a_program_that_is_not_there_is_said_to_be_missing() {
        let failure = run("absent", &mut Command::new("highball-no-such-program"), Duration::from_secs(1));
        assert_eq!(failure.unwrap_err().to_string(), "absent is not installed");
    }
}

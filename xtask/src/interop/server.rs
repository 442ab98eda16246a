//! The service under test: a process on free ports with a database of its own.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::Error;
use crate::process::{self, Running};

/// Migrations of an empty database and three listeners.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Lame duck and drain, with some room.
const STOP_LIMIT: Duration = Duration::from_secs(45);

/// TCP and Unix socket for calls, TCP for operators.
const LISTENERS: usize = 3;

/// A running service. Dropped, it is killed; [`Server::stop`] is the polite way.
#[derive(Debug)]
pub(super) struct Server {
    running: Running,
    /// `127.0.0.1:41234`
    pub(super) grpc: String,
    /// `unix:/path`
    pub(super) unix: String,
    /// `127.0.0.1:41235`
    pub(super) admin: String,
    log: PathBuf,
    /// Database and socket; removed with the server.
    _folder: TempDir,
}

/// How the service ended, and where to read what it said.
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) outcome: Result<(), Error>,
    pub(super) log: PathBuf,
}

/// A listener the service has announced.
#[derive(Debug, PartialEq, Eq)]
struct Listening {
    role: String,
    addr: String,
}

impl Server {
    /// Starts `binary` and waits until it has announced all its listeners.
    pub(super) fn start(binary: &Path, log: &Path) -> Result<Self, Error> {
        let folder = tempfile::Builder::new().prefix("highball-interop-").tempdir()?;
        let socket = format!("unix:{}", folder.path().join("orders.sock").display());
        let database = format!("sqlite:{}", folder.path().join("orders.db").display());
        let mut command = Command::new(binary);
        command.args(["--listen", "127.0.0.1:0", "--listen", &socket, "--admin", "127.0.0.1:0"]);
        command.args(["--database", &database, "--reflection"]).current_dir(folder.path());
        let file = File::create(log)?;
        command.stdout(Stdio::piped()).stderr(file.try_clone()?);
        let started = Instant::now();
        let mut running = Running::start("orders", &mut command)?;
        let output = running.child.stdout.take().ok_or("orders has no standard output")?;
        let announced = listeners(&watch(process::lines(output), file), started)
            .map_err(|error| format!("orders: {error}; its log: {}", log.display()))?;
        let find = |role: &str, is_unix: bool| {
            let found =
                announced.iter().find(|one| one.role == role && one.addr.starts_with("unix:") == is_unix);
            found
                .map(|one| one.addr.clone())
                .ok_or_else(|| format!("orders announced no {role} listener: {announced:?}"))
        };
        Ok(Self {
            grpc: find("grpc", false)?,
            unix: find("grpc", true)?,
            admin: find("admin", false)?,
            running,
            log: log.to_owned(),
            _folder: folder,
        })
    }

    /// Asks the service to end and waits for it. Anything but exit code 0 in time is an error.
    pub(super) fn stop(mut self) -> Stopped {
        let outcome = self.terminate();
        Stopped { outcome, log: self.log }
    }

    fn terminate(&mut self) -> Result<(), Error> {
        if let Some(status) = self.running.child.try_wait()? {
            return Err(format!("orders ended before it was asked to: {status}").into());
        }
        kill_process(Pid::from_child(&self.running.child), Signal::TERM)?;
        let status = self.running.wait_until(Instant::now(), STOP_LIMIT)?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("orders ended with {status} after SIGTERM").into())
        }
    }
}

/// Copies the output to the log for as long as the service lives, and passes on what it says about listeners.
fn watch(output: Receiver<String>, mut log: File) -> Receiver<Listening> {
    let (sender, receiver) = mpsc::sync_channel(LISTENERS);
    thread::spawn(move || {
        for line in output {
            if let Some(listening) = parse(&line) {
                // Nobody waits for listeners any more: the line still goes to the log.
                let _late = sender.try_send(listening);
            }
            if writeln!(log, "{line}").is_err() {
                break;
            }
        }
    });
    receiver
}

fn listeners(announced: &Receiver<Listening>, started: Instant) -> Result<Vec<Listening>, Error> {
    let mut found = Vec::new();
    while found.len() < LISTENERS {
        let left = START_LIMIT.saturating_sub(started.elapsed());
        found.push(announced.recv_timeout(left).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => {
                format!("{} of {LISTENERS} listeners after {} s", found.len(), START_LIMIT.as_secs())
            }
            mpsc::RecvTimeoutError::Disconnected => {
                format!("ended after {} of {LISTENERS} listeners", found.len())
            }
        })?);
    }
    Ok(found)
}

/// Reads one line of the service's log: a JSON object whose message is `listening`.
fn parse(line: &str) -> Option<Listening> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| line[name].as_str().map(str::to_owned);
    if line["message"] == "listening" {
        Some(Listening { role: text("role")?, addr: text("addr")? })
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_read_from_its_log_line() {
        let line = r#"{"level":"INFO","message":"listening","role":"grpc","addr":"unix:/tmp/o.sock"}"#;
        let expected = Listening { role: "grpc".to_owned(), addr: "unix:/tmp/o.sock".to_owned() };
        assert_eq!(parse(line), Some(expected));
        assert_eq!(parse(r#"{"message":"ready","role":"grpc","addr":"a"}"#), None);
        assert_eq!(parse("highball is starting"), None);
    }

    #[test]
    fn a_service_that_ends_early_is_not_waited_for() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let started = Instant::now();
        let error = Server::start(Path::new("false"), &temporary.path().join("log")).unwrap_err();
        assert!(error.to_string().contains("ended after 0 of 3 listeners"), "{error}");
        assert!(started.elapsed() < START_LIMIT);
    }
}

//! `highball up` for the length of a test. It dies with the test, however that ends, and so do its replicas.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::sh;

/// Longer than a whole drain takes; what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The last line of the banner.
pub(crate) const END: &str = "Ctrl-C drains and stops; a second one stops at once";

pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, work).await;
    done.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// Waits until `probe` says yes.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut probe: impl FnMut() -> F) {
    soon(what, async {
        while !probe().await {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

pub(crate) fn highball(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_highball"));
    command.args(flags).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// A running `highball up`.
pub(crate) struct Up {
    child: Child,
    stderr: Lines<BufReader<ChildStderr>>,
    pub(crate) banner: String,
    log: Arc<Mutex<Vec<Value>>>,
    reader: JoinSet<()>,
}

impl Up {
    /// Starts it on free ports and reads the banner.
    pub(crate) async fn start(data: &Path) -> Self {
        let any = "127.0.0.1:0";
        let flags = ["up", "--listen", any, "--admin", any, "--data", data.to_str().unwrap()];
        let mut child = highball(&flags).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (log, mut reader) = (Arc::<Mutex<Vec<Value>>>::default(), JoinSet::new());
        reader.spawn(collect(child.stdout.take().unwrap(), log.clone()));
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut banner = String::new();
        while !banner.ends_with(END) {
            let line = soon("the banner", stderr.next_line()).await.unwrap();
            banner.push('\n');
            banner.push_str(&line.unwrap_or_else(|| panic!("the program ended: {banner}")));
        }
        Self { child, stderr, banner, log, reader }
    }

    /// What the banner says after `name`.
    pub(crate) fn line(&self, name: &str) -> &str {
        let mut lines = self.banner.lines();
        let found = lines.find_map(|line| line.trim_start().strip_prefix(name));
        found.unwrap_or_else(|| panic!("no {name} in {}", self.banner)).trim()
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.line("gRPC (plaintext HTTP/2)").parse().unwrap()
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        let url = self.line("admin").strip_prefix("http://").unwrap();
        url.split('/').next().unwrap().parse().unwrap()
    }

    /// A page of the admin port, with its head.
    pub(crate) async fn page(&self, path: &str) -> String {
        let mut io = TcpStream::connect(self.admin()).await.unwrap();
        let ask = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        io.write_all(ask.as_bytes()).await.unwrap();
        let mut page = String::new();
        io.read_to_string(&mut page).await.unwrap();
        page
    }

    /// How many replicas every worker of the edge reaches.
    pub(crate) async fn ready(&self) -> usize {
        let page = self.page("/edge").await;
        let (_, body) = page.split_once("\r\n\r\n").unwrap();
        let state: Value = serde_json::from_str(body).unwrap();
        let workers = state["clusters"][0]["workers"].as_array().unwrap();
        let ready = |worker: &Value| {
            let endpoints = worker["endpoints"].as_array().unwrap();
            endpoints.iter().filter(|endpoint| endpoint["state"] == "READY").count()
        };
        workers.iter().map(ready).min().unwrap()
    }

    /// The process of a replica, as the log said last.
    pub(crate) fn replica(&self, index: u64) -> u64 {
        let log = self.log.lock().unwrap();
        let runs = log.iter().rev().find(|line| {
            line["message"] == "a replica runs" && line["replica"] == index && line["pid"].is_u64()
        });
        runs.unwrap()["pid"].as_u64().unwrap()
    }

    /// The commands to try, each as it is printed.
    pub(crate) fn commands(&self) -> Vec<String> {
        let (_, rest) = self.banner.split_once("\ntry\n").unwrap();
        let (commands, _) = rest.split_once("\n\n").unwrap();
        let mut all = Vec::new();
        let mut goes_on = false;
        for line in commands.lines() {
            if goes_on {
                let command: &mut String = all.last_mut().unwrap();
                command.push('\n');
                command.push_str(line);
            } else {
                all.push(line.to_owned());
            }
            goes_on = line.ends_with('\\');
        }
        all
    }

    /// Kills it, as the system does when memory is short.
    pub(crate) async fn killed(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Ctrl-C. What it says on standard error and in its log until it has ended, and its exit code.
    pub(crate) async fn interrupted(mut self) -> (Vec<String>, Vec<Value>, Option<i32>) {
        let id = self.child.id().unwrap();
        let sent = sh(&format!("kill -INT {id}")).await;
        assert!(sent.status.success());
        let mut said = Vec::new();
        while let Some(line) = soon("the summary", self.stderr.next_line()).await.unwrap() {
            said.push(line);
        }
        said.retain(|line| !line.is_empty());
        let status = soon("the end", self.child.wait()).await.unwrap();
        while self.reader.join_next().await.is_some() {}
        let log = std::mem::take(&mut *self.log.lock().unwrap());
        (said, log, status.code())
    }
}

async fn collect(stdout: ChildStdout, log: Arc<Mutex<Vec<Value>>>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        let line = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
        log.lock().unwrap().push(line);
    }
}

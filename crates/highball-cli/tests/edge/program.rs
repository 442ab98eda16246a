//! The program for the length of a test, and somebody to call through it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use highball::{Body, Server};
use highball_testkit::{TestServer, stub};
use http::Request;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinSet;

/// Longer than a whole drain takes; what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, work).await;
    done.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_highball"));
    command.args(flags).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs the program to its end.
pub(crate) async fn highball(flags: &[&str]) -> Ran {
    let output = soon("the end", command(flags).output()).await.unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Sends a signal to a process that a test started.
pub(crate) async fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().await.unwrap();
    assert!(sent.success());
}

/// A backend that answers every call with its name.
pub(crate) async fn backend(name: &'static str) -> TestServer {
    let service = stub::service(move |_: Request<Body>| async move { stub::messages(&[name.as_bytes()]) });
    TestServer::start(Server::new(service)).await
}

/// A folder with an edge's file.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new(text: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write(text);
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.path().join("edge.toml")
    }

    /// Writes the file as editors do: a new one is renamed into the place of the old.
    pub(crate) fn write(&self, text: &str) {
        let new = self.path().join(".edge.toml.new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.file()).unwrap();
    }
}

/// A file with a listener, an admin port, and all calls to one cluster.
pub(crate) fn to(backend: &TestServer) -> String {
    format!(
        "admin = \"127.0.0.1:0\"\nworkers = 2\n[[listeners]]\naddress = \"127.0.0.1:0\"\n\
         [clusters.shop]\ntarget = \"static:///{}\"\n[[routes]]\nname = \"shop\"\ncluster = \"shop\"\n",
        backend.addr()
    )
}

/// A running `highball edge`.
pub(crate) struct Program {
    child: Child,
    pub(crate) pid: u32,
    stderr: Lines<BufReader<ChildStderr>>,
    pub(crate) banner: String,
    log: JoinSet<Vec<Value>>,
}

impl Program {
    /// Starts it and reads the banner.
    pub(crate) async fn start(folder: &Folder) -> Self {
        Self::start_in(folder, &[]).await
    }

    /// Starts it with more variables in its environment.
    pub(crate) async fn start_in(folder: &Folder, variables: &[(&str, &str)]) -> Self {
        let mut command = command(&["edge", folder.file().to_str().unwrap()]);
        let command = command.envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let mut log = JoinSet::new();
        log.spawn(async move {
            let (mut lines, mut log) = (BufReader::new(stdout).lines(), Vec::new());
            while let Some(line) = lines.next_line().await.unwrap() {
                log.push(serde_json::from_str(&line).unwrap());
            }
            log
        });
        let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let pid = child.id().unwrap();
        let mut program = Self { child, pid, stderr, banner: String::new(), log };
        program.banner = program.next_banner().await;
        program
    }

    /// The next banner on its standard error: its own, or that of its successor.
    pub(crate) async fn next_banner(&mut self) -> String {
        self.said(" drains and stops; a second one stops at once").await
    }

    /// What it says until a line holds `end`, that line included.
    pub(crate) async fn said(&mut self, end: &str) -> String {
        let mut said = String::new();
        while !said.contains(end) {
            let line = soon(end, self.stderr.next_line()).await.unwrap();
            said.push_str(&line.unwrap_or_else(|| panic!("no {end:?} in {said}")));
            said.push('\n');
        }
        said
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        value(&self.banner, "gRPC (plaintext HTTP/2)").parse().unwrap()
    }

    pub(crate) fn admin(&self) -> String {
        let url = value(&self.banner, "admin").strip_prefix("http://").unwrap().to_owned();
        url.split('/').next().unwrap().to_owned()
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

    /// Waits for its end. Its exit code, and its log.
    pub(crate) async fn ended(mut self) -> (Option<i32>, Vec<Value>) {
        let status = soon("the end", self.child.wait()).await.unwrap();
        (status.code(), soon("the log", self.log.join_next()).await.unwrap().unwrap())
    }

    /// SIGTERM, then [`ended`](Self::ended).
    pub(crate) async fn terminated(self) -> (Option<i32>, Vec<Value>) {
        signal("TERM", self.pid).await;
        self.ended().await
    }
}

/// What a banner says after `name`.
pub(crate) fn value<'a>(banner: &'a str, name: &str) -> &'a str {
    let found = banner.lines().find_map(|line| line.trim_start().strip_prefix(name));
    found.unwrap_or_else(|| panic!("no {name} in {banner}")).trim()
}

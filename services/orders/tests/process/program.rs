//! The program for the length of a test. It dies with the test, however that ends.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use highball::ListenAddr;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Longer than a whole drain takes; what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// `work`, or a panic when it hangs.
pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, work).await;
    done.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// A running program, on ports the system chose, with its database in the directory it was started in.
pub(crate) struct Program {
    child: Child,
    log: watch::Receiver<Vec<Value>>,
    reader: JoinSet<()>,
    /// Where it takes RPCs, as its log says.
    pub(crate) addrs: Vec<ListenAddr>,
    /// Where its admin port is, as its log says.
    pub(crate) admin: SocketAddr,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) log: Vec<Value>,
}

impl Program {
    /// Starts it in `dir` and waits until it is ready.
    pub(crate) async fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[]).await
    }

    /// Starts it with more flags.
    pub(crate) async fn start_with(dir: &Path, flags: &[&str]) -> Self {
        Self::start_in(dir, &[], flags).await
    }

    /// Starts it with more variables in its environment.
    pub(crate) async fn start_in(dir: &Path, variables: &[(&str, &str)], flags: &[&str]) -> Self {
        let mut child = command(dir)
            .envs(variables.iter().copied())
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            // Ten thousand lines about calls would only be in the way.
            .args(["--log", "info,highball::rpc=warn"])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, log) = watch::channel(Vec::new());
        let mut reader = JoinSet::new();
        reader.spawn(read(child.stdout.take().unwrap(), lines));
        let mut program =
            Self { child, log, reader, addrs: Vec::new(), admin: SocketAddr::from(([0, 0, 0, 0], 0)) };
        program.listening().await;
        program
    }

    /// Reads the addresses, then waits for readiness. The admin port is bound last; when it answers, signals are heard.
    async fn listening(&mut self) {
        let is_admin = |line: &Value| line["message"] == "listening" && line["role"] == "admin";
        let admin = self.logged("that it listens", is_admin).await;
        self.admin = admin["addr"].as_str().unwrap().parse().unwrap();
        let lines = self.log.borrow().clone();
        let rpcs = lines.iter().filter(|line| line["message"] == "listening" && line["role"] == "grpc");
        self.addrs = rpcs.map(|line| line["addr"].as_str().unwrap().parse().unwrap()).collect();
        soon("readiness", async {
            while !is_ready(self.admin).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// Its TCP address.
    pub(crate) fn addr(&self) -> SocketAddr {
        let tcp = |addr: &ListenAddr| match addr {
            ListenAddr::Tcp(addr) => Some(*addr),
            ListenAddr::Unix(_) => None,
        };
        self.addrs.iter().find_map(tcp).unwrap()
    }

    /// Waits for a line of its log.
    pub(crate) async fn logged(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let mut log = self.log.clone();
        let found = soon(what, log.wait_for(|lines| lines.iter().any(&is_it))).await;
        let lines = found.unwrap_or_else(|_| panic!("the program ended without saying {what}"));
        lines.iter().find(|line| is_it(line)).unwrap().clone()
    }

    /// Waits until its drain enters a phase.
    pub(crate) async fn enters(&self, phase: &str) {
        let is_it = |line: &Value| line["message"] == "draining" && line["phase"] == phase;
        self.logged(phase, is_it).await;
    }

    /// Tells it to stop, politely.
    pub(crate) async fn terminate(&self) {
        let id = self.child.id().expect("it was not waited for");
        let kill = Command::new("sh").args(["-c", &format!("kill -TERM {id}")]).status();
        assert!(kill.await.unwrap().success());
    }

    /// Kills it as the kernel would, and waits until it is gone.
    pub(crate) async fn kill(mut self) -> Ended {
        self.child.start_kill().unwrap();
        self.ended().await
    }

    /// Stops it without the lame duck: nobody uses it any more.
    pub(crate) async fn stop(self) -> Ended {
        self.terminate().await;
        self.enters("lame_duck").await;
        self.terminate().await;
        let ended = self.ended().await;
        assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
        ended
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> Ended {
        let status = soon("the end", self.child.wait()).await.unwrap();
        soon("the log", self.reader.join_next()).await.unwrap().expect("every line is JSON");
        let log = self.log.borrow().clone();
        Ended { status, log }
    }
}

impl Ended {
    /// The report of the drain: the last line of the log.
    pub(crate) fn drained(&self) -> &Value {
        let last = self.log.last().unwrap();
        assert_eq!(last["message"], "drained", "{:#?}", self.log);
        last
    }
}

/// The output of a program that must not start.
pub(crate) async fn refused(dir: &Path, flags: &[&str]) -> Output {
    let output = command(dir).args(flags).output();
    soon("the end of a program that cannot start", output).await.unwrap()
}

/// Starts a program, and kills it `after` a while, which may be too short for it to do anything.
pub(crate) async fn killed(dir: &Path, after: Duration) {
    let child = command(dir).args(["--listen", "127.0.0.1:0"]).stdout(Stdio::null()).spawn();
    let mut child = child.unwrap();
    tokio::time::sleep(after).await;
    child.kill().await.unwrap();
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orders"));
    command.current_dir(dir).stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn read(stdout: ChildStdout, lines: watch::Sender<Vec<Value>>) {
    let mut stdout = BufReader::new(stdout).lines();
    while let Some(line) = stdout.next_line().await.unwrap() {
        let line = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        lines.send_modify(|lines| lines.push(line));
    }
}

/// Whether `/readyz` says yes.
pub(crate) async fn is_ready(admin: SocketAddr) -> bool {
    page(admin, "/readyz").await.starts_with("HTTP/1.1 200 ")
}

/// A page of the admin port, its head included; empty when the port is gone.
pub(crate) async fn page(admin: SocketAddr, path: &str) -> String {
    let fetch = async {
        let mut socket = TcpStream::connect(admin).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    soon("a page", fetch).await.unwrap_or_default()
}

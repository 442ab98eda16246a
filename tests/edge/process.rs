//! Backends that are processes of their own, so that they can be killed. They are this file again, running [`the_backend`].

use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use highball::{Server, Settings};
use highball_testkit::stub;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::PATIENCE;
use super::backend::{answered, place};

/// Where the process is to listen; a process without it is no backend.
const ADDR: &str = "EDGE_TEST_BACKEND";

/// Should the test die, its processes do not stay for ever.
const LIFETIME: Duration = Duration::from_secs(300);

/// A backend that can be killed and started again in the same place. Killed when it is dropped.
pub(crate) struct Process {
    pub(crate) addr: SocketAddr,
    child: Child,
}

impl Process {
    /// Starts one and waits until it listens.
    pub(crate) async fn start() -> Self {
        let addr = place();
        let process = Self { addr, child: spawn(addr) };
        process.listens().await;
        process
    }

    /// Three of them.
    pub(crate) async fn three() -> [Self; 3] {
        [Self::start().await, Self::start().await, Self::start().await]
    }

    pub(crate) fn addrs(processes: &[Self]) -> Vec<SocketAddr> {
        processes.iter().map(|process| process.addr).collect()
    }

    /// What it answers with.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it was not waited for")
    }

    /// `kill -9`.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGTERM: lame duck, GOAWAY, drain, exit.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        let kill = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.pid())]).status();
        assert!(kill.await.unwrap().success());
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends").unwrap()
    }

    /// Starts it again, after its end.
    pub(crate) async fn restart(&mut self) {
        self.child = spawn(self.addr);
        self.listens().await;
    }

    async fn listens(&self) {
        let tried = async {
            while TcpStream::connect(self.addr).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, tried).await.expect("the backend listens");
    }
}

fn spawn(addr: SocketAddr) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process::the_backend", "--nocapture"])
        .env(ADDR, addr.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// The process. Does nothing when it is run as one test among others.
#[test]
fn the_backend() {
    let Ok(addr) = std::env::var(ADDR) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let settings = Settings { lame_duck: Duration::from_millis(300), ..Settings::default() };
    let server = Server::new(stub::service(|request: http::Request<highball::Body>| async move {
        let slow = request.headers().contains_key("slow");
        if slow {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        answered(request, std::process::id().to_string().as_bytes()).await
    }));
    let run = async {
        let bound = server.with_settings(settings).listen(addr.parse().unwrap()).bind().await.unwrap();
        tokio::time::timeout(LIFETIME, bound.run_until_signal()).await.unwrap().unwrap()
    };
    assert_eq!(runtime.block_on(run).exit_code(), 0);
}

//! The process that is replaced, from the inside and from the outside.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, id};
use std::sync::Arc;
use std::time::Duration;

use highball::net::handover::{self, Handover, Program};
use highball::net::systemd::{Activated, ListenFd};
use highball::net::{Os, Workers};
use highball::{Body, DrainReport, Health, ListenAddr, Server, Settings};
use highball_testkit::stub;
use highball_tests::SHOP_DESCRIPTORS;
use http::{Request, Response};
use http_body_util::BodyExt as _;

use crate::until;

/// Names the directory of the service; a process without it is no server.
const DIR: &str = "UPGRADE_TEST_DIR";

/// How long a successor may take to be ready.
const READY_MAX: Duration = Duration::from_secs(10);

/// What the next process does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode {
    Serves,
    Ends,
    NeverReady,
}

/// The service, whichever process it is at present. Its directory holds what the processes say:
///
/// * `mode`, for the next process; `addr` and `admin`, where the first one listens;
/// * `pids`, one line for each process that has bound its sockets; `ended-PID`, how it ended.
pub(crate) struct Service {
    dir: tempfile::TempDir,
    pub(crate) addr: SocketAddr,
    admin: SocketAddr,
}

impl Service {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "program::the_server", "--nocapture"])
            .env(DIR, dir.path())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        // Collected when it ends, as the parent of a service does.
        std::thread::spawn(move || child.wait());
        let (addr, admin) = (dir.path().join("addr"), dir.path().join("admin"));
        let mut service = Self {
            dir,
            addr: SocketAddr::from(([0, 0, 0, 0], 0)),
            admin: SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        until("the first process has bound", || !service.pids().is_empty()).await;
        service.addr = fs::read_to_string(addr).unwrap().parse().unwrap();
        service.admin = fs::read_to_string(admin).unwrap().parse().unwrap();
        until("it hears signals", || service.metric("connections_total")).await;
        service
    }

    pub(crate) fn unix(&self) -> PathBuf {
        self.dir.path().join("x.sock")
    }

    /// The process that started last.
    pub(crate) fn pid(&self) -> u32 {
        *self.pids().last().unwrap()
    }

    fn pids(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.dir.path().join("pids")).unwrap_or_default();
        text.lines().map(|pid| pid.parse().unwrap()).collect()
    }

    pub(crate) fn be(&self, mode: Mode) {
        fs::write(self.dir.path().join("mode"), format!("{mode:?}")).unwrap();
    }

    /// Asks the process that started last to replace itself.
    pub(crate) fn upgrade(&self) {
        signal("USR2", self.pid());
    }

    pub(crate) fn terminate(&self) {
        signal("TERM", self.pid());
    }

    /// Waits until another process than `old` has started.
    pub(crate) async fn successor_of(&self, old: u32) -> u32 {
        until("a successor has started", || self.pid() != old).await;
        self.pid()
    }

    /// Waits until a process ended by itself; how.
    pub(crate) async fn ended(&self, pid: u32) -> String {
        until("the process has ended", || !runs(pid)).await;
        fs::read_to_string(self.dir.path().join(format!("ended-{pid}"))).unwrap_or_default()
    }

    /// Whether a line of `/metrics` begins so.
    pub(crate) fn metric(&self, line: &str) -> bool {
        let Ok(mut admin) = std::net::TcpStream::connect(self.admin) else { return false };
        admin.write_all(b"GET /metrics HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
        let mut page = String::new();
        admin.read_to_string(&mut page).unwrap();
        page.lines().any(|found| found.starts_with(line))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for pid in self.pids().into_iter().filter(|pid| runs(*pid)) {
            signal("KILL", pid);
        }
    }
}

/// Whether a process runs. One that ended and was not collected does not.
pub(crate) fn runs(pid: u32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat"));
    state.is_ok_and(|state| !state.rsplit(") ").next().unwrap().starts_with('Z'))
}

fn signal(name: &str, pid: u32) {
    // Fails for a process that ended in between.
    Command::new("sh").args(["-c", &format!("kill -{name} {pid} 2> /dev/null")]).status().unwrap();
}

/// The process. Does nothing when it is run as one test among others.
#[test]
fn the_server() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let fds = ListenFd::from_env();
    let dir = PathBuf::from(dir);
    let mode = fs::read_to_string(dir.join("mode")).unwrap_or_default();
    if mode == "Ends" {
        #[expect(clippy::exit, reason = "that is what it is for")]
        std::process::exit(3);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let report = runtime.block_on(serve(fds, &dir, mode == "NeverReady"));
    let DrainReport { cut, .. } = report;
    fs::write(dir.join(format!("ended-{}", id())), format!("cut {cut}, exit code {}", report.exit_code()))
        .unwrap();
}

async fn serve(fds: ListenFd, dir: &Path, never_ready: bool) -> DrainReport {
    let names = std::env::var("LISTEN_FDNAMES").ok();
    let (sockets, predecessor) = handover::inherited(fds, names.as_deref()).unwrap();
    let activated = Arc::new(Activated::new(Os::shared(), sockets));
    let again = Program::again(std::env::args_os()).unwrap();
    let handover =
        Handover::new(activated.clone(), again).with_predecessor(predecessor).with_ready_max(READY_MAX);
    let health = Health::new();
    if never_ready {
        let _down = health.ready_when("something that never comes");
    }
    let any: ListenAddr = "127.0.0.1:0".parse().unwrap();
    let settings = Settings {
        // The first process has to skip it to end at all.
        lame_duck: if dir.join("addr").exists() { Duration::ZERO } else { Duration::from_secs(600) },
        drain_timeout: Duration::from_secs(20),
        connections_per_peer_max: 1000,
        ..Settings::default()
    };
    let workers = Workers::start(2).unwrap();
    let bound = Server::per_worker(workers, |_| stub::service(answer))
        .with_descriptors(SHOP_DESCRIPTORS)
        .with_settings(settings)
        .with_health(health)
        .with_handover(Arc::new(handover))
        .listen(any.clone())
        .listen(ListenAddr::Unix(dir.join("x.sock")))
        .admin(any)
        .bind()
        .await
        .unwrap();
    assert!(activated.unclaimed().is_empty());
    if !dir.join("addr").exists() {
        fs::write(dir.join("addr"), bound.addrs()[0].to_string()).unwrap();
        fs::write(dir.join("admin"), bound.admin_addr().unwrap().to_string()).unwrap();
    }
    let mut pids = fs::File::options().create(true).append(true).open(dir.join("pids")).unwrap();
    writeln!(pids, "{}", id()).unwrap();
    // Should the test die, its processes do not stay for ever.
    let run = tokio::time::timeout(Duration::from_secs(300), bound.run_until_signal());
    run.await.unwrap().unwrap()
}

/// Says which process answers, at once or after a while: some calls are in flight when the drain begins.
async fn answer(request: Request<Body>) -> Response<Body> {
    let slow = request.headers().contains_key("slow");
    match request.into_body().collect().await {
        Ok(_) if slow => tokio::time::sleep(Duration::from_millis(200)).await,
        Ok(_) => {}
        Err(error) => return stub::frames(futures_util::stream::iter([Err(error)])),
    }
    stub::messages(&[id().to_string().as_bytes()])
}

//! An edge for the length of a test.

use std::fmt::{Display, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use highball::net::{Drain, Phase};
use highball::telemetry::Telemetry;
use highball::{DrainReport, ListenAddr};
use highball_edge::settings::read;
use highball_edge::{Edge, Reloader};
use highball_testkit::{Client, leaks};
use highball_tests::SHOP_DESCRIPTORS;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::PATIENCE;
use super::peer::until;

/// The usual file: one listener, one cluster named `shop`, one route to it. What tests are about is added.
#[derive(Clone, Default)]
pub(crate) struct File {
    target: String,
    top: String,
    cluster: String,
    route: String,
    limits: String,
}

impl File {
    /// A cluster of these backends.
    pub(crate) fn to(backends: &[SocketAddr]) -> Self {
        let addrs: Vec<String> = backends.iter().map(SocketAddr::to_string).collect();
        Self { target: format!("static:///{}", addrs.join(",")), ..Self::default() }.top("workers = 1")
    }

    /// More lines at the top. `workers` is 1 unless they say more.
    pub(crate) fn top(mut self, lines: &str) -> Self {
        if lines.starts_with("workers") {
            self.top.clear();
        }
        writeln!(self.top, "{lines}").unwrap();
        self
    }

    /// More lines of the cluster.
    pub(crate) fn cluster(mut self, lines: &str) -> Self {
        writeln!(self.cluster, "{lines}").unwrap();
        self
    }

    /// More lines of the route.
    pub(crate) fn route(mut self, lines: &str) -> Self {
        writeln!(self.route, "{lines}").unwrap();
        self
    }

    /// More limits.
    pub(crate) fn limits(mut self, lines: &str) -> Self {
        writeln!(self.limits, "{lines}").unwrap();
        self
    }

    pub(crate) fn text(&self) -> String {
        let Self { target, top, cluster, route, limits } = self;
        format!(
            "{top}admin = '127.0.0.1:0'\n[[listeners]]\naddress = '127.0.0.1:0'\n[clusters.shop]\n\
             target = '{target}'\n{cluster}[[routes]]\ncluster = 'shop'\n{route}[limits]\n{limits}"
        )
    }

    /// Starts it, and waits until every backend is connected from every worker.
    pub(crate) async fn ready(&self) -> World {
        let world = World::start(&self.text()).await;
        world.all_ready().await;
        world
    }
}

/// A running edge.
pub(crate) struct World {
    pub(crate) telemetry: Telemetry,
    pub(crate) reloader: Reloader,
    /// Where it listens, in the order of the file.
    pub(crate) addrs: Vec<ListenAddr>,
    /// Where its admin port is, if the file asks for one.
    pub(crate) admin: Option<ListenAddr>,
    drain: Arc<Drain>,
    stop: Option<oneshot::Sender<()>>,
    run: JoinHandle<DrainReport>,
}

impl World {
    /// Runs the edge of this file; ports are 0 in it. Knows `shop.v1` and the reference services.
    pub(crate) async fn start(text: &str) -> Self {
        Self::start_in(text, Path::new("/")).await
    }

    /// The same for a file in this folder.
    pub(crate) async fn start_in(text: &str, base: &Path) -> Self {
        let settings =
            read::read(text, base).unwrap_or_else(|problems| panic!("{problems}\n{text}")).settings;
        Self::run(
            Edge::new(settings).with_descriptors(SHOP_DESCRIPTORS).with_descriptors(orders::DESCRIPTORS),
        )
        .await
    }

    /// Runs an edge that the test has made.
    pub(crate) async fn run(edge: Edge) -> Self {
        let (telemetry, drain) = (Telemetry::new(), Arc::new(Drain::new()));
        let edge = edge.with_telemetry(telemetry.clone()).with_drain(drain.clone());
        let bound = edge.bind().await.unwrap();
        let (addrs, admin, reloader) = (bound.addrs(), bound.admin_addr(), bound.reloader());
        let (stop, stopped) = oneshot::channel();
        let run = tokio::spawn(bound.run(async move { stopped.await.unwrap_or_default() }));
        Self { telemetry, reloader, addrs, admin, drain, stop: Some(stop), run }
    }

    /// Its first TCP address.
    pub(crate) fn addr(&self) -> SocketAddr {
        tcp(self.addrs.iter()).unwrap()
    }

    pub(crate) async fn client(&self) -> Client {
        Client::tcp(self.addr()).await
    }

    /// Waits until every backend of every cluster is connected from every worker.
    pub(crate) async fn all_ready(&self) {
        self.endpoints_are("every backend is ready", |states| states.iter().all(|state| state == "READY"))
            .await;
    }

    /// Waits until the states of all backends, worker by worker, are so.
    pub(crate) async fn endpoints_are(&self, what: &str, holds: impl Fn(&[String]) -> bool) {
        let waited = async {
            loop {
                let states = self.endpoints().await;
                if !states.is_empty() && holds(&states) {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, waited).await.is_err() {
            panic!("not in time: {what}: {}", self.page("/edge").await);
        }
    }

    /// The states of all backends, as `/edge` shows them.
    pub(crate) async fn endpoints(&self) -> Vec<String> {
        let page = self.page("/edge").await;
        let snapshots = page["clusters"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|cluster| cluster["workers"].as_array().unwrap().iter());
        let endpoints = snapshots.flat_map(|snapshot| snapshot["endpoints"].as_array().unwrap().iter());
        endpoints.map(|endpoint| endpoint["state"].as_str().unwrap().to_owned()).collect()
    }

    /// A page of the admin port.
    pub(crate) async fn page(&self, path: &str) -> Value {
        let mut socket = TcpStream::connect(tcp(self.admin.iter()).unwrap()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or_else(|_| panic!("not JSON: {answer}"))
    }

    /// Whether a line of `/metrics` begins so.
    pub(crate) fn metric(&self, line: impl Display) -> bool {
        let line = line.to_string();
        self.telemetry.render().lines().any(|found| found.starts_with(&line))
    }

    /// Waits until no RPC is under way.
    pub(crate) async fn idle(&self) {
        let active = |line: &String| line.starts_with("grpc_active_requests{");
        until("no RPC is under way", || !leaks::found(&self.telemetry).iter().any(active)).await;
    }

    /// Starts the drain, as a signal would, and does not wait for it.
    pub(crate) fn stop(&mut self) {
        // A second call finds the sender gone, which is what it wanted.
        self.stop.take().map(|stop| stop.send(()));
    }

    /// Drains, waits for the end and checks that nothing leaked. Skips the lame duck, unless [`stop`](Self::stop) has
    /// already started it.
    pub(crate) async fn drained(mut self) -> DrainReport {
        if self.stop.is_some() {
            self.drain.advance(Phase::Draining);
        }
        self.stop();
        let report = tokio::time::timeout(PATIENCE, &mut self.run).await.expect("a drain ends").unwrap();
        leaks::check(&self.telemetry);
        report
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.run.abort();
    }
}

fn tcp<'a>(mut addrs: impl Iterator<Item = &'a ListenAddr>) -> Option<SocketAddr> {
    addrs.find_map(|addr| if let ListenAddr::Tcp(addr) = addr { Some(*addr) } else { None })
}

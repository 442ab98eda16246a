//! A server for the length of a test.

use std::net::SocketAddr;
use std::sync::Arc;

use highball_net::{Drain, ListenAddr, Phase};
use highball_server::{DrainReport, Health, Server};
use highball_telemetry::Telemetry;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::{Client, leaks};

/// A running server on loopback ports the system chose.
#[derive(Debug)]
pub struct TestServer {
    /// Its metrics.
    pub telemetry: Telemetry,
    /// Its readiness.
    pub health: Health,
    /// The hand that drains it.
    pub drain: Arc<Drain>,
    /// Where it listens for RPCs.
    pub addrs: Vec<ListenAddr>,
    /// Where its admin port is.
    pub admin: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    run: JoinHandle<DrainReport>,
}

impl TestServer {
    /// Runs `server` on a loopback port, with an admin port, next to the addresses it was given.
    ///
    /// # Panics
    /// When it cannot be bound.
    pub async fn start(server: Server) -> Self {
        let any: ListenAddr = "127.0.0.1:0".parse().expect("a literal");
        let (telemetry, health, drain) = (Telemetry::new(), Health::new(), Arc::new(Drain::new()));
        let server = server
            .listen(any.clone())
            .admin(any)
            .with_telemetry(telemetry.clone())
            .with_health(health.clone())
            .with_drain(drain.clone());
        let bound = server.bind().await.expect("loopback can be bound");
        let (addrs, admin) = (bound.addrs(), bound.admin_addr());
        let Some(ListenAddr::Tcp(admin)) = admin else { panic!("an admin port was asked for") };
        let (stop, stopped) = oneshot::channel();
        #[expect(clippy::disallowed_methods, reason = "owned by the handle in this struct, aborted with it")]
        let run = tokio::spawn(bound.run(async move { stopped.await.unwrap_or_default() }));
        Self { telemetry, health, drain, addrs, admin, stop: Some(stop), run }
    }

    /// The loopback TCP address.
    ///
    /// # Panics
    /// Never: [`start`](Self::start) added one.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        let tcp = |addr: &ListenAddr| {
            if let ListenAddr::Tcp(addr) = addr { Some(*addr) } else { None }
        };
        self.addrs.iter().rev().find_map(tcp).expect("start() adds a TCP address")
    }

    /// A client of it.
    pub async fn client(&self) -> Client {
        Client::tcp(self.addr()).await
    }

    /// Starts the drain, as a signal would, and does not wait for it.
    pub fn stop(&mut self) {
        // A second call finds the sender gone, which is what it wanted.
        self.stop.take().map(|stop| stop.send(()));
    }

    /// Drains, waits for the end and checks that nothing leaked. Skips the lame duck, unless [`stop`](Self::stop) has
    /// already started it.
    ///
    /// # Panics
    /// On a leak, or when the server panicked.
    pub async fn drained(mut self) -> DrainReport {
        if self.stop.is_some() {
            self.drain.advance(Phase::Draining);
        }
        self.stop();
        let report = (&mut self.run).await.expect("the server does not panic");
        leaks::check(&self.telemetry);
        report
    }

    /// Like [`drained`](Self::drained), without waiting for anything that is still in flight.
    pub async fn forced(self) -> DrainReport {
        self.drain.advance(Phase::Forced);
        self.drained().await
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.run.abort();
    }
}

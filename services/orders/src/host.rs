//! From addresses and a database to a running server: what the `orders` program and others that embed it
//! share.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use highball::auth::{Guard, World};
use highball::net::tls::{ServerTls, TlsError};
use highball::net::{Draining, Os, Platform, Tasks};
use highball::server::{MethodSettings, OpenBox, Settings};
use highball::{BoundServer, Drain, DrainReport, Health, ListenAddr, Server, ServerError, Telemetry};
use thiserror::Error;

use crate::security::Security;
use crate::{App, DESCRIPTORS, Database, OpenError, Seams};

/// What to start.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where to listen for RPCs; at least one address.
    pub listen: Vec<ListenAddr>,
    /// Where to serve `/livez`, `/readyz` and `/metrics`; `None` for nowhere.
    pub admin: Option<ListenAddr>,
    /// Where the data is.
    pub database: Database,
    /// Limits of the server.
    pub settings: Settings,
    /// Transport security and callers.
    pub security: Security,
    /// Where sockets come from: [`Os::shared`] unless somebody else opened them.
    pub platform: Arc<dyn Platform>,
}

/// Why the service did not start. Each is one sentence for the person who started it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// The TLS files cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The rules of who may call what cannot be used.
    #[error(transparent)]
    Auth(#[from] highball::auth::token::StartError),
    /// An address cannot be listened on, or the settings contradict themselves.
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// The service with its database open and its addresses bound; it serves nothing yet.
#[derive(Debug)]
#[must_use = "it serves nothing until it is run"]
pub struct Bound {
    server: BoundServer,
    app: App,
    draining: Draining,
    tls: bool,
    /// Follows the keys of tokens.
    _tasks: Tasks,
}

impl Plan {
    /// Opens the database, then binds every address, or nothing.
    ///
    /// # Errors
    ///
    /// [`StartError`]. Whatever was opened before the failure is closed again.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes what was opened.
    pub async fn bind(self) -> Result<Bound, StartError> {
        let (telemetry, health, drain) = (Telemetry::new(), Health::new(), Arc::new(Drain::new()));
        let draining = drain.listen();
        let seams = Seams {
            draining: drain.listen(),
            database: health.ready_when("database"),
            orders_created: telemetry.counter("orders_created", "Orders created, replayed requests aside"),
            users_created: telemetry.counter("users_created", "Users created, replayed requests aside"),
            writes_dropped: telemetry
                .counter("orders_writes_dropped", "Queued writes dropped because their RPC was over"),
        };
        let mut settings = self.settings;
        // An order may rest for days; keepalive and the age of connections end watches that nobody hears.
        settings.methods.push(MethodSettings {
            methods: "ecommerce.v1.OrderService/WatchOrder".to_owned(),
            stream_idle: Some(Duration::ZERO),
            ..MethodSettings::default()
        });
        let Security { tls, auth, health: probes } = self.security;
        // What can be wrong in files is found before a database is made.
        let tls = tls.map(|tls| ServerTls::load(tls, Os::shared())).transpose()?.map(Arc::new);
        let tasks = Tasks::new();
        let guard = match auth {
            Some(auth) => {
                let world = World { platform: self.platform.clone(), ..World::new(tasks.spawner()) };
                Some(Guard::start(&auth, world).await?)
            }
            None => None,
        };
        let app = App::open(&self.database, seams).await?;
        let server = Server::new(app.service())
            .with_descriptors(DESCRIPTORS)
            .with_settings(settings)
            .with_telemetry(telemetry)
            .with_health(health)
            .with_platform(self.platform)
            .with_drain(drain);
        let server = self.listen.into_iter().fold(server, |server, addr| match (&addr, &tls) {
            (ListenAddr::Tcp(_), Some(tls)) => server.listen_tls(addr, tls.clone()),
            _ => server.listen(addr),
        });
        let server = guard.into_iter().fold(server, Server::with_guard);
        let server = probes.into_iter().fold(server, Server::health_only);
        let server = self.admin.into_iter().fold(server, Server::admin);
        match server.bind().await {
            Ok(server) => Ok(Bound { server, app, draining, tls: tls.is_some(), _tasks: tasks }),
            Err(cause) => {
                app.close().await;
                Err(cause.into())
            }
        }
    }
}

impl Bound {
    /// Whether one of its addresses speaks TLS: TCP addresses do when there is a certificate.
    #[must_use]
    pub fn speaks_tls(&self, addr: &ListenAddr) -> bool {
        self.tls && matches!(addr, ListenAddr::Tcp(_))
    }

    /// Hears the phases of the drain.
    #[must_use]
    pub fn draining(&self) -> Draining {
        self.draining.clone()
    }

    /// Where it listens for RPCs, with the ports the system chose.
    #[must_use]
    pub fn addrs(&self) -> Vec<ListenAddr> {
        self.server.addrs()
    }

    /// Where the port that only answers health checks is.
    #[must_use]
    pub fn health_only_addr(&self) -> Option<ListenAddr> {
        self.server.health_only_addr()
    }

    /// Where the admin port is.
    #[must_use]
    pub fn admin_addr(&self) -> Option<ListenAddr> {
        self.server.admin_addr()
    }

    /// The limits in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        self.server.settings()
    }

    /// The boxes of the launch checklist this server leaves open.
    #[must_use]
    pub fn open_boxes(&self) -> Vec<OpenBox> {
        self.server.open_boxes()
    }

    /// Serves until SIGTERM or SIGINT, drains, then closes the database. In this order: a call that is
    /// answered during the drain may still write.
    ///
    /// # Errors
    ///
    /// When the process may not handle signals.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes connections and database at once; what was answered is on disk.
    pub async fn run_until_signal(self) -> io::Result<DrainReport> {
        let report = self.server.run_until_signal().await;
        self.app.close().await;
        report
    }

    /// Serves until `stop` resolves, drains, then closes the database.
    ///
    /// # Cancel safety
    ///
    /// As [`run_until_signal`](Self::run_until_signal).
    pub async fn run(self, stop: impl Future<Output = ()>) -> DrainReport {
        let report = self.server.run(stop).await;
        self.app.close().await;
        report
    }
}

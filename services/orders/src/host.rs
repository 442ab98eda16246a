//! From addresses and a database to a running server: what the `orders` program and others that embed it
//! share.

use std::future::Future;
use std::io;
use std::sync::Arc;

use highball::server::{OpenBox, Settings};
use highball::{BoundServer, Drain, DrainReport, Health, ListenAddr, Server, ServerError, Telemetry};
use thiserror::Error;

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
}

/// Why the service did not start. Each is one sentence for the person who started it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] OpenError),
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
        let seams = Seams {
            draining: drain.listen(),
            database: health.ready_when("database"),
            orders_created: telemetry.counter("orders_created", "Orders created, replayed requests aside"),
            users_created: telemetry.counter("users_created", "Users created, replayed requests aside"),
        };
        let app = App::open(&self.database, seams).await?;
        let server = Server::new(app.service())
            .with_descriptors(DESCRIPTORS)
            .with_settings(self.settings)
            .with_telemetry(telemetry)
            .with_health(health)
            .with_drain(drain);
        let server = self.listen.into_iter().fold(server, Server::listen);
        let server = self.admin.into_iter().fold(server, Server::admin);
        match server.bind().await {
            Ok(server) => Ok(Bound { server, app }),
            Err(cause) => {
                app.close().await;
                Err(cause.into())
            }
        }
    }
}

impl Bound {
    /// Where it listens for RPCs, with the ports the system chose.
    #[must_use]
    pub fn addrs(&self) -> Vec<ListenAddr> {
        self.server.addrs()
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

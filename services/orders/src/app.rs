//! The application: a database, the services over it, and their end.

use connectrpc::ConnectRpcService;
use highball::{Counter, Dependency, Draining};

use crate::rpc;
use crate::store::{self, Database, Follower, OpenError, Reports, Store, Writer};

/// What the application shares with the server that hosts it.
#[derive(Debug, Clone)]
pub struct Seams {
    /// Ends watches and long streams when the server drains.
    pub draining: Draining,
    /// Readiness of the database.
    pub database: Dependency,
    /// New orders. A replayed request is not a new order.
    pub orders_created: Counter,
    /// New users. A replayed request is not a new user.
    pub users_created: Counter,
    /// Queued writes that were dropped because their RPC was over.
    pub writes_dropped: Counter,
}

/// Orders, users and greetings over one database.
///
/// Several applications, in one process or in several of one machine, may share a database.
///
/// The application owns its tasks, one that writes and one that tells watchers what was written:
/// [`close`](Self::close) ends them in good order, dropping the application ends them at once.
#[derive(Debug)]
pub struct App {
    store: Store,
    writer: Writer,
    follower: Follower,
    draining: Draining,
}

impl App {
    /// Opens the database, brings its schema up to date and starts the writer. The database is reported up.
    ///
    /// # Errors
    ///
    /// [`OpenError`] is one sentence for the person who started the program. Nothing stays open after it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes what was opened; a migration step is either complete or undone.
    pub async fn open(database: &Database, seams: Seams) -> Result<Self, OpenError> {
        let reports = Reports {
            database: seams.database,
            orders_created: seams.orders_created,
            users_created: seams.users_created,
            writes_dropped: seams.writes_dropped,
        };
        let (store, writer, follower) = store::open(database, reports).await?;
        Ok(Self { store, writer, follower, draining: seams.draining })
    }

    /// The services, as one tower service that speaks gRPC. Messages are limited to 4 MiB; deadlines are
    /// those of the RPC, as [`highball::current`] tells them. It may be cloned and outlive the application: after [`close`](Self::close) it
    /// answers UNAVAILABLE.
    #[must_use]
    pub fn service(&self) -> ConnectRpcService {
        rpc::service(&self.store, &self.draining)
    }

    /// Writes what is queued and closes the database. Call it when the server has drained. Watches end, later writes and
    /// reads are answered with UNAVAILABLE, and the database is reported down.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it stops the writer at once: the commit under way is kept or undone as a whole, and queued
    /// writes are refused.
    pub async fn close(self) {
        // The writer is the last to leave: unless another process goes on, it folds the write-ahead log into the file, and a
        // copy of it is complete.
        self.follower.close().await;
        self.store.close().await;
        self.writer.close().await;
    }
}

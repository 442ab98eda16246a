//! The database: one writer, a few readers, and the watchers of orders.
//!
//! ```text
//! call -> queue (bounded) -> writer task -> one commit for many requests -> watchers, counters, answers
//! call -> readers (read-only connections) -> answer
//! ```
//!
//! Invariants: only the writer task writes; a call is answered only after its commit is on disk; changes
//! reach watchers after the commit and in its order; a database error fails the calls of one commit and never
//! stops the writer; nothing begins for an RPC whose deadline has passed, and a read stops there.

mod open;
mod orders;
mod reader;
mod readers;
mod request_keys;
mod sqlite;
mod users;
mod watch;
mod write;
mod writer;

pub(crate) use open::open;
pub use open::{Database, DatabaseSettingError, OpenError};
pub(crate) use orders::Cursor;
pub(crate) use reader::{ReadError, Reader};
pub(crate) use watch::{Change, Watchers, Watching};
pub(crate) use write::{Outcome, Rejection, Write};
pub(crate) use writer::{WriteError, WriteQueue, Writer};

use highball::{Counter, Dependency};

use crate::domain::page::TokenKey;

/// Everything a service needs of the database. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    /// Reads committed rows.
    pub(crate) reader: Reader,
    /// Takes changes.
    pub(crate) queue: WriteQueue,
    /// Tells of changes.
    pub(crate) watchers: Watchers,
    /// Seals page tokens with the secret of this database.
    pub(crate) tokens: TokenKey,
}

impl Store {
    /// Ends all reads. The writer is closed by its owner.
    pub(crate) async fn close(&self) {
        self.reader.close().await;
    }
}

/// What the writer tells the outside.
#[derive(Debug, Clone)]
pub(crate) struct Reports {
    /// Whether the database takes writes.
    pub(crate) database: Dependency,
    /// Counts new orders, not replays.
    pub(crate) orders_created: Counter,
    /// Counts new users, not replays.
    pub(crate) users_created: Counter,
    /// Counts queued writes that were dropped because nobody waited for them any more.
    pub(crate) writes_dropped: Counter,
}

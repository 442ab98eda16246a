//! The database: one file that several processes of one machine share. Each has one writer, a few readers, the
//! watchers of orders, and a follower that tells them what any of the processes wrote.
//!
//! ```text
//! call -> queue (bounded) -> writer task -> one commit for many requests -> counters, answers
//!                                                       | row in order_changes, wakes our follower
//! commits of all processes -> follower task -> watchers (rings, bounded)
//! call -> readers (read-only connections) -> answer
//! ```
//!
//! Invariants: only the writer task writes, and what it goes by it has read in the same transaction: versions, keys,
//! identifiers and the numbers of changes are right whoever else writes; a call is answered only after its commit is
//! on disk; changes reach watchers after the commit and in the order of all commits; a database error fails the calls
//! of one commit and never stops the writer; nothing begins for an RPC whose deadline has passed, and a read stops
//! there.
//!
//! A process that is killed takes nothing with it but its locks, which the kernel lets go: what it had committed is in
//! the write-ahead log, what it had not is gone, and the others go on. The log's index is shared memory: one machine,
//! and no file system of the network.

mod changes;
mod follow;
mod identifiers;
mod lock;
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

pub(crate) use follow::Follower;
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

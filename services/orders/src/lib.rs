//! The reference service of highball: orders, users and a greeter on one SQLite file.
//!
//! It shows all four shapes of an RPC over a real database, and an answer to what usually goes wrong between
//! the two: retries that must not order twice, watches that must not miss a change, a crash that must not
//! lose what was answered, a database that fails for a while.
//!
//! ```text
//! highball::Server -> rpc (messages, rules, errors) -> domain (plain data)
//!                                                   -> store (one writer, few readers, watchers, a follower)
//! ```
//!
//! Several processes of one machine may serve one file: its replicas. It does not matter which of them a call reaches.
//!
//! It is not a library for other services, and it knows nothing of sockets, TLS or limits: the server in
//! front does. Programs that call it use [`client`].
//!
//! ```
//! # async fn example(path: &std::path::Path) -> Result<(), orders::StartError> {
//! use orders::{Database, Plan};
//!
//! let plan = Plan {
//!     listen: vec!["127.0.0.1:0".parse().expect("an address")],
//!     admin: None,
//!     database: Database::sqlite(path.join("orders.db")),
//!     settings: highball::Settings::default(),
//!     security: orders::Security::default(),
//!     platform: highball::net::Os::shared(),
//! };
//! let bound = plan.bind().await?;
//! println!("listening on {}", bound.addrs()[0]);
//! bound.run(std::future::ready(())).await;
//! # Ok(())
//! # }
//! ```
//!
//! Invariants:
//!
//! * An RPC that writes is answered after its commit is on disk, and only then.
//! * The same `idempotency-key` and request make one row, however often and whenever they come.
//! * A watcher sees the state and then every later one, whichever replica made it; it never blocks a writer.
//! * Amounts are exact from the request to the disk.
//! * Every queue, stream and page has a bound, and the bound is in the documentation of the call.

mod app;
pub mod client;
mod clock;
mod dial;
mod domain;
mod host;
pub mod proto;
mod rpc;
mod security;
mod store;
mod supervised;

pub use app::{App, Seams};
pub use dial::DialFlags;
pub use host::{Bound, Plan, StartError};
pub use security::{Security, SecurityFlags};
pub use store::{Database, DatabaseSettingError, OpenError};

/// The encoded `FileDescriptorSet` of all services, imports and comments included: what reflection, metrics
/// and transcoders read.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

//! An L7 proxy for gRPC: a server whose service is a channel.
//!
//! ```text
//!             server (walk a)                       channel (walk c)
//! client ──▶ TLS, limits, deadline, record ──▶ forward (walk b) ──▶ pick, retry, health ──▶ backends
//!                                                │ one Table, read by one atomic load
//!                                 file ── read ──┘ replaced as a whole by a reload
//! ```

mod cluster;
mod edge;
pub mod explain;
mod fault;
mod headers;
pub mod import;
mod mirror;
mod proxy;
mod quota;
mod route;
pub mod settings;
mod table;

pub use edge::{BoundEdge, Edge, EdgeError, Reloaded, Reloader};
pub use settings::Settings;

//! An L7 proxy for gRPC: a server whose service is a channel.
//!
//! ```text
//!             server (walk a)                       channel (walk c)
//! client ──▶ TLS, limits, deadline, record ──▶ forward (walk b) ──▶ pick, retry, health ──▶ backends
//!                                                │ one Table, read by one atomic load
//!                                 file ── read ──┘ replaced as a whole by a reload
//! ```

pub mod settings;

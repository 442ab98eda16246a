//! Other dialects to gRPC and back, from descriptors alone: gRPC-Web, Connect, REST by `google.api.http`, Twirp.
//!
//! ```text
//! request ── recognise ── translate in ──▶ gRPC request ──▶ the walk of the server, the hosted service
//! response ◀── translate out ◀──────────── gRPC response ◀──┘
//! ```
//!
//! What is behind sees only gRPC, so that deadlines, limits, rules and records are the same for every dialect. Bodies are
//! translated as they come; a unary message is the most that is ever held, and it is bounded.
//!
//! Absent on purpose: sockets, tasks, files.

mod error;
mod gateway;
mod grpc;
mod json;
mod rest;
mod schema;
mod settings;
mod spoken;
#[cfg(test)]
mod testing;

pub use gateway::Gateway;
pub use schema::{BodyRule, HttpRule, MethodInfo, Schema, SchemaError};
pub use settings::Settings;

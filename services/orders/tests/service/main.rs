//! The services as a caller sees them: through messages, codes, details and metadata, over a real database
//! file.
//!
//! No sockets: the client's transport is the service itself.

#![allow(clippy::unwrap_used, reason = "a test reports a surprise by stopping at it")]

mod batch;
mod crash;
mod failures;
mod greeter;
mod lists;
mod orders;
mod process;
mod program;
mod replicas;
mod users;
mod watch;
mod world;

//! What h2 does not watch: the frames of a connection, walked without being decoded.
//!
//! hyper and h2 speak the protocol. A [`sentinel`] sits under them on the byte stream, walks frame heads in both
//! directions ([`frames`]) and asks [`rules`] whether the peer behaves. It can end a connection with a GOAWAY that says
//! why, which h2's public interface cannot.

pub(crate) mod control;
pub(crate) mod frames;
pub mod rules;
pub(crate) mod sentinel;

pub use rules::{Abuse, Rules};

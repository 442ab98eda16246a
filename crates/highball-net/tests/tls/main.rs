//! TLS as clients and operators see it: real rustls clients over in-memory streams, certificates made on the spot.

#![expect(
    clippy::unwrap_used,
    reason = "these are tests all through; clippy sees only the functions marked as such"
)]

mod client;
mod files;
mod handshakes;
mod mtls;
mod names;
mod reload;
mod resumption;
mod watch;
mod world;

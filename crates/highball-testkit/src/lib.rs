//! What the tests of this workspace share. Never a dependency of anything that ships.
//!
//! * [`TestServer`] runs a server on port 0 and drains it; its end checks for leaks.
//! * [`Client`] speaks gRPC without a gRPC library, so that a test sees heads, messages and trailers as they are.
//! * [`stub`] is a service made of closures.
//! * [`Web`] is a web server that is asked by what we test.
//! * [`sim`] is the platform of simulated tests.

pub mod client;
pub mod leaks;
pub mod pki;
pub mod raw;
pub mod server;
pub mod sim;
pub mod stub;
pub mod web;

pub use client::{Client, Reply};
pub use server::TestServer;
pub use web::Web;

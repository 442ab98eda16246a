//! The program `orders` as a process: started, driven over the network, told to stop, killed.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests outside `#[test]` functions"
)]

mod backends;
mod caller;
mod crash;
mod drain;
mod listen;
mod program;
mod replicas;
mod rows;
mod start;
mod supervised;

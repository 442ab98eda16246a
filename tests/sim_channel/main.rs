//! The channel in turmoil: real channels, real servers, simulated sockets and time, and checkers that are always on.
//!
//! A seed decides what the world is like, who calls, and what goes wrong. `SIM_SEEDS` says how many seeds are tried, 200 by
//! default, and `SIM_SEED` which is the first: `SIM_SEED=42 SIM_SEEDS=1` runs one of them again. One that fails becomes a
//! test of its own in [`found`].

#![expect(clippy::expect_used, reason = "helpers of tests outside `#[test]` functions")]

mod caller;
mod client;
mod config;
mod found;
mod host;
mod ledger;
mod plan;
mod scenarios;
mod seeds;
mod world;

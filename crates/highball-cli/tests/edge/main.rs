//! `highball edge` and what belongs to it, as an operator meets them.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests outside `#[test]` functions"
)]

mod explain;
mod import;
mod program;
mod reload;
mod start;
mod upgrade;
mod validate;

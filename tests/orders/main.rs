//! The reference service over real sockets, driven by clients that tonic generates: messages, statuses, details and
//! trailers as somebody else's library sees them.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests outside `#[test]` functions"
)]

mod batch;
mod create;
mod deadline;
mod drain;
mod greeter;
mod lists;
mod process;
mod replicas;
mod shop;
mod users;
mod watch;

use highball_tests::tonic_gen::ecommerce;

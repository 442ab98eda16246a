//! What orders and users are, without a wire and without a database: pure functions and plain data.

pub(crate) mod filter;
pub(crate) mod money;
pub(crate) mod order;
pub(crate) mod page;
pub(crate) mod request_key;
pub(crate) mod user;

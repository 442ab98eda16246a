//! The messages, service traits and clients generated from the `.proto` files.
//!
//! `ecommerce::v1`, `user::v1`, `user::v2` and `greeter` are the service; `google::rpc` holds the error
//! details it answers with. Clients are generic over a transport, so they run over any channel or straight
//! over the service in a test.

#![allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    elided_lifetimes_in_paths,
    rustdoc::all,
    clippy::all,
    reason = "generated"
)]

include!(concat!(env!("OUT_DIR"), "/messages.rs"));

/// `Validate` for the messages above.
mod validators {
    #[allow(unused_imports, reason = "not every package needs every name")]
    pub mod ecommerce_v1 {
        use super::super::ecommerce::v1::*;
        include!(concat!(env!("OUT_DIR"), "/ecommerce.v1.validate.rs"));
    }
    #[allow(unused_imports, reason = "not every package needs every name")]
    pub mod greeter {
        use super::super::greeter::*;
        include!(concat!(env!("OUT_DIR"), "/greeter.validate.rs"));
    }
    #[allow(unused_imports, reason = "not every package needs every name")]
    pub mod user_v1 {
        use super::super::user::v1::*;
        include!(concat!(env!("OUT_DIR"), "/user.v1.validate.rs"));
    }
    #[allow(unused_imports, reason = "not every package needs every name")]
    pub mod user_v2 {
        use super::super::user::v2::*;
        include!(concat!(env!("OUT_DIR"), "/user.v2.validate.rs"));
    }
}

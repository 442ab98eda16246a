//! What an RPC is.
//!
//! This room holds the nouns every other room speaks: [`Rpc`] (the one record an RPC carries), [`Method`], [`Dialect`],
//! [`Deadline`], [`Status`] and [`Code`], the length-prefixed [`Envelopes`] and the one [`Body`]. [`current`] tells whatever a
//! handler calls which RPC it works for.
//!
//! It opens nothing, spawns nothing and reads no file; it knows neither tonic nor connectrpc. Everything that carries an
//! RPC in this workspace has one shape:
//!
//! ```text
//! Service<http::Request<B>>  ->  http::Response<core::Body>      Error = Infallible
//! ```
//!
//! ```
//! use highball_core::{Code, Method, Status};
//!
//! let method = Method::parse(&http::uri::PathAndQuery::from_static("/shop.v1.Orders/Get")).unwrap();
//! assert_eq!(method.to_string(), "shop.v1.Orders/Get");
//!
//! let response = Status::new(Code::NotFound, "no such order").into_response();
//! assert_eq!(response.headers()["grpc-status"], "5");
//! ```
//!
//! Invariants: only [`status`] turns anything into a gRPC code; a [`BodyError`] always keeps its `source()` chain, because
//! hyper reads the reset code from there; an [`Rpc`] is written once, where the RPC enters.

pub mod backoff;
pub mod body;
pub mod caller;
pub mod current;
pub mod deadline;
mod details;
pub mod dialect;
pub mod envelope;
pub mod method;
pub mod rpc;
pub mod status;
pub mod units;

pub use backoff::{Backoff, BackoffSettings};
pub use body::{Body, BodyError, BoxError};
pub use caller::Caller;
pub use current::Current;
pub use deadline::{Deadline, DeadlineOrigin};
pub use dialect::Dialect;
pub use envelope::Envelopes;
pub use method::{Method, MethodKind};
pub use rpc::{Connection, Peer, Rpc};
pub use status::{Code, Status};
pub use units::ByteSize;

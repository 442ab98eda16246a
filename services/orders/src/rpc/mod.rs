//! The services: from messages to the domain and the store, and back.

#![allow(
    refining_impl_trait_internal,
    reason = "the services answer plain messages; nobody outside names their return types"
)]

mod batch;
mod convert;
mod errors;
mod greeter;
mod orders;
mod process;
mod users;
mod users_v1;
mod users_v2;
mod validate;
mod watch;

use std::sync::Arc;

use connectrpc::compression::{CompressionRegistry, GzipProvider};
use connectrpc::{ConnectRpcService, Limits, Router};
use highball::Draining;

use crate::store::Store;

/// Greatest message, decompressed: the usual gRPC limit, and that of the server in front.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// Most memory for the elements of one message. An order with all its items needs a hundredth; small elements would
/// otherwise let 4 MiB on the wire grow to a hundred.
const MAX_ELEMENT_MEMORY: usize = 8 * 1024 * 1024;

/// All services behind one door.
pub(crate) fn service(store: &Store, draining: &Draining) -> ConnectRpcService {
    let users = users::Users::new(store.clone());
    let router = Router::new()
        .add_service(Arc::new(orders::Orders::new(store.clone(), draining.clone())))
        .add_service(Arc::new(users_v1::UsersV1::new(users.clone())))
        .add_service(Arc::new(users_v2::UsersV2::new(users)))
        .add_service(Arc::new(greeter::Greeter));
    let limits = Limits::default()
        .with_max_message_size(MAX_MESSAGE)
        .with_max_request_body_size(MAX_MESSAGE + 1_024)
        .with_element_memory_limit(MAX_ELEMENT_MEMORY);
    // For responses: the server in front hands requests on uncompressed.
    let gzip = CompressionRegistry::new().register(GzipProvider::default());
    ConnectRpcService::new(router).with_limits(limits).with_compression(gzip)
}

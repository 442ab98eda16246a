//! What an operator may decide.

use std::time::Duration;

/// Limits and choices of a [`Gateway`](crate::Gateway). Defaults are safe for the internet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The largest message in either direction, in bytes, as JSON and as protobuf. Default 4 MiB, as everywhere in gRPC. Beyond
    /// it: RESOURCE_EXHAUSTED.
    pub message_size_bytes_max: usize,
    /// What one JSON text may take in memory once it is read, estimated before it is read. Default 64 MiB. An array of small
    /// objects takes more than a hundred times its text; a text beyond it is refused with RESOURCE_EXHAUSTED.
    pub json_memory_size_bytes_max: usize,
    /// Whether fields that the descriptors do not know are left out instead of refused: JSON fields, and query parameters of
    /// REST. Default false, because a field that is misspelt and ignored is found too late.
    pub ignore_unknown_fields: bool,
    /// Whether the answer to a path that no method has names the templates that come closest. Default true: they are the
    /// published interface.
    pub suggest_templates: bool,
    /// How long the head of a streamed response waits for the first message, so that an error before it has its HTTP status.
    /// Default 5 s; after it the head goes out with status 200.
    pub first_message_wait: Duration,
    /// Whether REST treats headers as grpc-gateway does: `Grpc-Metadata-NAME` of a request is metadata `name`, and metadata of
    /// a response is `Grpc-Metadata-NAME`. Default false: headers are metadata under their own names, and a prefix would let a
    /// caller send one that a proxy on the way means to take away.
    pub grpc_gateway_headers: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            message_size_bytes_max: 4 << 20,
            json_memory_size_bytes_max: 64 << 20,
            ignore_unknown_fields: false,
            suggest_templates: true,
            first_message_wait: Duration::from_secs(5),
            grpc_gateway_headers: false,
        }
    }
}

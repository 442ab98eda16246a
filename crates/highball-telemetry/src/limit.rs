//! The limits, as metrics name them.

/// A limit that refused something; the label value is the name of the setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// `message_size_bytes_max`, inbound.
    InboundMessageSize,
    /// `message_size_bytes_max`, inbound: a compressed message that is too large once it is decompressed.
    DecompressedMessageSize,
    /// `decompression_ratio_max`.
    DecompressionRatio,
    /// `message_size_bytes_max`, outbound.
    OutboundMessageSize,
    /// `concurrent_rpcs_max`.
    ConcurrentRpcs,
    /// `adaptive_concurrency`.
    AdaptiveConcurrency,
    /// `connection.unfinished_size_bytes_max`.
    UnfinishedSize,
    /// `rates`.
    Rate,
    /// `failed_tokens`.
    FailedTokens,
    /// `connections_max`.
    Connections,
    /// `connections_per_peer_max`.
    ConnectionsPerPeer,
    /// `connection.buffered_size_bytes_max`: a response waits for others of its connection to go out.
    BufferedSize,
    /// `connection.write_stall`: a caller did not read its response.
    WriteStall,
}

impl Limit {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::InboundMessageSize => "inbound_message_size",
            Self::DecompressedMessageSize => "decompressed_message_size",
            Self::DecompressionRatio => "decompression_ratio",
            Self::OutboundMessageSize => "outbound_message_size",
            Self::ConcurrentRpcs => "concurrent_rpcs",
            Self::AdaptiveConcurrency => "adaptive_concurrency",
            Self::UnfinishedSize => "unfinished_size",
            Self::Rate => "rate",
            Self::FailedTokens => "failed_tokens",
            Self::Connections => "connections",
            Self::ConnectionsPerPeer => "connections_per_peer",
            Self::BufferedSize => "buffered_size",
            Self::WriteStall => "write_stall",
        }
    }
}

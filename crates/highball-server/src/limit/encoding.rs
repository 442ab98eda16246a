//! The encodings of messages, and how far a compressed one may grow.

use std::fmt;

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status as Progress};
use highball_core::envelope::PREFIX_SIZE_BYTES;
use highball_core::{Body, Code, Status};
use highball_telemetry::Limit;
use http::{HeaderMap, HeaderName, HeaderValue, Response};

const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// What is understood, as the specification wants a refusal to list it (grpc doc/compression.md).
const UNDERSTOOD: HeaderValue = HeaderValue::from_static("identity,deflate,gzip");

/// A message that stays below this may have grown by any factor: it is too small to do harm, and runs of zeros are
/// honest data. The interoperability tests of gRPC send 271,828 zeros as less than 300 bytes
/// (grpc doc/interop-test-descriptions.md, `client_compressed_unary`).
const RATIO_FREE_SIZE_BYTES: usize = 512 << 10;

/// log2 of the window that deflate uses at most (RFC 1951).
const WINDOW_BITS: u8 = 15;

/// How far a message may grow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Bytes of the message itself.
    pub(crate) size_bytes_max: usize,
    /// Bytes of the message for each compressed byte.
    pub(crate) ratio_max: u32,
}

/// How the messages of a request are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    /// The format of RFC 1950, in spite of its name.
    Deflate,
    Gzip,
    /// Any: whoever gets the messages gets them as they are.
    Untouched,
}

impl Encoding {
    /// Takes the encoding out of the headers of a request: whoever reads them next gets identity messages.
    ///
    /// # Errors
    /// UNIMPLEMENTED when nobody here knows it; [`refused`] says what is known.
    pub(crate) fn take(headers: &mut HeaderMap) -> Result<Self, Status> {
        if !headers.contains_key(ENCODING) {
            return Ok(Self::Identity);
        }
        match headers.remove(ENCODING).as_ref().map(HeaderValue::as_bytes) {
            None | Some(b"identity" | b"") => Ok(Self::Identity),
            Some(b"gzip") => Ok(Self::Gzip),
            Some(b"deflate") => Ok(Self::Deflate),
            Some(_) => {
                Err(Status::new(Code::Unimplemented, "grpc-encoding must be identity, deflate or gzip"))
            }
        }
    }

    /// Leaves the messages as they are, and the headers that say how that is.
    pub(crate) fn leave(headers: &HeaderMap) -> Self {
        let mut names = headers.get_all(ENCODING).iter().map(HeaderValue::as_bytes);
        if names.all(|name| matches!(name, b"identity" | b"")) { Self::Identity } else { Self::Untouched }
    }

    /// Decompresses one message into an envelope that says so. Memory and work end at the bounds, however far the message
    /// would have grown.
    pub(super) fn inflate(self, compressed: &[u8], bounds: Bounds) -> Result<Bytes, Refused> {
        let size_max = bounds.size_bytes_max.min(bounds.by_ratio(compressed.len()));
        let mut inflater = match self {
            Self::Gzip => Decompress::new_gzip(WINDOW_BITS),
            Self::Identity | Self::Deflate | Self::Untouched => Decompress::new(true),
        };
        // One byte more than allowed tells a message that is too large from one that just fits.
        let capacity_max = PREFIX_SIZE_BYTES + size_max + 1;
        let guess = PREFIX_SIZE_BYTES + compressed.len().saturating_mul(4).max(256);
        let mut sealed = Vec::with_capacity(guess.min(capacity_max));
        sealed.extend_from_slice(&[0; PREFIX_SIZE_BYTES]);
        // An empty message stays empty, as libraries leave it.
        while !compressed.is_empty() {
            if sealed.len() == sealed.capacity() {
                sealed.reserve_exact(sealed.len().min(capacity_max - sealed.len()));
            }
            let before = (inflater.total_in(), sealed.len());
            let left = usize::try_from(before.0).ok().and_then(|taken| compressed.get(taken..));
            let progress =
                inflater.decompress_vec(left.unwrap_or_default(), &mut sealed, FlushDecompress::None);
            if sealed.len() >= capacity_max {
                return Err(Refused::grown(compressed.len(), size_max, bounds));
            }
            match progress {
                Ok(Progress::StreamEnd) => break,
                Ok(_) if before != (inflater.total_in(), sealed.len()) => {}
                Ok(_) | Err(_) => return Err(Refused::Malformed),
            }
        }
        // One message is one stream; what follows it is nobody's.
        if inflater.total_in() != compressed.len() as u64 {
            return Err(Refused::Malformed);
        }
        let size = u32::try_from(sealed.len() - PREFIX_SIZE_BYTES).unwrap_or(u32::MAX);
        if let Some(prefix) = sealed.get_mut(1..PREFIX_SIZE_BYTES) {
            prefix.copy_from_slice(&size.to_be_bytes());
        }
        Ok(sealed.into())
    }
}

impl Bounds {
    fn by_ratio(self, compressed: usize) -> usize {
        compressed.saturating_mul(self.ratio_max as usize).max(RATIO_FREE_SIZE_BYTES)
    }
}

/// Tells the caller what it may use instead.
pub(crate) fn refused(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(ACCEPT_ENCODING, UNDERSTOOD);
    response
}

/// Why a compressed message is not handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is larger than a message may be.
    TooLarge { size_bytes_max: usize },
    /// It grew by too large a factor.
    TooDense { compressed: usize, size_bytes_max: usize, ratio_max: u32 },
    /// It is not in the encoding it claims.
    Malformed,
}

impl Refused {
    fn grown(compressed: usize, size_max: usize, bounds: Bounds) -> Self {
        let Bounds { size_bytes_max, ratio_max } = bounds;
        if size_max == size_bytes_max {
            Self::TooLarge { size_bytes_max }
        } else {
            Self::TooDense { compressed, size_bytes_max: size_max, ratio_max }
        }
    }

    /// The limit that was hit, if it was one.
    pub(super) fn limit(self) -> Option<Limit> {
        match self {
            Self::TooLarge { .. } => Some(Limit::DecompressedMessageSize),
            Self::TooDense { .. } => Some(Limit::DecompressionRatio),
            Self::Malformed => None,
        }
    }

    /// What the caller is told. What cannot be decompressed is INTERNAL (grpc doc/statuscodes.md).
    pub(super) fn status(self) -> Status {
        let code = if self == Self::Malformed { Code::Internal } else { Code::ResourceExhausted };
        Status::new(code, self.to_string())
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { size_bytes_max } => write!(
                f,
                "request message is, decompressed, larger than the limit of {size_bytes_max} bytes \
                 (message_size_bytes_max)"
            ),
            Self::TooDense { compressed, size_bytes_max, ratio_max } => write!(
                f,
                "request message of {compressed} bytes is, decompressed, larger than {size_bytes_max} bytes and \
                 {ratio_max} times its size (decompression_ratio_max)"
            ),
            Self::Malformed => {
                f.write_str("request message cannot be decompressed: it is not in the encoding it claims")
            }
        }
    }
}

#[cfg(test)]
#[path = "encoding_tests.rs"]
mod tests;

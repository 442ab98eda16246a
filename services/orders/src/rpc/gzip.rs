//! gzip, the one encoding of messages. What is wrong with a compressed request is told in our words.

use buffa::bytes::Bytes;
use connectrpc::compression::{CompressionProvider, CompressionRegistry, GzipProvider};
use connectrpc::{ConnectError, ErrorCode};

/// The encodings the services read and write.
pub(super) fn registry() -> CompressionRegistry {
    CompressionRegistry::new().register(Gzip::default())
}

#[derive(Debug, Default)]
struct Gzip {
    inner: GzipProvider,
}

impl CompressionProvider for Gzip {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn compress(&self, data: &[u8]) -> Result<Bytes, ConnectError> {
        self.inner.compress(data)
    }

    fn decompressor<'a>(&self, data: &'a [u8]) -> Result<Box<dyn std::io::Read + 'a>, ConnectError> {
        self.inner.decompressor(data)
    }

    /// Stops at the limit, so how large the message would have become is not known.
    fn decompress_with_limit(&self, data: &[u8], max_size: usize) -> Result<Bytes, ConnectError> {
        let message = self.inner.decompress_with_limit(data, max_size);
        message.map_err(|cause| match cause.code {
            ErrorCode::ResourceExhausted => ConnectError::resource_exhausted(format!(
                "request message is, decompressed, larger than the limit of {max_size} bytes"
            )),
            ErrorCode::InvalidArgument => ConnectError::invalid_argument("request message is not valid gzip"),
            _ => cause,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(data: &[u8], max_size: usize) -> (ErrorCode, Option<String>) {
        let error = Gzip::default().decompress_with_limit(data, max_size).unwrap_err();
        (error.code, error.message)
    }

    #[test]
    fn a_message_of_the_limit_is_read_and_one_byte_more_is_not() {
        let gzip = Gzip::default();
        let small = gzip.compress(&[7; 100]).unwrap();
        assert_eq!(gzip.decompress_with_limit(&small, 100).unwrap(), [7; 100][..]);
        let sentence = "request message is, decompressed, larger than the limit of 99 bytes";
        assert_eq!(refused(&small, 99), (ErrorCode::ResourceExhausted, Some(sentence.into())));
    }

    #[test]
    fn what_is_not_gzip_is_told_without_the_words_of_a_library() {
        let whole = Gzip::default().compress(&[7; 100]).unwrap();
        for bad in [&b"not gzip, though long enough to be"[..], &whole[..whole.len() - 5]] {
            let sentence = "request message is not valid gzip";
            assert_eq!(refused(bad, 100), (ErrorCode::InvalidArgument, Some(sentence.into())));
        }
    }
}

//! The length-prefixed message of gRPC, walked without being decoded or copied.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes before each message: a compressed flag and a big-endian length.
pub const PREFIX_SIZE_BYTES: usize = 5;

/// Walks the messages of one direction of one RPC and refuses an oversized one as soon as its prefix has arrived, before
/// any of it is buffered.
///
/// DATA frame boundaries mean nothing to gRPC, so a prefix may come in pieces; the state here is those pieces, five bytes
/// at most. The size is the one on the wire: a compressed message is measured compressed here.
#[derive(Debug, Clone)]
pub struct Envelopes {
    size_bytes_max: usize,
    prefix: [u8; PREFIX_SIZE_BYTES],
    prefix_filled: usize,
    message_left: usize,
    /// Of the message that was begun last.
    message_size: usize,
    flags: u8,
    messages: u64,
    bytes: u64,
}

impl Envelopes {
    /// A walker at the start of a stream. `size_bytes_max` bounds one message, without its prefix.
    #[must_use]
    pub fn new(size_bytes_max: usize) -> Self {
        Self {
            size_bytes_max,
            prefix: [0; PREFIX_SIZE_BYTES],
            prefix_filled: 0,
            message_left: 0,
            message_size: 0,
            flags: 0,
            messages: 0,
            bytes: 0,
        }
    }

    /// Follows `chunk`, the next bytes of the stream.
    ///
    /// # Errors
    /// [`Oversized`] when a message announces more than the limit. The walker must not be used after that.
    pub fn walk(&mut self, mut chunk: &[u8]) -> Result<(), Oversized> {
        self.bytes += chunk.len() as u64;
        while !chunk.is_empty() {
            if self.message_left > 0 {
                let step = self.message_left.min(chunk.len());
                self.message_left -= step;
                chunk = chunk.get(step..).unwrap_or_default();
                continue;
            }
            let step = (PREFIX_SIZE_BYTES - self.prefix_filled).min(chunk.len());
            let (piece, rest) = chunk.split_at(step);
            for byte in piece {
                self.prefix[self.prefix_filled] = *byte;
                self.prefix_filled += 1;
            }
            chunk = rest;
            if self.prefix_filled == PREFIX_SIZE_BYTES {
                self.begin_message()?;
            }
        }
        Ok(())
    }

    fn begin_message(&mut self) -> Result<(), Oversized> {
        let [flag, a, b, c, d] = self.prefix;
        self.flags |= flag;
        let size_bytes = u32::from_be_bytes([a, b, c, d]) as usize;
        self.prefix_filled = 0;
        if size_bytes > self.size_bytes_max {
            return Err(Oversized { size_bytes, size_bytes_max: self.size_bytes_max });
        }
        self.message_left = size_bytes;
        self.message_size = size_bytes;
        self.messages += 1;
        Ok(())
    }

    /// Whether the stream may end here: not inside a prefix or a message.
    #[must_use]
    pub fn at_boundary(&self) -> bool {
        self.prefix_filled == 0 && self.message_left == 0
    }

    /// Bytes that have come of a message that is not whole; 0 between messages.
    #[must_use]
    pub fn unfinished_size_bytes(&self) -> usize {
        if self.message_left == 0 { 0 } else { self.message_size - self.message_left }
    }

    /// The bits of the flags of all messages begun so far: 0 when none was compressed, 1 when one was. Anything else is no
    /// gRPC.
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// Messages begun so far.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Bytes walked so far, prefixes included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// A message larger than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Oversized {
    /// What the prefix announced.
    pub size_bytes: usize,
    /// What is allowed.
    pub size_bytes_max: usize,
}

impl fmt::Display for Oversized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "message of {} bytes is larger than the limit of {} bytes",
            self.size_bytes, self.size_bytes_max
        )
    }
}

impl std::error::Error for Oversized {}

/// Puts an uncompressed message into its envelope. Messages are at most 4 GiB - 1 by the width of the prefix; callers
/// bound theirs far below.
#[must_use]
pub fn seal(message: &[u8]) -> Bytes {
    let size = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut sealed = BytesMut::with_capacity(PREFIX_SIZE_BYTES + message.len());
    sealed.put_u8(0);
    sealed.put_u32(size);
    sealed.put_slice(message.get(..size as usize).unwrap_or(message));
    sealed.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_oversized_message_is_refused_at_its_prefix() {
        let mut walker = Envelopes::new(8);
        let refused = walker.walk(&[0, 0, 0, 0, 9]).unwrap_err();
        assert_eq!(refused, Oversized { size_bytes: 9, size_bytes_max: 8 });
    }

    #[test]
    fn a_stream_that_stops_inside_a_message_is_not_at_a_boundary() {
        let mut walker = Envelopes::new(8);
        walker.walk(&[0, 0, 0]).unwrap();
        assert!(!walker.at_boundary());
        walker.walk(&[0, 2, b'a']).unwrap();
        assert!(!walker.at_boundary());
        walker.walk(b"b").unwrap();
        assert!(walker.at_boundary());
    }

    proptest! {
        #[test]
        fn cutting_the_stream_anywhere_finds_the_same_messages(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8),
            cut in 1_usize..9,
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(|message| seal(message)).collect();
            let mut walker = Envelopes::new(64);
            for chunk in stream.chunks(cut) {
                walker.walk(chunk).unwrap();
            }
            prop_assert!(walker.at_boundary());
            prop_assert_eq!(walker.messages(), messages.len() as u64);
            prop_assert_eq!(walker.bytes(), stream.len() as u64);
        }
    }
}

//! Messages out of the bytes of a stream that has a flag and a length before each: gRPC, gRPC-Web, Connect.

use bytes::{Buf as _, Bytes, BytesMut};
use highball_core::envelope::{Oversized, PREFIX_SIZE_BYTES};

/// Collects one message at a time. A message that came in one piece is not copied; one that came in pieces takes its size in
/// memory, at most the limit, and never more than has arrived.
#[derive(Debug)]
pub(crate) struct Frames {
    size_bytes_max: usize,
    /// What came last, while nothing unfinished stands before it.
    chunk: Bytes,
    /// A message that came in pieces, and what came behind it.
    pieces: BytesMut,
}

impl Frames {
    /// `size_bytes_max` bounds one message, without its prefix.
    pub(crate) fn new(size_bytes_max: usize) -> Self {
        Self { size_bytes_max, chunk: Bytes::new(), pieces: BytesMut::new() }
    }

    /// Adds the next bytes of the stream. Take out what is whole before the next call: what is not taken is kept.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        if self.is_empty() {
            self.chunk = chunk;
            return;
        }
        self.pieces.extend_from_slice(&std::mem::take(&mut self.chunk));
        self.pieces.extend_from_slice(&chunk);
    }

    /// The next whole message with its flags; `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`Oversized`] as soon as a prefix announces more than the limit.
    pub(crate) fn pop(&mut self) -> Result<Option<(u8, Bytes)>, Oversized> {
        let whole: &[u8] = if self.pieces.is_empty() { &self.chunk } else { &self.pieces };
        let Some(&[flags, a, b, c, d]) = whole.first_chunk::<PREFIX_SIZE_BYTES>() else {
            return Ok(None);
        };
        let size_bytes = u32::from_be_bytes([a, b, c, d]) as usize;
        if size_bytes > self.size_bytes_max {
            return Err(Oversized { size_bytes, size_bytes_max: self.size_bytes_max });
        }
        if whole.len() - PREFIX_SIZE_BYTES < size_bytes {
            return Ok(None);
        }
        let message = if self.pieces.is_empty() {
            self.chunk.advance(PREFIX_SIZE_BYTES);
            self.chunk.split_to(size_bytes)
        } else {
            self.pieces.advance(PREFIX_SIZE_BYTES);
            self.pieces.split_to(size_bytes).freeze()
        };
        Ok(Some((flags, message)))
    }

    /// Whether nothing unfinished is kept: the stream may end here.
    pub(crate) fn is_empty(&self) -> bool {
        self.chunk.is_empty() && self.pieces.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use highball_core::envelope::seal;
    use proptest::prelude::*;

    #[test]
    fn a_message_that_is_too_large_is_refused_at_its_prefix() {
        let mut frames = Frames::new(3);
        frames.push(Bytes::from_static(&[0, 0, 0, 0, 4]));
        assert_eq!(frames.pop(), Err(Oversized { size_bytes: 4, size_bytes_max: 3 }));
    }

    proptest! {
        #[test]
        fn cutting_the_stream_anywhere_gives_the_same_messages(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8),
            cut in 1_usize..60,
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(|message| seal(message)).collect();
            let mut frames = Frames::new(64);
            let mut found = Vec::new();
            for chunk in stream.chunks(cut) {
                frames.push(Bytes::copy_from_slice(chunk));
                while let Some((0, message)) = frames.pop().unwrap() {
                    found.push(message.to_vec());
                }
            }
            prop_assert!(frames.is_empty());
            prop_assert_eq!(found, messages);
        }
    }
}

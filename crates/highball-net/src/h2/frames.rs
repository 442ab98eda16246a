//! HTTP/2 frame heads, found in a byte stream that comes in any pieces (RFC 9113 §4.1).

/// Bytes of a frame head.
pub(crate) const HEAD_SIZE: usize = 9;
/// Bytes of a PING's payload.
pub(crate) const PING_SIZE: usize = 8;

/// DATA.
pub(crate) const DATA: u8 = 0x0;
/// HEADERS.
pub(crate) const HEADERS: u8 = 0x1;
/// PRIORITY.
pub(crate) const PRIORITY: u8 = 0x2;
/// RST_STREAM.
pub(crate) const RST_STREAM: u8 = 0x3;
/// SETTINGS.
pub(crate) const SETTINGS: u8 = 0x4;
/// PING.
pub(crate) const PING: u8 = 0x6;
/// GOAWAY.
pub(crate) const GOAWAY: u8 = 0x7;
/// WINDOW_UPDATE.
pub(crate) const WINDOW_UPDATE: u8 = 0x8;
/// CONTINUATION.
pub(crate) const CONTINUATION: u8 = 0x9;

/// ACK, of SETTINGS and PING.
const ACK: u8 = 0x1;
/// END_STREAM, of DATA and HEADERS.
const END_STREAM: u8 = 0x1;
/// END_HEADERS, of HEADERS and CONTINUATION.
const END_HEADERS: u8 = 0x4;

/// One frame head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) size: u32,
}

impl Head {
    pub(crate) fn is_ack(&self) -> bool {
        self.flags & ACK != 0
    }

    pub(crate) fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    pub(crate) fn ends_headers(&self) -> bool {
        self.flags & END_HEADERS != 0
    }
}

/// Follows one direction of a connection, frame by frame.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    head: [u8; HEAD_SIZE],
    filled: usize,
    payload_left: usize,
}

impl Frames {
    /// Takes bytes up to and including the next frame head; the head, if it was completed, and what follows it.
    pub(crate) fn next<'a>(&mut self, bytes: &'a [u8]) -> (Option<Head>, &'a [u8]) {
        let payload = self.payload_left.min(bytes.len());
        self.payload_left -= payload;
        let (_, rest) = bytes.split_at(payload);
        // Nearly always whole.
        if self.filled == 0
            && let Some((head, rest)) = rest.split_first_chunk()
        {
            return (Some(self.begin(*head)), rest);
        }
        let (piece, rest) = rest.split_at(rest.len().min(HEAD_SIZE - self.filled));
        for byte in piece {
            self.head[self.filled] = *byte;
            self.filled += 1;
        }
        if self.filled < HEAD_SIZE {
            return (None, rest);
        }
        self.filled = 0;
        (Some(self.begin(self.head)), rest)
    }

    fn begin(&mut self, head: [u8; HEAD_SIZE]) -> Head {
        let [a, b, c, kind, flags, s0, s1, s2, s3] = head;
        let size = u32::from_be_bytes([0, a, b, c]);
        self.payload_left = size as usize;
        // The highest bit is reserved and must be ignored.
        let stream = u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff;
        Head { kind, flags, stream, size }
    }

    /// Whether the next byte begins a frame.
    pub(crate) fn at_boundary(&self) -> bool {
        self.filled == 0 && self.payload_left == 0
    }

    /// Bytes that may be taken without passing a boundary; zero at one. A head that is cut is completed first.
    pub(crate) fn until_boundary(&self) -> usize {
        if self.filled > 0 { HEAD_SIZE - self.filled } else { self.payload_left }
    }
}

/// A GOAWAY frame with debug data (RFC 9113 §6.8).
pub(crate) fn goaway(last_stream: u32, code: u32, debug: &str) -> Vec<u8> {
    let size = u32::try_from(8 + debug.len()).unwrap_or(8);
    let [_, a, b, c] = size.to_be_bytes();
    let mut frame = vec![a, b, c, GOAWAY, 0, 0, 0, 0, 0];
    frame.extend_from_slice(&last_stream.to_be_bytes());
    frame.extend_from_slice(&code.to_be_bytes());
    frame.extend_from_slice(debug.as_bytes());
    frame
}

/// A PING frame (RFC 9113 §6.7).
pub(crate) fn ping(payload: [u8; PING_SIZE]) -> Vec<u8> {
    let mut frame = vec![0, 0, 8, PING, 0, 0, 0, 0, 0];
    frame.extend_from_slice(&payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_found_however_the_stream_is_cut() {
        let mut stream = goaway(7, 11, "bye");
        stream.extend([0, 0, 2, DATA, END_STREAM, 0x80, 0, 0, 5, b'h', b'i']);
        stream.extend([0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0]);
        let want = [
            Head { kind: GOAWAY, flags: 0, stream: 0, size: 11 },
            Head { kind: DATA, flags: END_STREAM, stream: 5, size: 2 },
            Head { kind: SETTINGS, flags: ACK, stream: 0, size: 0 },
        ];
        for cut in 1..stream.len() {
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            for mut chunk in stream.chunks(cut) {
                while !chunk.is_empty() {
                    let (head, rest) = frames.next(chunk);
                    seen.extend(head);
                    chunk = rest;
                }
            }
            assert_eq!(seen, want, "cut at {cut}");
            assert!(frames.at_boundary());
        }
    }
}

//! One connection of the raw backend: bytes in, bytes out.
//!
//! Header blocks are skipped, not decoded: every request gets the same answer. What it sends uses no dynamic table, so
//! there is nothing to remember. Flow control is honoured both ways.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::mem;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The largest frame either side sends: the default of RFC 9113, section 6.5.2.
const FRAME_SIZE_BYTES_MAX: usize = 16_384;

/// The largest request; more ends the connection.
const BODY_SIZE_BYTES_MAX: usize = 4 << 20;

/// Streams at a time, as announced; more end the connection.
const STREAMS_MAX: u32 = 1024;

/// What waits for a peer that does not read; more ends the connection.
const OUTPUT_SIZE_BYTES_MAX: usize = 64 << 20;

/// The window of a stream: any request fits.
const STREAM_WINDOW: u32 = 16 << 20;

/// The window of the connection beyond the 65,535 bytes it starts with, topped up when half of it is used.
const CONNECTION_WINDOW: u32 = 1 << 30;

/// What is read at a time.
const INPUT_SIZE_BYTES: usize = 128 << 10;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

const MAX_CONCURRENT_STREAMS: u16 = 3;
const HEADER_TABLE_SIZE: u16 = 1;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// `:status: 200`, `content-type: application/grpc`; literals that enter no table (RFC 7541, section 6.2.2).
const RESPONSE: &[u8] = b"\x88\x0f\x10\x10application/grpc";
/// `grpc-status: 0`.
const TRAILERS: &[u8] = b"\0\x0bgrpc-status\x010";
/// The dynamic table has no room from now on (RFC 7541, section 6.3).
const TABLE_SIZE_ZERO: u8 = 0x20;

/// A request, and then its answer.
#[derive(Debug)]
struct Stream {
    body: Vec<u8>,
    /// What the client lets us send.
    window: i64,
    started: bool,
    sent: usize,
}

/// A connection's state.
#[derive(Debug)]
pub(super) struct Connection {
    input: Vec<u8>,
    filled: usize,
    output: Vec<u8>,
    written: usize,
    greeted: bool,
    /// The stream whose header block goes on in the next frame, and whether that ends the request.
    in_block: Option<(u32, bool)>,
    /// The peer wants a smaller table than the default, and must be told that it has one.
    shrink_table: bool,
    window: i64,
    initial_window: i64,
    unacknowledged: u32,
    streams: HashMap<u32, Stream>,
    /// Complete requests whose answers wait for a window, in their order.
    blocked: Vec<u32>,
    answered: u64,
}

/// A frame, its payload still in the input.
struct Frame<'a> {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: &'a [u8],
}

impl Connection {
    pub(super) fn new() -> Self {
        let mut output = Vec::with_capacity(INPUT_SIZE_BYTES);
        head(&mut output, 12, SETTINGS, 0, 0);
        for (id, value) in [(MAX_CONCURRENT_STREAMS, STREAMS_MAX), (INITIAL_WINDOW_SIZE, STREAM_WINDOW)] {
            output.extend_from_slice(&id.to_be_bytes());
            output.extend_from_slice(&value.to_be_bytes());
        }
        window_update(&mut output, CONNECTION_WINDOW);
        Self {
            input: vec![0; INPUT_SIZE_BYTES],
            filled: 0,
            output,
            written: 0,
            greeted: false,
            in_block: None,
            shrink_table: false,
            window: 65_535,
            initial_window: 65_535,
            unacknowledged: 0,
            streams: HashMap::new(),
            blocked: Vec::new(),
            answered: 0,
        }
    }

    /// Where the next bytes go; never empty.
    pub(super) fn space(&mut self) -> &mut [u8] {
        self.input.get_mut(self.filled..).unwrap_or_default()
    }

    /// `size` bytes of [`space`](Self::space) are filled: handles every frame that is whole.
    ///
    /// # Errors
    /// The peer breaks the protocol or a bound.
    pub(super) fn received(&mut self, size: usize) -> io::Result<()> {
        self.filled += size;
        // The frames are read while the rest of the connection changes.
        let mut input = mem::take(&mut self.input);
        let used = self.walk(input.get(..self.filled).unwrap_or_default());
        if let Ok(used) = used {
            input.copy_within(used..self.filled, 0);
            self.filled -= used;
        }
        self.input = input;
        if self.output.len() > OUTPUT_SIZE_BYTES_MAX {
            return Err(fault("the peer does not read"));
        }
        used.map(|_| ())
    }

    /// What is to be sent.
    pub(super) fn output(&self) -> &[u8] {
        self.output.get(self.written..).unwrap_or_default()
    }

    /// `size` bytes of [`output`](Self::output) are sent.
    pub(super) fn written(&mut self, size: usize) {
        self.written += size;
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        }
    }

    /// How many RPCs were answered since the last call.
    pub(super) fn take_answered(&mut self) -> u64 {
        mem::take(&mut self.answered)
    }

    /// How many bytes of whole frames were handled.
    fn walk(&mut self, mut rest: &[u8]) -> io::Result<usize> {
        let all = rest.len();
        if !self.greeted {
            let Some((preface, after)) = rest.split_at_checked(PREFACE.len()) else { return Ok(0) };
            if preface != PREFACE {
                return Err(fault("no HTTP/2"));
            }
            self.greeted = true;
            rest = after;
        }
        while let Some((&[a, b, c, kind, flags, d, e, f, g], after)) = rest.split_first_chunk::<9>() {
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if length > FRAME_SIZE_BYTES_MAX {
                return Err(fault("a frame is too large"));
            }
            let Some((payload, next)) = after.split_at_checked(length) else { break };
            let stream = u32::from_be_bytes([d & 0x7f, e, f, g]);
            self.frame(&Frame { kind, flags, stream, payload })?;
            rest = next;
        }
        Ok(all - rest.len())
    }

    fn frame(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        match (frame.kind, self.in_block) {
            (CONTINUATION, Some((stream, end))) if stream == frame.stream => {
                self.block(frame.flags, stream, end);
                Ok(())
            }
            (CONTINUATION, _) | (_, Some(_)) => Err(fault("a header block in pieces")),
            (HEADERS, _) => self.headers(frame),
            (DATA, _) => self.data(frame),
            (SETTINGS, _) if frame.flags & ACK == 0 => self.settings(frame.payload),
            (PING, _) if frame.flags & ACK == 0 => {
                head(&mut self.output, frame.payload.len(), PING, ACK, 0);
                self.output.extend_from_slice(frame.payload);
                Ok(())
            }
            (WINDOW_UPDATE, _) => self.window_update(frame),
            (RST_STREAM, _) => {
                self.streams.remove(&frame.stream);
                self.blocked.retain(|stream| *stream != frame.stream);
                Ok(())
            }
            // Priorities, GOAWAY, acknowledgements and what is not known need no answer.
            _ => Ok(()),
        }
    }

    fn headers(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        if self.streams.len() >= STREAMS_MAX as usize {
            return Err(fault("too many streams"));
        }
        let window = self.initial_window;
        let stream = Stream { body: Vec::new(), window, started: false, sent: 0 };
        self.streams.insert(frame.stream, stream);
        self.block(frame.flags, frame.stream, frame.flags & END_STREAM != 0);
        Ok(())
    }

    /// A piece of a header block was skipped; `end` is whether nothing comes after the block.
    fn block(&mut self, flags: u8, stream: u32, end: bool) {
        let whole = flags & END_HEADERS != 0;
        self.in_block = (!whole).then_some((stream, end));
        if whole && end {
            self.complete(stream);
        }
    }

    fn data(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        self.unacknowledged += u32::try_from(frame.payload.len()).unwrap_or(u32::MAX);
        if self.unacknowledged > CONNECTION_WINDOW / 2 {
            window_update(&mut self.output, self.unacknowledged);
            self.unacknowledged = 0;
        }
        let mut data = frame.payload;
        if frame.flags & PADDED != 0 {
            let (padding, rest) = data.split_first().ok_or_else(|| fault("no padding"))?;
            let length = rest.len().checked_sub(usize::from(*padding)).ok_or_else(|| fault("all padding"))?;
            data = rest.get(..length).unwrap_or_default();
        }
        // A stream that was reset may still have data under way.
        let Some(stream) = self.streams.get_mut(&frame.stream) else { return Ok(()) };
        if stream.body.len() + data.len() > BODY_SIZE_BYTES_MAX {
            return Err(fault("a request is too large"));
        }
        stream.body.extend_from_slice(data);
        if frame.flags & END_STREAM != 0 {
            self.complete(frame.stream);
        }
        Ok(())
    }

    fn settings(&mut self, payload: &[u8]) -> io::Result<()> {
        for entry in payload.chunks_exact(6) {
            let &[a, b, c, d, e, f] = entry else { break };
            let value = u32::from_be_bytes([c, d, e, f]);
            match u16::from_be_bytes([a, b]) {
                HEADER_TABLE_SIZE => self.shrink_table = value < 4096,
                INITIAL_WINDOW_SIZE => {
                    let change = i64::from(value) - self.initial_window;
                    self.initial_window = i64::from(value);
                    self.streams.values_mut().for_each(|stream| stream.window += change);
                }
                _ => {}
            }
        }
        head(&mut self.output, 0, SETTINGS, ACK, 0);
        self.unblock();
        Ok(())
    }

    fn window_update(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        let more = frame.payload.try_into().map_err(|_| fault("a window of another size"))?;
        let more = i64::from(u32::from_be_bytes(more));
        if frame.stream == 0 {
            self.window += more;
        } else if let Some(stream) = self.streams.get_mut(&frame.stream) {
            stream.window += more;
        }
        self.unblock();
        Ok(())
    }

    fn unblock(&mut self) {
        if !self.blocked.is_empty() {
            let mut blocked = mem::take(&mut self.blocked);
            blocked.retain(|stream| !self.answer(*stream));
            self.blocked = blocked;
        }
    }

    fn complete(&mut self, id: u32) {
        if !self.answer(id) {
            self.blocked.push(id);
        }
    }

    /// Sends as much of an answer as the windows allow, and returns whether that was all.
    fn answer(&mut self, id: u32) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else { return true };
        let output = &mut self.output;
        if !stream.started {
            stream.started = true;
            let update = mem::take(&mut self.shrink_table);
            head(output, RESPONSE.len() + usize::from(update), HEADERS, END_HEADERS, id);
            output.extend(update.then_some(TABLE_SIZE_ZERO));
            output.extend_from_slice(RESPONSE);
        }
        while let Some(rest) = stream.body.get(stream.sent..).filter(|rest| !rest.is_empty()) {
            let room = usize::try_from(self.window.min(stream.window)).unwrap_or(0);
            let size = room.min(rest.len()).min(FRAME_SIZE_BYTES_MAX);
            let Some(data) = rest.get(..size).filter(|data| !data.is_empty()) else { return false };
            head(output, size, DATA, 0, id);
            output.extend_from_slice(data);
            let used = i64::try_from(size).unwrap_or(i64::MAX);
            self.window -= used;
            stream.window -= used;
            stream.sent += size;
        }
        head(output, TRAILERS.len(), HEADERS, END_HEADERS | END_STREAM, id);
        output.extend_from_slice(TRAILERS);
        self.streams.remove(&id);
        self.answered += 1;
        true
    }
}

/// A frame's first nine bytes. `length` is at most the largest frame.
fn head(output: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    let [.., a, b, c] = length.to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    output.extend_from_slice(&[a, b, c, kind, flags, d, e, f, g]);
}

fn window_update(output: &mut Vec<u8>, size: u32) {
    head(output, 4, WINDOW_UPDATE, 0, 0);
    output.extend_from_slice(&size.to_be_bytes());
}

fn fault(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

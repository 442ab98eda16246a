//! An HTTP/2 client that sends whatever frames a test wants, and reads what comes back.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use highball_core::envelope::seal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What a client says first (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (RFC 9113 §6).
#[expect(missing_docs, reason = "the names are the specification's own")]
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// END_STREAM of DATA and HEADERS; ACK of SETTINGS and PING.
pub const END_STREAM: u8 = 1;
/// END_HEADERS of HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 4;

/// Longest wait for a server under test. A test that gets here has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A frame that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// Its payload.
    pub payload: Bytes,
}

impl Frame {
    /// The error code and debug data of a GOAWAY.
    #[must_use]
    pub fn goaway(&self) -> Option<(u32, String)> {
        let mut payload = self.payload.clone();
        if self.kind != kind::GOAWAY || payload.len() < 8 {
            return None;
        }
        payload.advance(4);
        let code = payload.get_u32();
        Some((code, String::from_utf8_lossy(&payload).into_owned()))
    }
}

/// A raw connection.
#[derive(Debug)]
pub struct Raw {
    io: TcpStream,
    buffer: BytesMut,
}

impl Raw {
    /// Connects and says nothing.
    ///
    /// # Panics
    /// When nobody listens.
    #[expect(clippy::disallowed_methods, reason = "a test's way to the server under test")]
    pub async fn silent(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).await.expect("the server listens"))
    }

    /// Takes a connection that a test made itself, and says nothing.
    #[must_use]
    pub fn over(io: TcpStream) -> Self {
        Self { io, buffer: BytesMut::new() }
    }

    /// Connects and sends the preface with these SETTINGS entries.
    pub async fn connect(addr: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut raw = Self::silent(addr).await;
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        raw.send(PREFACE).await;
        raw.send(&frame(kind::SETTINGS, 0, 0, &payload)).await;
        raw
    }

    /// Sends bytes. A server that has already closed is no failure: what it said last is still to be read.
    pub async fn send(&mut self, bytes: &[u8]) {
        // A server that stops reading is what some tests are about.
        if let Ok(Err(error)) = timeout(PATIENCE, self.io.write_all(bytes)).await {
            let gone = matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset);
            assert!(gone, "{error}");
        }
    }

    /// The next frame; `None` at the end of the connection.
    ///
    /// # Panics
    /// When nothing comes.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = split_frame(&mut self.buffer) {
                return Some(frame);
            }
            let read = timeout(PATIENCE, self.io.read_buf(&mut self.buffer)).await;
            match read.expect("the server says something") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Reads until a frame that `wanted` accepts; `None` when the connection ends before.
    pub async fn find(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        while let Some(frame) = self.next().await {
            if wanted(&frame) {
                return Some(frame);
            }
        }
        None
    }

    /// Reads to the end of the connection; the error code and debug data of its last GOAWAY.
    pub async fn ended(&mut self) -> Option<(u32, String)> {
        let mut last = None;
        while let Some(frame) = self.next().await {
            last = frame.goaway().or(last);
        }
        last
    }
}

fn split_frame(buffer: &mut BytesMut) -> Option<Frame> {
    let [a, b, c, kind, flags, s0, s1, s2, s3] = *buffer.first_chunk::<9>()?;
    let size = u32::from_be_bytes([0, a, b, c]) as usize;
    if buffer.len() < 9 + size {
        return None;
    }
    buffer.advance(9);
    let stream = u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff;
    Some(Frame { kind, flags, stream, payload: buffer.split_to(size).freeze() })
}

/// One frame.
///
/// # Panics
/// When the payload is longer than a frame can say.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [zero, a, b, c] = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    assert_eq!(zero, 0, "a short payload");
    let mut frame = vec![a, b, c, kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header block without compression (RFC 7541 §6.2.2).
///
/// # Panics
/// When a name or value is longer than 126 bytes.
#[must_use]
pub fn header_block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "{text} needs a longer length");
            block.extend(u8::try_from(text.len()));
            block.extend(text.as_bytes());
        }
    }
    block
}

/// The header block of a gRPC request.
#[must_use]
pub fn grpc_headers(path: &str) -> Vec<u8> {
    header_block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ])
}

/// A whole unary request on `stream`: HEADERS, and a message that ends the stream.
#[must_use]
pub fn grpc_request(stream: u32, path: &str, message: &[u8]) -> Vec<u8> {
    let mut bytes = frame(kind::HEADERS, END_HEADERS, stream, &grpc_headers(path));
    bytes.extend(frame(kind::DATA, END_STREAM, stream, &seal(message)));
    bytes
}

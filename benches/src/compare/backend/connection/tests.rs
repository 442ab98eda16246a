//! The connection against frames written by hand.

use super::*;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    head(&mut bytes, payload.len(), kind, flags, stream);
    bytes.extend_from_slice(payload);
    bytes
}

/// A connection that was greeted, its own greeting taken away.
fn connection() -> Connection {
    let mut connection = Connection::new();
    send(&mut connection, PREFACE).expect("a preface");
    connection.written(connection.output().len());
    connection
}

fn send(connection: &mut Connection, bytes: &[u8]) -> io::Result<()> {
    connection.space()[..bytes.len()].copy_from_slice(bytes);
    connection.received(bytes.len())
}

/// Kinds, flags, streams and lengths of what was sent since the last look.
fn sent(connection: &mut Connection) -> Vec<(u8, u8, u32, usize)> {
    let mut rest = connection.output();
    let mut frames = Vec::new();
    while let Some((&[a, b, c, kind, flags, d, e, f, g], after)) = rest.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        frames.push((kind, flags, u32::from_be_bytes([d, e, f, g]), length));
        rest = &after[length..];
    }
    connection.written(connection.output().len());
    frames
}

const HEAD: (u8, u8, u32, usize) = (HEADERS, END_HEADERS, 1, RESPONSE.len());
const TAIL: (u8, u8, u32, usize) = (HEADERS, END_HEADERS | END_STREAM, 1, TRAILERS.len());

#[test]
fn a_request_is_answered_when_it_is_complete() {
    let mut connection = connection();
    let mut bytes = frame(HEADERS, END_HEADERS, 1, b"\x82");
    bytes.extend(frame(DATA, 0, 1, b"ab"));
    send(&mut connection, &bytes).expect("frames");
    assert_eq!(sent(&mut connection), []);
    send(&mut connection, &frame(DATA, END_STREAM | PADDED, 1, b"\x01c\0")).expect("frames");
    assert!(connection.output().windows(3).any(|bytes| bytes == b"abc"));
    assert_eq!(sent(&mut connection), [HEAD, (DATA, 0, 1, 3), TAIL]);
    assert!(connection.streams.is_empty());
    assert_eq!((connection.take_answered(), connection.take_answered()), (1, 0));
}

#[test]
fn frames_may_come_in_pieces() {
    let mut connection = Connection::new();
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(HEADERS, END_STREAM, 1, b"\x82"));
    bytes.extend(frame(CONTINUATION, END_HEADERS, 1, b"\x86"));
    connection.written(connection.output().len());
    for byte in bytes {
        send(&mut connection, &[byte]).expect("a byte");
    }
    assert_eq!(sent(&mut connection), [HEAD, TAIL]);
}

#[test]
fn an_answer_waits_for_both_windows() {
    let mut connection = connection();
    send(&mut connection, &frame(SETTINGS, 0, 0, b"\0\x04\0\0\0\x05")).expect("settings");
    assert_eq!(sent(&mut connection), [(SETTINGS, ACK, 0, 0)]);
    connection.window = 7;
    let mut bytes = frame(HEADERS, END_HEADERS, 1, b"\x82");
    bytes.extend(frame(DATA, END_STREAM, 1, b"0123456789"));
    send(&mut connection, &bytes).expect("frames");
    assert_eq!(sent(&mut connection), [HEAD, (DATA, 0, 1, 5)]);
    send(&mut connection, &frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9])).expect("an update");
    assert_eq!(sent(&mut connection), [(DATA, 0, 1, 2)]);
    send(&mut connection, &frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 9])).expect("an update");
    assert_eq!(sent(&mut connection), [(DATA, 0, 1, 3), TAIL]);
}

#[test]
fn a_smaller_header_table_is_confirmed_once() {
    let mut connection = connection();
    send(&mut connection, &frame(SETTINGS, 0, 0, b"\0\x01\0\0\0\0")).expect("settings");
    sent(&mut connection);
    send(&mut connection, &frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x82")).expect("a request");
    assert_eq!(connection.output().get(9), Some(&TABLE_SIZE_ZERO));
    assert_eq!(sent(&mut connection), [(HEADERS, END_HEADERS, 1, RESPONSE.len() + 1), TAIL]);
    send(&mut connection, &frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x82")).expect("a request");
    assert_eq!(sent(&mut connection), [HEAD, TAIL]);
}

#[test]
fn a_ping_is_answered_and_a_reset_forgotten() {
    let mut connection = connection();
    send(&mut connection, &frame(HEADERS, END_HEADERS, 1, b"\x82")).expect("a request");
    send(&mut connection, &frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])).expect("a reset");
    send(&mut connection, &frame(DATA, END_STREAM, 1, b"late")).expect("data");
    send(&mut connection, &frame(PING, 0, 0, b"12345678")).expect("a ping");
    assert_eq!(sent(&mut connection), [(PING, ACK, 0, 8)]);
}

#[test]
fn a_breach_ends_the_connection() {
    assert!(send(&mut Connection::new(), b"GET / HTTP/1.1\r\nhost: nowhere\r\n\r\n").is_err());
    let mut large = Vec::new();
    head(&mut large, FRAME_SIZE_BYTES_MAX + 1, DATA, 0, 1);
    assert!(send(&mut connection(), &large).is_err());
    assert!(send(&mut connection(), &frame(CONTINUATION, END_HEADERS, 1, b"")).is_err());
    assert!(send(&mut connection(), &frame(DATA, PADDED, 1, b"\x02a")).is_err());
    assert!(send(&mut connection(), &frame(WINDOW_UPDATE, 0, 0, b"123")).is_err());
}

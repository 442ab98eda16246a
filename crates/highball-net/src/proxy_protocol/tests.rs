//! Headers of both versions, whole, in pieces, cut short and wrong.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use highball_core::caller::Process;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex};

use super::*;

/// What comes after the header: the preface of HTTP/2.
const REST: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream that gives its bytes in pieces, then ends. It counts what was taken.
struct Pieces {
    bytes: Vec<u8>,
    taken: usize,
    piece: usize,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let rest = &self.bytes[self.taken..];
        let piece = rest.len().min(buf.remaining()).min(self.piece);
        buf.put_slice(&rest[..piece]);
        self.taken += piece;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<std::io::Result<usize>> {
        panic!("nothing is said to a proxy")
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn proxy() -> Peer {
    tcp("192.0.2.1:4000")
}

fn tcp(addr: &str) -> Peer {
    Peer::Tcp(addr.parse::<SocketAddr>().unwrap())
}

/// The peer, and what a next reader finds.
async fn outcome(bytes: &[u8], piece: usize, peer: Peer) -> Result<(Peer, Vec<u8>), Reason> {
    let io = Pieces { bytes: bytes.to_vec(), taken: 0, piece };
    let (mut io, peer) = accept(Box::new(io), peer).await.map_err(|error| error.reason())?;
    let mut rest = Vec::new();
    io.read_to_end(&mut rest).await.unwrap();
    Ok((peer, rest))
}

fn v2(version_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&header::V2_SIGNATURE[..], &[version_command, family], &length, rest].concat()
}

const TCP4: [u8; 12] = [203, 0, 113, 9, 192, 0, 2, 1, 0xd4, 0x31, 0x01, 0xbb];

fn tcp6() -> Vec<u8> {
    let (from, to) = ("2001:db8::9".parse::<std::net::Ipv6Addr>(), "::1".parse::<std::net::Ipv6Addr>());
    [&from.unwrap().octets()[..], &to.unwrap().octets(), &[0xd4, 0x31, 0x01, 0xbb]].concat()
}

#[tokio::test]
async fn a_header_names_the_client_and_costs_the_next_reader_nothing() {
    let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(V1_LENGTH_BYTES_MAX - 16));
    let tlvs = [&TCP4[..], &[0x03, 0, 4, 1, 2, 3, 4], &[0x04, 0xff, 0xff]].concat();
    let longest_v2 = [&TCP4[..], &vec![0x04; V2_LENGTH_BYTES_MAX - TCP4.len()]].concat();
    let cases: Vec<(Vec<u8>, Peer)> = vec![
        (b"PROXY TCP4 203.0.113.9 192.0.2.1 54321 443\r\n".into(), tcp("203.0.113.9:54321")),
        (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n".into(), tcp("255.255.255.255:65535")),
        (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n".into(), tcp("0.0.0.0:0")),
        (b"PROXY TCP6 2001:db8::9 ::1 54321 443\r\n".into(), tcp("[2001:db8::9]:54321")),
        (b"PROXY TCP6 :: :: 0 0\r\n".into(), tcp("[::]:0")),
        (b"PROXY UNKNOWN\r\n".into(), proxy()),
        (b"PROXY UNKNOWN 203.0.113.9 what \xff ever\r\n".into(), proxy()),
        (longest.into_bytes(), proxy()),
        (v2(0x21, 0x11, &TCP4), tcp("203.0.113.9:54321")),
        (v2(0x21, 0x11, &tlvs), tcp("203.0.113.9:54321")),
        (v2(0x21, 0x11, &longest_v2), tcp("203.0.113.9:54321")),
        (v2(0x21, 0x21, &tcp6()), tcp("[2001:db8::9]:54321")),
        (v2(0x21, 0x31, &[b'x'; 216]), Peer::Unix(None)),
        (v2(0x20, 0x00, &[]), proxy()),
        (v2(0x20, 0x11, &TCP4), proxy()),
        (v2(0x20, 0xff, &[1, 2, 3]), proxy()),
        (v2(0x21, 0x00, &[9; 30]), proxy()),
    ];
    for (bytes, peer) in cases {
        let all = [&bytes, REST].concat();
        for piece in [1, 2, 3, 5, 11, 12, 13, 16, usize::MAX] {
            let found = outcome(&all, piece, proxy()).await;
            assert_eq!(found, Ok((peer.clone(), REST.to_vec())), "{:?}", bytes.escape_ascii().to_string());
        }
        // Ended anywhere within, it is an error of its own.
        for end in 0..bytes.len() {
            let reason = if end == 0 { Reason::Silent } else { Reason::Closed };
            assert_eq!(outcome(&bytes[..end], 1, proxy()).await, Err(reason));
        }
    }
}

#[tokio::test]
async fn what_is_no_header_is_refused_with_its_reason() {
    let too_long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(V1_LENGTH_BYTES_MAX - 15));
    let mut long_v2 = v2(0x21, 0x11, &TCP4);
    long_v2[14..16].copy_from_slice(&4097_u16.to_be_bytes());
    let cases: Vec<(Vec<u8>, Reason)> = vec![
        (REST.into(), Reason::NoHeader),
        (b"GET / HTTP/1.1\r\n\r\n".into(), Reason::NoHeader),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".into(), Reason::NoHeader),
        (b"proxy TCP4 203.0.113.9 192.0.2.1 1 2\r\n".into(), Reason::NoHeader),
        (b"\r\n\r\n\0\r\nQUIX\n".into(), Reason::NoHeader),
        // One byte is enough when no header has it: nobody is kept waiting for twelve.
        (b"G".into(), Reason::NoHeader),
        (b"PROXYT".into(), Reason::NoHeader),
        (too_long.into_bytes(), Reason::TooLong),
        ([b"PROXY ".as_slice(), &[b'x'; 200]].concat(), Reason::TooLong),
        (long_v2, Reason::TooLong),
        (v2(0x21, 0x12, &TCP4), Reason::Unsupported),
        (v2(0x21, 0x22, &tcp6()), Reason::Unsupported),
        (v2(0x21, 0x32, &[0; 216]), Reason::Unsupported),
        (v2(0x11, 0x11, &TCP4), Reason::Malformed),
        (v2(0x22, 0x11, &TCP4), Reason::Malformed),
        (v2(0x21, 0x13, &TCP4), Reason::Malformed),
        (v2(0x21, 0x41, &TCP4), Reason::Malformed),
        (v2(0x21, 0x01, &TCP4), Reason::Malformed),
        (v2(0x21, 0x11, &TCP4[..11]), Reason::Malformed),
        (v2(0x21, 0x21, &tcp6()[..35]), Reason::Malformed),
        (v2(0x21, 0x31, &[0; 215]), Reason::Malformed),
    ];
    for (bytes, reason) in cases {
        for piece in [1, 7, usize::MAX] {
            let found = outcome(&bytes, piece, proxy()).await;
            assert_eq!(found, Err(reason), "{:?}", bytes.escape_ascii().to_string());
        }
    }
}

#[tokio::test]
async fn a_line_that_others_might_read_differently_is_malformed() {
    for fields in [
        "TCP4 203.0.113.9 192.0.2.1 1\r\n",
        "TCP4 203.0.113.9 192.0.2.1 1 2 3\r\n",
        "TCP4  203.0.113.9 192.0.2.1 1 2\r\n",
        "TCP4 203.0.113.9 192.0.2.1 1 2 \r\n",
        "TCP4 203.0.113.09 192.0.2.1 1 2\r\n",
        "TCP4 203.0.113.256 192.0.2.1 1 2\r\n",
        "TCP4 203.0.113.9 192.0.2 1 2\r\n",
        "TCP4 2001:db8::9 ::1 1 2\r\n",
        "TCP6 203.0.113.9 192.0.2.1 1 2\r\n",
        "TCP6 [2001:db8::9] ::1 1 2\r\n",
        "TCP6 fe80::1%eth0 ::1 1 2\r\n",
        "TCP4 203.0.113.9 192.0.2.1 65536 2\r\n",
        "TCP4 203.0.113.9 192.0.2.1 +1 2\r\n",
        "TCP4 203.0.113.9 192.0.2.1 01 2\r\n",
        "TCP4 203.0.113.9 192.0.2.1 1 -2\r\n",
        "TCP4 203.0.113.9 192.0.2.1  2\r\n",
        "TCP4 203.0.113.9 192.0.2.1 1 2\n",
        "TCP4 203.0.113.9 192.0.2.1 1 2\rx",
        "TCP4 203.0.113.9\r\n192.0.2.1 1 2\r\n",
        "TCP5 203.0.113.9 192.0.2.1 1 2\r\n",
        "UDP4 203.0.113.9 192.0.2.1 1 2\r\n",
        "unknown\r\n",
        "UNKNOWNX\r\n",
        "\r\n      ",
    ] {
        let line = format!("PROXY {fields}");
        let all = [line.as_bytes(), REST].concat();
        assert_eq!(outcome(&all, 1, proxy()).await, Err(Reason::Malformed), "{line:?}");
    }
}

#[tokio::test]
async fn a_stranger_does_not_get_the_rights_of_the_proxys_process() {
    let process = Peer::Unix(Some(Process { uid: 7, gid: 7, pid: None }));
    let own = v2(0x20, 0, &[]);
    assert_eq!(outcome(&own, 99, process.clone()).await.unwrap().0, process);
    for unknown in [b"PROXY UNKNOWN\r\n".to_vec(), v2(0x21, 0, &[])] {
        assert_eq!(outcome(&unknown, 99, process.clone()).await.unwrap().0, Peer::Unix(None));
    }
    let client = v2(0x21, 0x11, &TCP4);
    assert_eq!(outcome(&client, 99, process).await.unwrap().0, tcp("203.0.113.9:54321"));
}

#[tokio::test]
async fn a_connection_from_elsewhere_is_refused_unread() {
    let proxies = Proxies::new(["198.51.100.0/24".parse().unwrap()]);
    let (ours, _theirs): (DuplexStream, DuplexStream) = duplex(64);
    // It does not wait for a byte, so it reads none.
    let error = proxies.accept(Box::new(ours), proxy()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::Untrusted);
    let (ours, mut theirs) = duplex(64);
    theirs.write_all(b"PROXY TCP4 203.0.113.9 192.0.2.1 1 2\r\n").await.unwrap();
    let (_, peer) = proxies.accept(Box::new(ours), tcp("198.51.100.4:1")).await.unwrap();
    assert_eq!(peer, tcp("203.0.113.9:1"));
}

#[tokio::test(start_paused = true)]
async fn a_slow_header_is_left_to_the_callers_time_limit() {
    let limit = Duration::from_secs(10);
    let (ours, mut theirs) = duplex(256);
    theirs.write_all(b"PROXY TCP4 203.0.113.9 192.0.").await.unwrap();
    let reading = tokio::time::timeout(limit, accept(Box::new(ours), proxy())).await;
    assert!(reading.is_err(), "it waits for as long as it is let");
    let error = ProxyError::timed_out(limit);
    assert_eq!((error.reason().label(), error.to_string().contains("10s")), ("timeout", true), "{error}");
    assert!(theirs.write_all(b"2.1").await.is_err(), "giving up closes the connection");
}

#[test]
fn labels_are_distinct() {
    let labels: std::collections::HashSet<_> = Reason::ALL.iter().map(|reason| reason.label()).collect();
    assert_eq!(labels.len(), Reason::ALL.len());
}

/// Bytes that get past the first check more often than random ones do.
fn almost() -> impl Strategy<Value = Vec<u8>> {
    let noise = prop::collection::vec(any::<u8>(), 0..300);
    let line = "PROXY (TCP4|TCP6|UNKNOWN)[ 0-9a-f:.]{0,110}(\r\n|\n|\r)?".prop_map(String::into_bytes);
    let binary = (
        prop::sample::select(vec![0x20_u8, 0x21, 0x22]),
        any::<u8>(),
        prop_oneof![0_u16..300, Just(5000)],
        noise.clone(),
    )
        .prop_map(|(command, family, length, rest)| {
            [&header::V2_SIGNATURE[..], &[command, family], &length.to_be_bytes(), &rest].concat()
        });
    prop_oneof![noise, line, binary]
}

/// Where a header ends, said once more and in other words.
fn header_length(bytes: &[u8]) -> Option<usize> {
    if bytes.starts_with(&header::V2_SIGNATURE) {
        return Some(16 + usize::from(u16::from_be_bytes([bytes[14], bytes[15]])));
    }
    bytes.windows(2).position(|pair| pair == b"\r\n").map(|end| end + 2)
}

proptest! {
    #[test]
    fn any_bytes_end_in_a_header_or_a_reason(bytes in almost(), piece in 1_usize..40) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let all = [&bytes, REST].concat();
        if let Ok((_, rest)) = runtime.block_on(outcome(&all, piece, proxy())) {
            let end = header_length(&all).unwrap();
            prop_assert_eq!(&rest, &all[end..], "not one byte lost or read too far");
        }
    }

    #[test]
    fn every_address_survives(ip in any::<std::net::IpAddr>(), port in any::<u16>(), binary in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let bytes = match (binary, ip) {
            (false, std::net::IpAddr::V4(ip)) => format!("PROXY TCP4 {ip} {ip} {port} 1\r\n").into_bytes(),
            (false, std::net::IpAddr::V6(ip)) => format!("PROXY TCP6 {ip} {ip} {port} 1\r\n").into_bytes(),
            (true, std::net::IpAddr::V4(ip)) => {
                v2(0x21, 0x11, &[&ip.octets()[..], &[0; 4], &port.to_be_bytes(), &[0; 2]].concat())
            }
            (true, std::net::IpAddr::V6(ip)) => {
                v2(0x21, 0x21, &[&ip.octets()[..], &[0; 16], &port.to_be_bytes(), &[0; 2]].concat())
            }
        };
        let found = runtime.block_on(outcome(&bytes, 9, proxy()));
        prop_assert_eq!(found, Ok((Peer::Tcp((ip, port).into()), Vec::new())));
    }
}

//! The two grammars, without IO.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use highball_core::Peer;

use super::error::Reason;

/// Bytes that tell the versions apart. The shortest header of all, `PROXY UNKNOWN` and CRLF, has 15.
pub(super) const START: usize = 12;

/// How version 2 begins. No text protocol does.
pub(super) const V2_SIGNATURE: [u8; START] = *b"\r\n\r\n\0\r\nQUIT\n";

const V1_SIGNATURE: &[u8] = b"PROXY ";

/// On whose behalf a proxy connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// Its own.
    Proxy,
    /// Somebody's, and it does not know whose.
    Unknown,
    /// This client's.
    Client(Peer),
}

/// Whether a header can begin with these bytes.
pub(super) fn may_begin_with(bytes: &[u8]) -> bool {
    V2_SIGNATURE.starts_with(bytes) || V1_SIGNATURE.starts_with(bytes) || bytes.starts_with(V1_SIGNATURE)
}

/// How many bytes a version 1 line still needs at least; 0 when it is complete.
pub(super) fn v1_missing(line: &[u8]) -> Result<usize, Reason> {
    match line.iter().position(|&byte| byte == b'\r' || byte == b'\n') {
        None => Ok(2),
        // CR and LF occur together and last; anything else would be read differently by somebody else.
        Some(end) => match line.get(end..) {
            Some(b"\r\n") => Ok(0),
            Some(b"\r") => Ok(1),
            _ => Err(Reason::Malformed),
        },
    }
}

/// A complete version 1 line (§2.1 of the specification): one space between fields, nothing optional.
pub(super) fn v1(line: &[u8]) -> Result<Source, Reason> {
    let line = line.strip_prefix(V1_SIGNATURE).and_then(|line| line.strip_suffix(b"\r\n"));
    let mut fields = line.ok_or(Reason::Malformed)?.split(|&byte| byte == b' ');
    let family = fields.next();
    if family == Some(b"UNKNOWN") {
        // Whatever it says after that is to be ignored.
        return Ok(Source::Unknown);
    }
    let [Some(source), Some(destination), Some(port), Some(to_port), None] =
        std::array::from_fn(|_| fields.next())
    else {
        return Err(Reason::Malformed);
    };
    let (ip, _, port, _) = match family {
        Some(b"TCP4") => {
            let ip = |field| parsed::<Ipv4Addr>(field).map(IpAddr::V4);
            (ip(source)?, ip(destination)?, v1_port(port)?, v1_port(to_port)?)
        }
        Some(b"TCP6") => {
            let ip = |field| parsed::<Ipv6Addr>(field).map(IpAddr::V6);
            (ip(source)?, ip(destination)?, v1_port(port)?, v1_port(to_port)?)
        }
        _ => return Err(Reason::Malformed),
    };
    Ok(Source::Client(Peer::Tcp((ip, port).into())))
}

fn v1_port(field: &[u8]) -> Result<u16, Reason> {
    match field {
        // `u16` would take a sign and leading zeros; the specification does not.
        [b'0'] => Ok(0),
        [b'1'..=b'9', ..] => parsed(field),
        _ => Err(Reason::Malformed),
    }
}

fn parsed<T: FromStr>(field: &[u8]) -> Result<T, Reason> {
    std::str::from_utf8(field).ok().and_then(|text| text.parse().ok()).ok_or(Reason::Malformed)
}

/// What a version 2 header says, by its 13th and 14th byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Local,
    Unspecified,
    Tcp4,
    Tcp6,
    Unix,
}

/// The kind of a version 2 header (§2.2).
pub(super) fn v2_kind(version_command: u8, family: u8) -> Result<Kind, Reason> {
    match (version_command, family) {
        // The family of LOCAL is to be ignored.
        (0x20, _) => Ok(Kind::Local),
        (0x21, 0x00) => Ok(Kind::Unspecified),
        (0x21, 0x11) => Ok(Kind::Tcp4),
        (0x21, 0x21) => Ok(Kind::Tcp6),
        (0x21, 0x31) => Ok(Kind::Unix),
        // Datagrams, which gRPC does not come in.
        (0x21, 0x12 | 0x22 | 0x32) => Err(Reason::Unsupported),
        // Values that a receiver must refuse.
        _ => Err(Reason::Malformed),
    }
}

/// What follows the fixed part of a version 2 header: source and destination address, source and destination port, and
/// then additional values, which are skipped.
pub(super) fn v2(kind: Kind, rest: &[u8]) -> Result<Source, Reason> {
    match kind {
        Kind::Local => Ok(Source::Proxy),
        Kind::Unspecified => Ok(Source::Unknown),
        Kind::Tcp4 => v2_tcp::<4, 12>(rest),
        Kind::Tcp6 => v2_tcp::<16, 36>(rest),
        // Two paths of 108 bytes, which say nothing of the process.
        Kind::Unix if rest.len() >= 216 => Ok(Source::Client(Peer::Unix(None))),
        Kind::Unix => Err(Reason::Malformed),
    }
}

fn v2_tcp<const ADDRESS: usize, const ALL: usize>(rest: &[u8]) -> Result<Source, Reason>
where
    IpAddr: From<[u8; ADDRESS]>,
{
    let addresses = rest.first_chunk::<ALL>().ok_or(Reason::Malformed)?;
    let ip = addresses.first_chunk::<ADDRESS>();
    let port = addresses.get(2 * ADDRESS..).and_then(<[u8]>::first_chunk::<2>);
    let (Some(ip), Some(port)) = (ip, port) else { return Err(Reason::Malformed) };
    Ok(Source::Client(Peer::Tcp((IpAddr::from(*ip), u16::from_be_bytes(*port)).into())))
}

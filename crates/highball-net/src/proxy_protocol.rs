//! The PROXY protocol, versions 1 and 2: who is calling, when a load balancer stands in between.
//!
//! A proxy that forwards TCP hides its clients' addresses. This protocol gives them back: the proxy begins each connection
//! with one header that names the client, before TLS and before HTTP. [`Proxies::accept`] reads exactly that header from a
//! connection that was just accepted, and nothing after it.
//!
//! **Trust.** Whoever can reach the listener can claim any address, and with it pass rate limits, caps and the access log
//! as somebody else. Turn this on only for a listener that nothing but your proxies can reach, and name them in
//! [`Proxies`]; a connection from elsewhere is refused unread. The header is then demanded: the specification forbids to
//! guess whether there is one, because a client could bring its own.
//!
//! The address is a statement of the proxy about the network. It is not proof of who the caller is.

mod error;
mod header;
mod trust;

use highball_core::Peer;
use tokio::io::AsyncReadExt as _;

use crate::Io;
use header::Source;

pub use error::{ProxyError, Reason};
pub use trust::{InvalidNetwork, Network, Proxies};

/// What follows the first 16 bytes of a version 2 header: addresses and additional values. The addresses need at most 216
/// bytes, and what proxies send beside them (TLS facts, an endpoint's id) a few hundred.
pub const V2_LENGTH_BYTES_MAX: usize = 4096;

/// A version 1 header with its CRLF; the specification's own bound.
pub const V1_LENGTH_BYTES_MAX: usize = 107;

/// Reads the header of a connection that was just accepted from `peer`, whoever that is. [`Proxies::accept`] asks that
/// first and is what a server uses.
///
/// Not one byte after the header is read: the byte stream that comes back is the one that went in, and TLS or HTTP begin
/// on it. The peer that comes back is the client that the header names. Where it names none, because the proxy speaks for
/// itself (`LOCAL`, a health check) or does not know (`UNKNOWN`, `AF_UNSPEC`), it is `peer`. In the latter case the process
/// behind a Unix socket is left out: it is the proxy's, and would lend a stranger its rights.
///
/// Additional values (TLVs) of version 2 are skipped, the CRC32c among them: TCP has its own checksum, and a proxy that is
/// trusted with addresses is trusted with it.
///
/// There is no time limit here: a peer may stay silent for ever, so the caller sets one (10 s is the house default) and
/// reports [`ProxyError::timed_out`].
///
/// # Errors
/// There is no header, or not one we read. The connection is closed without an answer.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub async fn accept(mut io: Box<dyn Io>, peer: Peer) -> Result<(Box<dyn Io>, Peer), ProxyError> {
    let start = start(&mut *io).await?;
    let source =
        if start == header::V2_SIGNATURE { v2(&mut *io).await? } else { v1(&mut *io, &start).await? };
    let peer = match (source, peer) {
        (Source::Proxy, peer) => peer,
        (Source::Unknown, Peer::Unix(_)) => Peer::Unix(None),
        (Source::Unknown, peer) => peer,
        (Source::Client(client), _) => client,
    };
    Ok((io, peer))
}

/// The first bytes, as many as every header has. Fails at the first one that no header has, so that somebody who waits
/// for an answer to less is not kept.
async fn start(io: &mut dyn Io) -> Result<[u8; header::START], ProxyError> {
    let mut start = [0; header::START];
    let mut filled = 0;
    while let Some(rest) = start.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        filled += match io.read(rest).await? {
            0 if filled == 0 => return Err(Reason::Silent.into()),
            0 => return Err(Reason::Closed.into()),
            read => read,
        };
        if !header::may_begin_with(start.get(..filled).unwrap_or_default()) {
            return Err(Reason::NoHeader.into());
        }
    }
    Ok(start)
}

/// The rest of a line. Its end is not known beforehand, so that no read asks for more than a line still needs at least.
async fn v1(io: &mut dyn Io, start: &[u8]) -> Result<Source, ProxyError> {
    let mut line = start.to_vec();
    loop {
        match header::v1_missing(&line)? {
            0 => return Ok(header::v1(&line)?),
            missing if line.len() + missing > V1_LENGTH_BYTES_MAX => return Err(Reason::TooLong.into()),
            missing => {
                let filled = line.len();
                line.resize(filled + missing, 0);
                io.read_exact(line.get_mut(filled..).unwrap_or_default()).await?;
            }
        }
    }
}

async fn v2(io: &mut dyn Io) -> Result<Source, ProxyError> {
    let mut fixed = [0; 4];
    io.read_exact(&mut fixed).await?;
    let [version_command, family, high, low] = fixed;
    let kind = header::v2_kind(version_command, family)?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > V2_LENGTH_BYTES_MAX {
        return Err(Reason::TooLong.into());
    }
    let mut rest = vec![0; length];
    io.read_exact(&mut rest).await?;
    Ok(header::v2(kind, &rest)?)
}

#[cfg(test)]
mod tests;

//! Why nobody could be dialled.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::Address;
use crate::tls::{HandshakeError, Reason};

/// How far a dial got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// There was no connection.
    Connect,
    /// There was one, and TLS failed.
    Tls,
    /// TLS worked, and the server does not speak HTTP/2 in it.
    Alpn,
}

/// A dial that failed, in one sentence for the operator. It names the address: never send it to a caller.
#[derive(Debug)]
pub struct DialError {
    stage: Stage,
    address: Address,
    sentence: String,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Io(io::Error),
    Tls(HandshakeError),
}

impl DialError {
    pub(super) fn connect(address: &Address, timeout: Duration, source: io::Error) -> Self {
        let sentence = explain(&source, address, timeout);
        Self { stage: Stage::Connect, address: address.clone(), sentence, source: Source::Io(source) }
    }

    pub(super) fn handshake(address: &Address, stage: Stage, source: HandshakeError) -> Self {
        let sentence = source.to_string();
        Self { stage, address: address.clone(), sentence, source: Source::Tls(source) }
    }

    /// How far it got.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Why the handshake failed, for metrics; `None` if there was none.
    #[must_use]
    pub fn handshake_reason(&self) -> Option<Reason> {
        match &self.source {
            Source::Io(_) => None,
            Source::Tls(error) => Some(error.reason()),
        }
    }

    /// Whether somebody said that nobody listens.
    #[must_use]
    pub fn was_refused(&self) -> bool {
        matches!(&self.source, Source::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused)
    }

    /// Whether it ran out of time.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        match &self.source {
            Source::Io(error) => error.kind() == io::ErrorKind::TimedOut,
            Source::Tls(error) => error.reason() == Reason::HandshakeTimeout,
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot dial {}: {}", self.address, self.sentence)
    }
}

impl Error for DialError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(match &self.source {
            Source::Io(error) => error,
            Source::Tls(error) => error,
        })
    }
}

fn explain(error: &io::Error, address: &Address, timeout: Duration) -> String {
    use io::ErrorKind as K;
    let sentence = match (error.kind(), address) {
        (K::ConnectionRefused, Address::Tcp(_)) => "nobody listens there",
        (K::ConnectionRefused, _) => "nobody listens on the socket any more",
        (K::NotFound, _) => "the socket does not exist; is the server running?",
        (K::PermissionDenied, Address::Unix(_)) => {
            "the socket's owner, group and mode do not let this user in"
        }
        (K::ConnectionReset, _) => "the connection was reset before it was one",
        (K::TimedOut, _) => {
            return format!("no connection within {timeout:?}; is something dropping packets?");
        }
        (K::HostUnreachable | K::NetworkUnreachable, _) => "there is no way to that address from here",
        // EAGAIN of a Unix socket.
        (K::WouldBlock, _) => "the server accepts too slowly; its backlog is full",
        _ => return error.to_string(),
    };
    sentence.to_owned()
}

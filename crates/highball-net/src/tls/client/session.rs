//! What was agreed on, and a stream that explains its errors.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use highball_core::caller::Certificate;
use rustls::ClientConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::explain::Dialled;
use crate::Io;
use crate::tls::{Alpn, clock, identity};

/// What a handshake agreed on, for channelz and the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The protocol spoken inside.
    pub alpn: Alpn,
    /// `TLSv1_3` or `TLSv1_2`; empty if unknown.
    pub version: &'static str,
    /// The cipher suite's registered name, such as `TLS13_AES_256_GCM_SHA384`; empty if unknown.
    pub cipher_suite: &'static str,
    /// The DNS names and URIs of the server's certificate, and when it expires; `None` if they cannot be read.
    pub certificate: Option<(Arc<Certificate>, SystemTime)>,
}

impl Session {
    pub(super) fn of(connection: &ClientConnection, alpn: Alpn) -> Self {
        let leaf = connection.peer_certificates().and_then(<[_]>::first);
        let certificate = leaf.and_then(|der| identity::parse(der)).and_then(|leaf| {
            let not_after = clock::system_time(leaf.validity().not_after);
            identity::names_of(&leaf).map(|names| (Arc::new(names), not_after))
        });
        Self {
            alpn,
            version: connection.protocol_version().and_then(|version| version.as_str()).unwrap_or_default(),
            cipher_suite: connection
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or_default(),
            certificate,
        }
    }
}

pub(super) fn explaining(stream: TlsStream<Box<dyn Io>>, dialled: Dialled) -> Box<dyn Io> {
    Box::new(Explaining { stream, dialled })
}

/// Passes everything through, and turns what rustls says when reading into a sentence.
struct Explaining {
    stream: TlsStream<Box<dyn Io>>,
    dialled: Dialled,
}

impl AsyncRead for Explaining {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        read.map_err(|error| self.dialled.explain_later(error))
    }
}

impl AsyncWrite for Explaining {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

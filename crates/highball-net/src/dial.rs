//! Dialling: from an address to a byte stream that can carry HTTP/2.

mod error;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::tls::client::{ClientTls, Session};
use crate::tls::{Alpn, HandshakeError, Reason};
use crate::{Address, ConnectOptions, Io, Platform};

pub use error::{DialError, Stage};

/// Time for one dial, connection and TLS together: what gRPC gives an attempt at least (doc/connection-backoff.md).
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(20);

/// Dials, again and again, in one way. Cheap to clone; clones share the TLS, and with it its reloads.
#[derive(Debug, Clone)]
pub struct Dialer {
    platform: Arc<dyn Platform>,
    tls: Option<Arc<ClientTls>>,
    timeout: Duration,
    options: ConnectOptions,
}

/// A byte stream to dial's end.
#[derive(Debug)]
pub struct Dialled {
    /// The stream, for plaintext to be written into. With TLS, its errors hold a sentence: see
    /// [`Connected::io`](crate::tls::client::Connected::io).
    pub io: Box<dyn Io>,
    /// Who was dialled.
    pub peer: Address,
    /// What TLS agreed on; `None` without TLS.
    pub session: Option<Session>,
}

impl Dialer {
    /// Without TLS. What is sent can be read and altered on the way: for loopback, Unix sockets, and networks that encrypt.
    #[must_use]
    pub fn plaintext(platform: Arc<dyn Platform>) -> Self {
        Self { platform, tls: None, timeout: DIAL_TIMEOUT, options: ConnectOptions::default() }
    }

    /// With TLS.
    #[must_use]
    pub fn tls(platform: Arc<dyn Platform>, tls: Arc<ClientTls>) -> Self {
        Self { tls: Some(tls), ..Self::plaintext(platform) }
    }

    /// With another time limit for one dial than [`DIAL_TIMEOUT`].
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// With a limit on unacknowledged bytes, see [`ConnectOptions::user_timeout`]: the timeout of HTTP/2 keepalive, where that
    /// is on (gRFC A18).
    #[must_use]
    pub fn with_user_timeout(mut self, user_timeout: Option<Duration>) -> Self {
        self.options.user_timeout = user_timeout;
        self
    }

    /// The TLS, for what reloads it.
    #[must_use]
    pub fn client_tls(&self) -> Option<&Arc<ClientTls>> {
        self.tls.as_ref()
    }

    /// The world it dials in.
    #[must_use]
    pub fn platform(&self) -> &Arc<dyn Platform> {
        &self.platform
    }

    /// Connects to `address` and, with TLS, verifies that it is `server_name` and speaks HTTP/2. Without TLS the name is not
    /// looked at, and what the server speaks is for HTTP/2's preface to find out.
    ///
    /// # Errors
    /// [`DialError`] tells how far it got.
    ///
    /// # Cancel safety
    /// Dropping the future closes what there is of the connection.
    pub async fn dial(&self, address: &Address, server_name: &str) -> Result<Dialled, DialError> {
        self.dial_for(address, server_name, &[Alpn::Http2]).await
    }

    /// As [`dial`](Self::dial), for the protocols `offered`.
    pub(crate) async fn dial_for(
        &self,
        address: &Address,
        server_name: &str,
        offered: &[Alpn],
    ) -> Result<Dialled, DialError> {
        let deadline = Instant::now() + self.timeout;
        let peer = address.clone();
        let connecting = self.platform.connect(address, self.options);
        let io = self.until(deadline, connecting).await;
        let io = io.unwrap_or_else(|| Err(std::io::ErrorKind::TimedOut.into()));
        let io = io.map_err(|error| DialError::connect(address, self.timeout, error))?;
        let Some(tls) = &self.tls else { return Ok(Dialled { io, peer, session: None }) };
        let shaken = self.until(deadline, tls.connect(io, server_name, offered)).await;
        let connected = shaken.unwrap_or_else(|| Err(HandshakeError::timed_out(self.timeout)));
        let connected = connected.map_err(|error| DialError::tls(address, error))?;
        Ok(Dialled { io: connected.io, peer, session: Some(connected.session) })
    }

    async fn until<T>(&self, deadline: Instant, what: impl Future<Output = T>) -> Option<T> {
        timeout_at(deadline, what).await.ok()
    }
}

impl DialError {
    fn tls(address: &Address, error: HandshakeError) -> Self {
        let stage = if error.reason() == Reason::NoApplicationProtocol { Stage::Alpn } else { Stage::Tls };
        Self::handshake(address, stage, error)
    }
}

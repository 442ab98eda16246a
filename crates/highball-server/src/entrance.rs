//! What a connection passes between accept and HTTP: the PROXY header, then TLS.

use std::sync::Arc;
use std::time::Duration;

use highball_core::{Caller, Peer};
use highball_net::caps::Seat;
use highball_net::proxy_protocol::{Proxies, ProxyError};
use highball_net::tls::{self, HandshakeError, ServerTls};
use highball_net::{Draining, Io, Phase};
use highball_telemetry::{Event, Limit, Telemetry};
use tokio::time::timeout;

/// What one listener asks of its connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entrance {
    /// They come from these proxies, which say for whom.
    pub(crate) proxies: Option<Arc<Proxies>>,
    /// They speak TLS.
    pub(crate) tls: Option<Arc<ServerTls>>,
}

/// A connection that has passed.
pub(crate) struct Passed {
    pub(crate) io: Box<dyn Io>,
    pub(crate) peer: Peer,
    pub(crate) caller: Caller,
}

impl Entrance {
    /// Lets a connection pass, each step within `limit`. `None` when it failed: that is reported, and the connection is
    /// closed. It does not hold a drain.
    pub(crate) async fn pass(
        &self,
        io: Box<dyn Io>,
        peer: Peer,
        seat: &mut Seat,
        limit: Duration,
        draining: &Draining,
        telemetry: &Telemetry,
    ) -> Option<Passed> {
        tokio::select! {
            passed = async {
                let (io, peer) = self.named(io, peer, seat, limit, telemetry).await?;
                self.secured(io, peer, limit, telemetry).await
            } => passed,
            () = draining.reached(Phase::Forced) => None,
        }
    }

    async fn named(
        &self,
        io: Box<dyn Io>,
        peer: Peer,
        seat: &mut Seat,
        limit: Duration,
        telemetry: &Telemetry,
    ) -> Option<(Box<dyn Io>, Peer)> {
        let Some(proxies) = &self.proxies else { return Some((io, peer)) };
        let proxy = peer.to_string();
        let outcome = timeout(limit, proxies.accept(io, peer)).await;
        match outcome.unwrap_or_else(|_| Err(ProxyError::timed_out(limit))) {
            Ok((io, peer)) if seat.name(&peer).is_ok() => Some((io, peer)),
            Ok(_) => {
                telemetry.report(&Event::LimitHit { limit: Limit::ConnectionsPerPeer });
                None
            }
            Err(error) => {
                let (reason, error) = (error.reason().label(), error.to_string());
                telemetry.report(&Event::ProxyHeaderRefused { proxy: &proxy, reason, error: &error });
                None
            }
        }
    }

    async fn secured(
        &self,
        io: Box<dyn Io>,
        peer: Peer,
        limit: Duration,
        telemetry: &Telemetry,
    ) -> Option<Passed> {
        let process = if let Peer::Unix(process) = &peer { *process } else { None };
        let mut caller = Caller { process, ..Caller::default() };
        let Some(tls) = &self.tls else { return Some(Passed { io, peer, caller }) };
        let outcome = timeout(limit, tls.accept(io)).await;
        let name = peer.to_string();
        match outcome.unwrap_or_else(|_| Err(HandshakeError::timed_out(limit))) {
            Ok(accepted) => {
                telemetry.report(&Event::TlsHandshake { peer: &name, result: tls::SUCCESS, error: None });
                caller.certificate = accepted.certificate;
                Some(Passed { io: accepted.io, peer, caller })
            }
            Err(error) => {
                let (result, text) = (error.reason().label(), error.to_string());
                telemetry.report(&Event::TlsHandshake { peer: &name, result, error: Some(&text) });
                None
            }
        }
    }
}

//! Connecting to an endpoint, whichever of its addresses answers first (RFC 8305, gRFC A61).

use std::collections::VecDeque;
use std::error::Error as _;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use highball_net::Spawner;
use highball_net::client::{self, ConnectError, ConnectErrorKind, Connection};
use highball_net::dial::{DialError, Dialer, Dialled, Stage};
use highball_net::tls::Reason;
use highball_telemetry::{ChannelEvent, Telemetry};
use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

use crate::backend::Trouble;
use crate::{Address, Endpoint, Settings};

/// Makes the connections of a channel.
pub(crate) struct Connector {
    dialer: Dialer,
    spawner: Spawner,
    settings: Settings,
    pub(crate) head: Head,
    /// Where TLS handshakes are counted, and for which target.
    telemetry: Telemetry,
    target: String,
    /// How often keepalive was slowed down because a server complained: each doubles the time (gRFC A8).
    slower: AtomicU64,
}

/// How requests are addressed.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) scheme: Scheme,
    pub(crate) authority: Authority,
}

impl Head {
    /// An absolute URI for `path`, which must be a literal that parses.
    pub(crate) fn uri(&self, path: &'static str) -> Uri {
        self.with(None, PathAndQuery::from_static(path))
    }

    /// An absolute URI, with another authority than the target's perhaps.
    pub(crate) fn with(&self, authority: Option<Authority>, path: PathAndQuery) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = authority.or_else(|| Some(self.authority.clone()));
        parts.path_and_query = Some(path);
        // All three parts are there, which is all that can be wrong with them.
        Uri::from_parts(parts).unwrap_or_default()
    }
}

/// Doublings at most: an hour of silence at the default.
const SLOWER_MAX: u64 = 7;

type Attempt<'a> = BoxFuture<'a, Result<Made, Trouble>>;

/// A connection and where it leads.
pub(crate) type Made = (Connection, Address);

impl Connector {
    /// `target` is the channel's name in the metrics.
    pub(crate) fn new(
        dialer: Dialer,
        spawner: Spawner,
        settings: Settings,
        head: Head,
        (telemetry, target): (Telemetry, &str),
    ) -> Self {
        let target = target.to_owned();
        Self { dialer, spawner, settings, head, telemetry, target, slower: AtomicU64::new(0) }
    }

    pub(crate) fn head(&self) -> Head {
        self.head.clone()
    }

    /// A server said `too_many_pings`: connections made from now on ping half as often.
    pub(crate) fn ping_less(&self) {
        let more = |times: u64| (times < SLOWER_MAX).then_some(times + 1);
        // An error means that it was the maximum already.
        self.slower.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok();
    }

    /// The first connection that succeeds. A next address is tried when the one before failed or took longer than
    /// `attempt_delay`; nothing is given up before another has succeeded.
    ///
    /// # Errors
    /// The last address's trouble, once all of them failed.
    ///
    /// # Cancel safety
    /// Dropping the future closes what was begun.
    pub(crate) async fn connect(&self, endpoint: &Endpoint) -> Result<Made, Trouble> {
        let mut rest: VecDeque<&Address> = interleaved(&endpoint.addresses).into();
        let mut running: FuturesUnordered<Attempt<'_>> = FuturesUnordered::new();
        let hostname = endpoint.attributes.hostname.as_deref();
        let nothing =
            || Trouble { brief: "no address".to_owned(), whole: "the endpoint has no address".to_owned() };
        let mut trouble = nothing();
        loop {
            if let Some(address) = rest.pop_front() {
                running.push(Box::pin(self.attempt(address, hostname)));
            }
            let delay = async {
                if rest.is_empty() {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(self.settings.attempt_delay).await;
            };
            tokio::select! {
                biased;
                done = running.next() => match done {
                    Some(Ok(made)) => return Ok(made),
                    Some(Err(failed)) => trouble = failed,
                    None => {}
                },
                () = delay => {}
            }
            if running.is_empty() && rest.is_empty() {
                return Err(trouble);
            }
        }
    }

    async fn attempt(&self, address: &Address, hostname: Option<&str>) -> Result<Made, Trouble> {
        // A resolver gives the host as its user wrote it, with a port perhaps.
        let named = hostname.and_then(|name| name.parse::<Authority>().ok());
        let name = named.as_ref().unwrap_or(&self.head.authority).host();
        let dialled = self.dialer.dial(address, name).await;
        self.count_handshake(&dialled);
        let dialled = dialled.map_err(|error| Trouble::dial(&error))?;
        let connection = client::handshake(dialled.io, &self.settings(), &self.spawner).await;
        let connection = connection.map_err(|error| Trouble::handshake(address, &error))?;
        Ok((connection, address.clone()))
    }

    /// Each one that got as far as TLS (gRFC A118).
    fn count_handshake(&self, dialled: &Result<Dialled, DialError>) {
        let result = match dialled {
            Ok(dialled) => dialled.session.as_ref().map(|_| "SUCCESS"),
            Err(error) => error.handshake_reason().map(Reason::label),
        };
        if let Some(result) = result {
            self.telemetry.report_channel(&ChannelEvent::TlsHandshake { target: &self.target, result });
        }
    }

    fn settings(&self) -> client::Settings {
        let mut settings = self.settings.connection.clone();
        let factor = 1 << self.slower.load(Ordering::Relaxed).min(SLOWER_MAX);
        settings.keepalive_time = settings.keepalive_time.map(|time| time.saturating_mul(factor));
        settings
    }
}

impl Trouble {
    fn dial(error: &DialError) -> Self {
        let brief = match error.stage() {
            _ if error.timed_out() => "connect timeout",
            Stage::Connect if error.was_refused() => "connection refused",
            Stage::Connect => "no connection",
            Stage::Tls => "TLS handshake failed",
            Stage::Alpn => "the server does not offer HTTP/2",
        };
        Self { brief: brief.to_owned(), whole: error.to_string() }
    }

    fn handshake(address: &Address, error: &ConnectError) -> Self {
        let brief = match error.kind() {
            ConnectErrorKind::Tls => "the server expects TLS",
            ConnectErrorKind::Http1 | ConnectErrorKind::NotHttp2 => "the server does not speak HTTP/2",
            ConnectErrorKind::Timeout => "the server accepts and says nothing",
            ConnectErrorKind::Lost => "the connection ended at once",
        };
        // TLS 1.3 lets a client finish before the server has looked at its certificate: why it was refused comes here.
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        Self { brief: brief.to_owned(), whole: format!("{address}: {error}{cause}") }
    }
}

/// Families take turns, beginning with that of the first address (RFC 8305 §4); the order within each is kept.
fn interleaved(addresses: &[Address]) -> Vec<&Address> {
    let v6 = |address: &&Address| matches!(address, Address::Tcp(addr) if addr.is_ipv6());
    let (mut these, mut those): (VecDeque<_>, VecDeque<_>) = addresses.iter().partition(v6);
    if addresses.first().is_none_or(|first| !v6(&first)) {
        std::mem::swap(&mut these, &mut those);
    }
    let mut order = Vec::with_capacity(addresses.len());
    while let Some(next) = these.pop_front().or_else(|| those.pop_front()) {
        order.push(next);
        order.extend(those.pop_front());
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<Address> {
        list.iter().map(|addr| Address::Tcp(addr.parse().unwrap())).collect()
    }

    #[test]
    fn address_families_take_turns() {
        let list = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
        let order: Vec<String> = interleaved(&list).iter().map(ToString::to_string).collect();
        assert_eq!(order, ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
        let list = addresses(&["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"]);
        let order: Vec<String> = interleaved(&list).iter().map(ToString::to_string).collect();
        assert_eq!(order, ["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"]);
    }
}

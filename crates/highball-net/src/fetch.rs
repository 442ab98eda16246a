//! One HTTP request at a time, bounded: for key sets, tokens and registries, not for RPCs.
//!
//! Each request is its own connection, HTTP/2 where the server agrees and HTTP/1.1 otherwise: what is fetched here is fetched
//! every few minutes, and a pool would hold connections that firewalls have forgotten. Redirects are not followed: the
//! address was configured by somebody who trusts that host, and it is not for that host to say whom else to trust. Proxies and
//! content encodings are not known.

mod error;
mod exchange;
mod target;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};

use crate::dial::{Dialer, Dialled};
use crate::tls::{Alpn, ClientTls};
use crate::{Address, Platform};

pub use error::FetchError;
pub use target::{InvalidUrl, Plaintext, check_url};

use target::Target;

/// Addresses of a name that are tried, each with its share of the time.
const ADDRESSES_MAX: usize = 4;

/// What bounds a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// For everything together, from the look-up of the name to the last byte. Default 10 s.
    pub timeout: Duration,
    /// Largest response body. Default 1 MiB; a larger one is an error, not a part.
    pub body_size_bytes_max: usize,
    /// Where `http:` is good enough. Default [`Plaintext::Refuse`].
    pub plaintext: Plaintext,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            body_size_bytes_max: 1 << 20,
            plaintext: Plaintext::default(),
        }
    }
}

/// Fetches. Cheap to clone; clones share the TLS.
#[derive(Debug, Clone)]
pub struct Fetcher {
    platform: Arc<dyn Platform>,
    /// `None` where nothing says whom to trust.
    secure: Option<Dialer>,
    plain: Dialer,
    settings: Settings,
}

impl Fetcher {
    /// Fetches over `tls`, or without where the settings allow that.
    #[must_use]
    pub fn new(platform: Arc<dyn Platform>, tls: Arc<ClientTls>, settings: Settings) -> Self {
        let secure = Some(Dialer::tls(platform.clone(), tls));
        Self { secure, ..Self::plaintext(platform, settings) }
    }

    /// Fetches `http:` only, where the settings allow that.
    #[must_use]
    pub fn plaintext(platform: Arc<dyn Platform>, settings: Settings) -> Self {
        Self { plain: Dialer::plaintext(platform.clone()), platform, secure: None, settings }
    }

    /// Sends one request and reads its whole response, whatever its status. The URI of the request is absolute; `host` and,
    /// unless given, `user-agent` are added.
    ///
    /// # Errors
    /// [`FetchError`]: there is no whole response. A status such as 404 is none.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection. The server may have acted on the request.
    pub async fn fetch(&self, request: Request<Bytes>) -> Result<Response<Bytes>, FetchError> {
        let target = Target::of(request.uri(), self.settings.plaintext).map_err(FetchError::url)?;
        let fetched = tokio::time::timeout(self.settings.timeout, self.once(&target, request));
        let fetched = fetched.await.unwrap_or_else(|_| Err(error::Cause::Late(self.settings.timeout)));
        fetched.map_err(|cause| FetchError::of(&target, cause))
    }

    async fn once(&self, target: &Target, request: Request<Bytes>) -> Result<Response<Bytes>, error::Cause> {
        let dialled = self.connect(target).await?;
        exchange::exchange(dialled, target, request, self.settings.body_size_bytes_max).await
    }

    /// Dials one address of the name after the other.
    async fn connect(&self, target: &Target) -> Result<Dialled, error::Cause> {
        let lookup = self.platform.lookup(&target.host).await.map_err(error::Cause::Name)?;
        let (secure, loopback_only) = (target.secure, self.settings.plaintext == Plaintext::Loopback);
        let allowed = |addr: &IpAddr| secure || !loopback_only || addr.is_loopback();
        let addrs: Vec<IpAddr> = lookup.records.into_iter().filter(allowed).take(ADDRESSES_MAX).collect();
        let dialer = if secure { self.secure.as_ref() } else { Some(&self.plain) };
        let dialer = dialer.ok_or(error::Cause::NoTls)?;
        let share = self.settings.timeout / u32::try_from(addrs.len().max(1)).unwrap_or(1);
        let dialer = dialer.clone().with_timeout(share);
        let mut failed = error::Cause::NotLoopback;
        for addr in addrs {
            let address = Address::Tcp((addr, target.port).into());
            match dialer.dial_for(&address, &target.host, &[Alpn::Http2, Alpn::Http1]).await {
                Ok(dialled) => return Ok(dialled),
                Err(error) => failed = error::Cause::Dial(error),
            }
        }
        Err(failed)
    }
}

//! From a target to endpoints, and to what the service's owner wants.
//!
//! A [`Resolver`] belongs to one channel and is driven by its manager. [`open`] makes the one that a [`Target`] asks for; an
//! application may bring its own.

#[cfg(feature = "consul")]
pub mod consul;
pub mod dns;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod file;
pub mod fixed;
#[cfg(any(feature = "consul", feature = "etcd"))]
mod registry;
#[cfg(test)]
mod testing;

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use highball_core::Method;
use highball_net::Platform;
use http::HeaderMap;

use crate::service_config::{MethodConfig, ServiceConfig, ServiceConfigError};
use crate::target::HostPort;
use crate::{Address, Endpoint, Target};

/// Endpoints one update may hold. More is an error, and the endpoints known before are kept: a list this long is a mistake
/// somewhere, and cutting it would hide that.
pub const ENDPOINTS_MAX: usize = 4096;

/// Finds the endpoints of one target, again and again.
///
/// Owned and called by one task, the channel's manager. Dropping a resolver stops all it does.
pub trait Resolver: Send + 'static {
    /// The next update. The first call resolves as soon as something is known, later ones when there is news: something
    /// changed, or it works again after an error.
    ///
    /// After an error the manager keeps what it had, waits a backoff and calls again; the resolver waits by itself in every
    /// other case.
    ///
    /// # Errors
    /// [`ResolveError`] when nothing new could be learnt.
    ///
    /// # Cancel safety
    /// Must be cancel safe: the manager drops the future when something else happens, and calls again. No update and no work in
    /// progress may be lost by that, so keep both in `self`.
    fn next(&mut self) -> BoxFuture<'_, Result<Update, ResolveError>>;

    /// A hint that connections fail, so that what is known may be out of date: look again soon. Called at any rate; how often
    /// anybody is asked is bounded in here. Must not block.
    fn refresh(&mut self);

    /// The channel was idle and has forgotten everything: the next update tells all that is known, after a fresh look, although
    /// nothing may have changed since the last. Must not block.
    fn restart(&mut self);
}

/// All that is known of a target. Replaces the update before it.
#[derive(Clone)]
pub struct Update {
    /// Where the service runs, in an order that does not change by itself. Empty means that it runs nowhere: calls fail.
    pub endpoints: Vec<Endpoint>,
    /// `None` when there is none, and the channel's default applies. An error means that there is one and it is not valid:
    /// the channel keeps the one it had, and counts as not resolved if it had none (gRFC A21).
    pub service_config: Option<Result<Arc<ServiceConfig>, ServiceConfigError>>,
    /// Chooses the config of each call instead of [`ServiceConfig::method`].
    pub config_selector: Option<Arc<dyn ConfigSelector>>,
}

impl Update {
    /// Endpoints, and nothing else.
    #[must_use]
    pub fn new(endpoints: Vec<Endpoint>) -> Self {
        Self { endpoints, service_config: None, config_selector: None }
    }
}

impl fmt::Debug for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Update")
            .field("endpoints", &self.endpoints)
            .field("service_config", &self.service_config)
            .field("config_selector", &self.config_selector.is_some())
            .finish()
    }
}

/// Chooses the config of a call by more than its method, as routing by header does.
pub trait ConfigSelector: Send + Sync + 'static {
    /// The config of a call. Called once per call, on its task; must be quick and must not block.
    fn select(&self, method: &Method, headers: &HeaderMap) -> Arc<MethodConfig>;
}

/// Why there is no update. Displays one sentence for the operator; callers are not told.
#[derive(Debug)]
pub struct ResolveError {
    message: String,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl ResolveError {
    /// An error with a sentence that names who was asked.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), cause: None }
    }

    /// With what caused it, as its `source()`.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for ResolveError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// How the resolvers of [`open`] behave.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Settings {
    /// For `dns`, and for the names in `static`.
    pub dns: dns::Settings,
    /// For `consul`.
    #[cfg(feature = "consul")]
    pub consul: consul::Settings,
    /// For `etcd`.
    #[cfg(feature = "etcd")]
    pub etcd: etcd::Settings,
}

/// The resolver a target asks for.
///
/// # Errors
/// [`ResolveError`] for what this build or platform cannot do; it says so once and for all, so there is no point in trying
/// again.
pub fn open(
    target: &Target,
    platform: &Arc<dyn Platform>,
    settings: &Settings,
) -> Result<Box<dyn Resolver>, ResolveError> {
    let unsupported = |message: String| Err(ResolveError::new(message));
    Ok(match target {
        Target::Dns { server: Some(server), host } => {
            return unsupported(format!(
                "{target} wants {server} to be asked, which is not supported; write dns:///{host} to ask the system's servers"
            ));
        }
        Target::Dns { server: None, host } => hosts(std::slice::from_ref(host), false, platform, settings),
        Target::Static(list) => hosts(list, true, platform, settings),
        Target::Addresses(list) => addresses(list.iter().copied().map(Address::Tcp)),
        Target::Unix(path) => addresses([Address::Unix(path.clone())]),
        Target::UnixAbstract(name) => addresses([Address::UnixAbstract(name.clone())]),
        Target::File(path) => Box::new(file::File::new(path.clone())),
        #[cfg(feature = "consul")]
        Target::Consul { .. } => Box::new(consul::Consul::new(target, platform, &settings.consul)?),
        #[cfg(feature = "etcd")]
        Target::Etcd { .. } => Box::new(etcd::Etcd::new(target, platform, &settings.etcd)?),
        #[cfg(not(all(feature = "consul", feature = "etcd")))]
        other => {
            let scheme = other.scheme();
            return unsupported(format!(
                "{scheme} is not in this build; enable the cargo feature {scheme:?}"
            ));
        }
    })
}

fn hosts(
    hosts: &[HostPort],
    is_list: bool,
    platform: &Arc<dyn Platform>,
    settings: &Settings,
) -> Box<dyn Resolver> {
    let literals: Option<Vec<SocketAddr>> = hosts.iter().map(HostPort::literal).collect();
    match literals {
        Some(literals) => addresses(literals.into_iter().map(Address::Tcp)),
        None if is_list => Box::new(dns::Dns::list(hosts, platform, &settings.dns)),
        None => Box::new(dns::Dns::new(hosts, platform, &settings.dns)),
    }
}

/// An address that is listed twice is one endpoint.
fn addresses(addresses: impl IntoIterator<Item = Address>) -> Box<dyn Resolver> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for endpoint in addresses.into_iter().map(Endpoint::new) {
        if !endpoints.contains(&endpoint) {
            endpoints.push(endpoint);
        }
    }
    Box::new(fixed::Fixed::new(endpoints))
}

#[cfg(test)]
mod tests;

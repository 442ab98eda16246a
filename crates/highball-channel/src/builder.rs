//! Making a channel.

use std::fmt;
use std::sync::Arc;

use highball_auth::credentials::{Credentials, CredentialsEvent};
use highball_net::dial::Dialer;
use highball_net::tls::{self, ClientTls};
use highball_net::{Os, Platform, Tasks};
use highball_telemetry::{ChannelEvent, Telemetry};
use http::uri::{Authority, Scheme};

use crate::Settings;
use crate::channel::{Channel, Owner};
use crate::connector::{Connector, Head};
use crate::idempotency::{DescriptorsError, Idempotent};
use crate::manager;
use crate::picture::{Closing, Parts, Shared};
use crate::record::Meters;
use crate::resolver::{self, ResolveError, Resolver};
use crate::service_config::{ServiceConfig, ServiceConfigError};
use crate::target::{Target, TargetError};

/// Makes a [`Channel`]. Nothing is connected or looked up before the first call.
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    target: String,
    name: Option<String>,
    settings: Settings,
    tls: Option<Arc<ClientTls>>,
    authority: Option<String>,
    service_config: Option<String>,
    default_config: Option<ServiceConfig>,
    descriptors: Vec<Vec<u8>>,
    resolver: Option<Box<dyn Resolver>>,
    resolving: resolver::Settings,
    credentials: Option<Arc<dyn Credentials>>,
    platform: Arc<dyn Platform>,
    telemetry: Telemetry,
}

/// Why a channel cannot be made, in one sentence for the person who configured it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The target.
    #[error("target: {0}")]
    Target(#[from] TargetError),
    /// The default service config.
    #[error("service config: {0}")]
    ServiceConfig(#[from] ServiceConfigError),
    /// The descriptors.
    #[error("descriptors: {0}")]
    Descriptors(#[from] DescriptorsError),
    /// Credentials would be sent for everybody to read.
    #[error("credentials without TLS: anybody on the way could use them; set TLS")]
    Plaintext,
    /// The resolver of the target.
    #[error("target: {0}")]
    Resolver(#[from] ResolveError),
    /// The authority is none: expected `host` or `host:port`.
    #[error("authority {0:?}: expected host or host:port")]
    Authority(String),
}

impl Builder {
    pub(crate) fn new(target: &str) -> Self {
        Self {
            target: target.to_owned(),
            name: None,
            settings: Settings::default(),
            tls: None,
            authority: None,
            service_config: None,
            default_config: None,
            descriptors: Vec::new(),
            resolver: None,
            resolving: resolver::Settings::default(),
            credentials: None,
            platform: Os::shared(),
            telemetry: Telemetry::new(),
        }
    }

    /// With other limits and times.
    pub fn with_settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Over TLS, or mTLS. Default plaintext.
    pub fn with_tls(mut self, tls: Arc<ClientTls>) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Calls and verifies the servers by another name than the target's: `:authority` and the TLS server name. A hostname
    /// that the resolver gives an endpoint goes before it for TLS.
    pub fn with_authority(mut self, authority: impl Into<String>) -> Self {
        self.authority = Some(authority.into());
        self
    }

    /// What is wanted of calls while the resolver brings no service config: JSON (grpc `doc/service_config.md`).
    pub fn with_service_config(mut self, json: impl Into<String>) -> Self {
        self.service_config = Some(json.into());
        self
    }

    /// The same, made by the program instead of read.
    pub fn with_default_config(mut self, config: ServiceConfig) -> Self {
        self.default_config = Some(config);
        self
    }

    /// Calls the target by this name in statuses, metrics and logs. Callers see it. Default the target itself, and in statuses
    /// what of it is no address.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Descriptors of what is called, an encoded `FileDescriptorSet`. Methods that it marks with `idempotency_level`
    /// NO_SIDE_EFFECTS or IDEMPOTENT are tried up to three times while the answer is UNAVAILABLE, where the service config says
    /// nothing of retries. Without descriptors nothing is known to be safe to repeat. May be called several times.
    pub fn with_descriptors(mut self, file_descriptor_set: impl Into<Vec<u8>>) -> Self {
        self.descriptors.push(file_descriptor_set.into());
        self
    }

    /// Finds endpoints in another way; the target is then only a name.
    pub fn with_resolver(mut self, resolver: Box<dyn Resolver>) -> Self {
        self.resolver = Some(resolver);
        self
    }

    /// Resolves its target in another way than by default.
    pub fn with_resolving(mut self, resolving: resolver::Settings) -> Self {
        self.resolving = resolving;
        self
    }

    /// Presents these with each call: see [`highball_auth::credentials`]. Without TLS only those that allow it, whatever the
    /// target, [`ChannelError::Plaintext`] otherwise.
    pub fn with_credentials(mut self, credentials: Arc<dyn Credentials>) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// In another world than the operating system's.
    pub fn with_platform(mut self, platform: Arc<dyn Platform>) -> Self {
        self.platform = platform;
        self
    }

    /// Reports there. Default: to a registry of its own that nobody reads, and to the log.
    pub fn with_telemetry(mut self, telemetry: Telemetry) -> Self {
        self.telemetry = telemetry;
        self
    }

    /// Makes the channel. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`ChannelError`] names what cannot be read and how it should look.
    pub fn build(self) -> Result<Channel, ChannelError> {
        let Self { settings, platform, telemetry, tls, .. } = self;
        let config = self.service_config.as_deref().map(ServiceConfig::parse).transpose()?;
        let config = config.or(self.default_config).map(Arc::new);
        let (resolver, default_authority, alias) = match self.resolver {
            Some(resolver) => (resolver, self.target.clone(), self.target.clone()),
            None => {
                let target = Target::parse(&self.target)?;
                let (authority, alias) = (target.authority(), target.alias());
                (resolver::open(&target, &platform, &self.resolving)?, authority, alias)
            }
        };
        let alias = self.name.clone().unwrap_or(alias);
        let name = self.name.unwrap_or_else(|| self.target.clone());
        let careless = |credentials: &Arc<dyn Credentials>| tls.is_none() && !credentials.allows_plaintext();
        if self.credentials.as_ref().is_some_and(careless) {
            return Err(ChannelError::Plaintext);
        }
        let authority = self.authority.unwrap_or(default_authority);
        let authority: Authority =
            authority.parse().map_err(|_| ChannelError::Authority(authority.clone()))?;
        let scheme = if tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        let dialer = match &tls {
            Some(tls) => Dialer::tls(platform.clone(), tls.clone()),
            None => Dialer::plaintext(platform.clone()),
        };
        let user_timeout = settings.connection.keepalive_time.map(|_| settings.connection.keepalive_timeout);
        let tasks = Tasks::new();
        let connector = Connector::new(
            dialer.with_timeout(settings.connect_timeout).with_user_timeout(user_timeout),
            tasks.spawner(),
            settings.clone(),
            Head { scheme, authority },
            (telemetry.clone(), &name),
        );
        let shared = Shared::new(Parts {
            idempotent: Idempotent::read(&self.descriptors)?,
            meters: Meters::new(telemetry.clone(), &name),
            name,
            alias,
            settings,
            platform,
            telemetry,
            connector,
            credentials: self.credentials,
        });
        if let Some(tls) = tls {
            tasks.spawn(renew(shared.clone(), tls));
        }
        if let Some(credentials) = shared.credentials.clone() {
            tasks.spawn(watch(shared.clone(), credentials));
        }
        tasks.spawn(manager::run(Closing(shared.clone()), resolver, config));
        Ok(Channel(Arc::new(Owner { shared, _tasks: tasks })))
    }
}

/// Takes TLS files when they change. Connections that are open stay as they are.
async fn renew(shared: Arc<Shared>, tls: Arc<ClientTls>) {
    let report = |event| {
        let error = if let tls::Event::Rejected(error) = event { Some(error.to_string()) } else { None };
        let (target, error) = (&*shared.name, error.as_deref());
        shared.telemetry.report_channel(&ChannelEvent::TlsReload { target, error });
    };
    tls.watch(tls::WATCH_INTERVAL, report).await;
}

/// Reports what happens to the credentials.
async fn watch(shared: Arc<Shared>, credentials: Arc<dyn Credentials>) {
    let mut report = |event: &CredentialsEvent<'_>| {
        let (error, usable) = match *event {
            CredentialsEvent::Failed { error, usable } => (Some(error.to_string()), usable),
            _ => (None, true),
        };
        let (target, error) = (&*shared.name, error.as_deref());
        shared.telemetry.report_channel(&ChannelEvent::CredentialsRenewed { target, error, usable });
    };
    credentials.watch(&mut report).await;
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("target", &self.target)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

//! From a service to a bound server.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use highball_auth::Guard;
use highball_core::{Body, BoxError};
use highball_gateway::{Gateway, Schema, SchemaError};
use highball_net::proxy_protocol::Proxies;
use highball_net::{Drain, Handover, ListenAddr, ListenError, Listener, Os, Platform, ServerTls, Workers};
use highball_telemetry::{Event, Telemetry};
use http::{Request, Response};
use tower::Service;

use crate::admin::AdminPages;
use crate::admit::Admission;
use crate::checklist::{self, NotReady, Posture};
use crate::entrance::Entrance;
use crate::health::Health;
use crate::hosted::{Hosted, Services};
use crate::method_limits;
use crate::methods::{DescriptorError, Methods};
use crate::rate::{Budgets, Failures};
use crate::record::InFlight;
use crate::rpc::Host;
use crate::run::BoundServer;
use crate::settings::{Settings, SettingsError};

/// Hosts one gRPC service: a tonic `Routes`, a connectrpc service, or any tower stack around them.
///
/// ```no_run
/// # use highball_server::Server;
/// # async fn start<S>(service: S, descriptors: &[u8]) -> Result<(), Box<dyn std::error::Error>> where S: tower::Service<http::Request<highball_core::Body>,
/// #   Response = http::Response<highball_core::Body>, Error = std::convert::Infallible> + Clone + Send + Sync + 'static, S::Future: Send {
/// let server = Server::new(service)
///     .with_descriptors(descriptors)
///     .listen("127.0.0.1:50051".parse().unwrap())
///     .admin("127.0.0.1:9090".parse().unwrap())
///     .bind()
///     .await?;
/// let report = server.run_until_signal().await?;
/// std::process::exit(report.exit_code().into());
/// # }
/// ```
#[must_use = "a server does nothing until it is bound and run"]
pub struct Server {
    services: Services,
    workers: Option<Arc<Workers>>,
    handover: Option<Arc<Handover>>,
    settings: Settings,
    descriptors: Vec<Vec<u8>>,
    listen: Vec<(ListenAddr, Entrance)>,
    probes: Option<ListenAddr>,
    admin: Option<ListenAddr>,
    pages: Option<AdminPages>,
    gateway: Option<highball_gateway::Settings>,
    platform: Arc<dyn Platform>,
    telemetry: Telemetry,
    health: Health,
    drain: Arc<Drain>,
    guard: Option<Guard>,
}

impl Server {
    /// A server with the defaults of [`Settings`] that listens nowhere yet.
    pub fn new<S, B>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self::hosting(Services::shared(Hosted::new(service)), None)
    }

    /// As [`new`](Self::new), on worker threads: each connection is served by one of them from accept to its end, by the
    /// one with the fewest connections, with everything it needs. `make` makes the service of each worker, at once, with
    /// that worker's runtime entered: what it spawns and connects there belongs there, and what it holds is shared with no
    /// other thread. Accepting, the ports beside, and all that watches stay on the runtime that runs the server.
    ///
    /// For services that spend little time on an RPC, such as a proxy: see [`highball_net::workers`] for the price. The
    /// threads end with the last hold on `workers`; the server keeps one for as long as it runs.
    pub fn per_worker<S, B>(workers: Arc<Workers>, make: impl Fn(usize) -> S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let services = Services::per_worker(workers.len(), |worker| {
            let _inside = workers.handle(worker).enter();
            Hosted::new(make(worker))
        });
        Self::hosting(services, Some(workers))
    }

    fn hosting(services: Services, workers: Option<Arc<Workers>>) -> Self {
        Self {
            services,
            workers,
            handover: None,
            settings: Settings::default(),
            descriptors: Vec::new(),
            listen: Vec::new(),
            probes: None,
            admin: None,
            pages: None,
            gateway: None,
            platform: Os::shared(),
            telemetry: Telemetry::new(),
            health: Health::new(),
            drain: Arc::default(),
            guard: None,
        }
    }

    /// Adds an encoded `FileDescriptorSet` of the hosted services, imports included. It tells unary methods from streams,
    /// names methods in metrics, lists services in health and feeds reflection. Methods without it work, as streams, and
    /// are metered as `_OTHER`.
    pub fn with_descriptors(mut self, set: &[u8]) -> Self {
        self.descriptors.push(set.to_vec());
        self
    }

    /// Replaces the limits.
    pub fn with_settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Reports into a registry the application already uses.
    pub fn with_telemetry(mut self, telemetry: Telemetry) -> Self {
        self.telemetry = telemetry;
        self
    }

    /// Serves a health state the application already feeds.
    pub fn with_health(mut self, health: Health) -> Self {
        self.health = health;
        self
    }

    /// Drains by a hand the application already listens to.
    pub fn with_drain(mut self, drain: Arc<Drain>) -> Self {
        self.drain = drain;
        self
    }

    /// Decides who may call what. Without one anyone may call everything.
    pub fn with_guard(mut self, guard: Guard) -> Self {
        self.guard = Some(guard);
        self
    }

    /// Runs on another [`Platform`] than the operating system, such as a simulated one.
    pub fn with_platform(mut self, platform: Arc<dyn Platform>) -> Self {
        self.platform = platform;
        self
    }

    /// Can be replaced by a new process without a refused connection: at SIGUSR2 [`BoundServer::run_until_signal`] starts
    /// the successor, passes the sockets on and drains. Runs on the platform of the handover. As a successor it accepts
    /// once it is ready, as its health says, and its predecessor let go.
    pub fn with_handover(mut self, handover: Arc<Handover>) -> Self {
        self.platform = handover.clone();
        self.handover = Some(handover);
        self
    }

    /// Listens for RPCs on `addr`, in plaintext (h2c with prior knowledge). May be called several times.
    pub fn listen(mut self, addr: ListenAddr) -> Self {
        self.listen.push((addr, Entrance::default()));
        self
    }

    /// Listens for RPCs on `addr` behind TLS. The files are watched while the server runs and taken when they change; a
    /// set that cannot be used is reported and the old one stays.
    pub fn listen_tls(mut self, addr: ListenAddr, tls: Arc<ServerTls>) -> Self {
        self.listen.push((addr, Entrance { tls: Some(tls), ..Entrance::default() }));
        self
    }

    /// Listens for RPCs on `addr` behind proxies that send a PROXY header, version 1 or 2. Callers are then known by the
    /// address in the header; connections without one, or from elsewhere, are closed.
    pub fn listen_proxied(
        mut self,
        addr: ListenAddr,
        proxies: Arc<Proxies>,
        tls: Option<Arc<ServerTls>>,
    ) -> Self {
        self.listen.push((addr, Entrance { tls, proxies: Some(proxies) }));
        self
    }

    /// Answers `grpc.health.v1.Health`, and nothing else, on `addr` in plaintext: for probes that cannot speak the TLS the
    /// other addresses ask for, such as the kubelet's. Off by default.
    pub fn health_only(mut self, addr: ListenAddr) -> Self {
        self.probes = Some(addr);
        self
    }

    /// Serves `/livez`, `/readyz` and `/metrics` on `addr`. Off by default.
    pub fn admin(mut self, addr: ListenAddr) -> Self {
        self.admin = Some(addr);
        self
    }

    /// Answers requests that are not gRPC as well, on the same addresses, over HTTP/2 and HTTP/1.1: plain HTTP with JSON, for
    /// the methods whose descriptors have `google.api.http`. Off by default: such a request is then HTTP 415. Deadlines,
    /// limits, rules and telemetry are those of the methods. What the descriptors ask for and cannot have is logged.
    pub fn with_gateway(mut self, settings: highball_gateway::Settings) -> Self {
        self.gateway = Some(settings);
        self
    }

    /// Serves these pages on the admin port as well.
    pub fn with_admin_pages(mut self, pages: AdminPages) -> Self {
        self.pages = Some(pages);
        self
    }

    /// Checks the settings, reads the descriptors and binds every address, or nothing.
    ///
    /// # Errors
    /// [`ServerError`]: one sentence that names what to change. Listeners bound before a failure are closed again.
    ///
    /// # Cancel safety
    /// Dropping the future closes what was bound.
    pub async fn bind(mut self) -> Result<BoundServer, ServerError> {
        let (methods, gateway) = self.checked()?;
        for problem in gateway.iter().flat_map(|gateway| gateway.problems()) {
            self.telemetry.report(&Event::GatewayRuleIgnored { problem: &problem });
        }
        for service in methods.services() {
            self.health.set_serving(service, true);
        }
        let mut listeners = Vec::new();
        for (addr, entrance) in std::mem::take(&mut self.listen) {
            listeners.push((self.listener(&addr).await?, entrance));
        }
        let probes = match &self.probes {
            Some(addr) => Some(self.listener(addr).await?),
            None => None,
        };
        let admin = match &self.admin {
            Some(addr) => Some(self.listener(addr).await?),
            None => None,
        };
        // Told only now: a server that does not start must not say that it listens.
        let told = |role: &str, listener: &dyn Listener| {
            self.telemetry.report(&Event::Listening { role, addr: &listener.local_addr().to_string() });
        };
        listeners.iter().for_each(|(listener, _)| told("grpc", &**listener));
        probes.iter().for_each(|listener| told("health", &**listener));
        admin.iter().for_each(|listener| told("admin", &**listener));
        let host = Host {
            admission: Admission::new(
                &self.settings,
                methods.unary(),
                self.telemetry.clone(),
                self.platform.clone(),
            ),
            guard: self.guard,
            failures: self
                .settings
                .failed_tokens
                .as_ref()
                .map(|rates| Failures::new(rates, self.telemetry.clone())),
            rates: self.settings.rates.clone().map(|rates| Budgets::new(rates, self.telemetry.clone())),
            settings: self.settings,
            services: self.services,
            methods,
            health: self.health,
            telemetry: self.telemetry,
            pages: self.pages,
            gateway,
            in_flight: Arc::<InFlight>::default(),
            draining: self.drain.listen(),
            platform: self.platform,
        };
        let (workers, handover) = (self.workers, self.handover);
        Ok(BoundServer::new(Arc::new(host), workers, handover, listeners, probes, admin, self.drain))
    }

    /// Everything of [`bind`](Self::bind) before its first socket.
    ///
    /// # Errors
    /// As there.
    pub fn check(&self) -> Result<(), ServerError> {
        self.checked().map(drop)
    }

    fn checked(&self) -> Result<(Methods, Option<Arc<Gateway>>), ServerError> {
        self.settings.check()?;
        if self.listen.is_empty() {
            return Err(ServerError::NoListener);
        }
        let listeners =
            self.listen.iter().map(|(addr, entrance)| (addr.clone(), entrance.tls.is_some())).collect();
        let posture = Posture { listeners, guarded: self.guard.is_some() };
        checklist::check(&self.settings, &posture)?;
        let sets: Vec<&[u8]> = self.descriptors.iter().map(Vec::as_slice).collect();
        let methods = Methods::new(&sets, &self.settings, &self.telemetry)?;
        SettingsError::unless_empty(method_limits::problems(&self.settings, methods.names()))?;
        let gateway = match &self.gateway {
            Some(settings) => Some(Arc::new(Gateway::new(Schema::new(&sets)?, settings.clone()))),
            None => None,
        };
        Ok((methods, gateway))
    }

    async fn listener(&self, addr: &ListenAddr) -> Result<Box<dyn Listener>, ServerError> {
        let bound = self.platform.bind(addr).await;
        Ok(bound.map_err(|source| ListenError { addr: addr.clone(), source })?)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("listen", &self.listen)
            .field("admin", &self.admin)
            .finish_non_exhaustive()
    }
}

/// Why a server could not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServerError {
    /// The settings contradict themselves.
    Settings(SettingsError),
    /// The descriptors cannot be read.
    Descriptors(DescriptorError),
    /// The descriptors are not complete enough to translate other dialects.
    Gateway(SchemaError),
    /// An address cannot be listened on.
    Listen(ListenError),
    /// No address was given.
    NoListener,
    /// Boxes of the launch checklist are open that this profile does not allow.
    NotReady(NotReady),
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(error) => error.fmt(f),
            Self::Descriptors(error) => error.fmt(f),
            Self::Gateway(error) => write!(f, "gateway: {error}"),
            Self::Listen(error) => error.fmt(f),
            Self::NotReady(error) => error.fmt(f),
            Self::NoListener => f.write_str("the server listens nowhere; give it at least one address"),
        }
    }
}

impl std::error::Error for ServerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Settings(error) => error.source(),
            Self::Descriptors(error) => error.source(),
            Self::Gateway(error) => Some(error),
            Self::Listen(error) => error.source(),
            Self::NoListener | Self::NotReady(_) => None,
        }
    }
}

impl From<SettingsError> for ServerError {
    fn from(error: SettingsError) -> Self {
        Self::Settings(error)
    }
}

impl From<NotReady> for ServerError {
    fn from(error: NotReady) -> Self {
        Self::NotReady(error)
    }
}

impl From<SchemaError> for ServerError {
    fn from(error: SchemaError) -> Self {
        Self::Gateway(error)
    }
}

impl From<DescriptorError> for ServerError {
    fn from(error: DescriptorError) -> Self {
        Self::Descriptors(error)
    }
}

impl From<ListenError> for ServerError {
    fn from(error: ListenError) -> Self {
        Self::Listen(error)
    }
}

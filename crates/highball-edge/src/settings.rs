//! What an edge is told to do: one TOML file, read whole, with every problem named at its line.
//!
//! These are the values: plain data, so that two files can be compared. What is equal after a reload keeps its connections.

pub mod read;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use highball_channel::service_config::{Balancing, Repeat};
use highball_core::Code;
use highball_net::ListenAddr;
use highball_net::tls;
use http::uri::Authority;
use http::{HeaderName, HeaderValue};
use regex::Regex;

/// One file.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `workers`: threads that carry connections, each with its own runtime and its own connections to the backends. Default
    /// one for each core.
    pub workers: Option<usize>,
    /// `admin`: where `/livez`, `/readyz`, `/metrics` and `/edge` are served. Default nowhere.
    pub admin: Option<ListenAddr>,
    /// `health`: where health checks, and nothing else, are answered in plaintext. Default nowhere.
    pub health: Option<ListenAddr>,
    /// `[[listeners]]`: at least one.
    pub listeners: Vec<Listener>,
    /// `[clusters.NAME]`, by name: at least one.
    pub clusters: BTreeMap<String, Cluster>,
    /// `[[routes]]`: at least one; the first that matches is taken.
    pub routes: Vec<Route>,
    /// `descriptors`: encoded `FileDescriptorSet` files. They tell unary methods, to which deadlines apply, from streams, say
    /// which may be repeated, and name methods in metrics. Paths are relative to the file. Default none.
    pub descriptors: Vec<PathBuf>,
    /// `[limits]`, `profile` and `open_boxes_allowed`: of the server, with its defaults.
    pub limits: highball_server::Settings,
    /// `trusted_hops`: how many proxies in front of this one may be believed what they say in `x-forwarded-for`. Default 0: the
    /// header is replaced.
    pub trusted_hops: usize,
}

/// `[[listeners]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// `address`: `IP:PORT` or `unix:PATH`.
    pub address: ListenAddr,
    /// `tls`: certificates, one or several, chosen by the name a client asks for. Default plaintext.
    pub tls: Option<Tls>,
    /// `proxy_protocol`: networks of the proxies that send a PROXY header, such as `10.0.0.0/8`. Default none: nobody does.
    pub proxy_protocol: Vec<String>,
}

/// `tls` of a listener. Paths are relative to the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// `certificate` and `key`, or `pairs`, a list of tables with both: the first is shown to clients that ask for no name or an
    /// unknown one.
    pub pairs: Vec<Pair>,
    /// `strict_names`: refuses clients that ask for no name, or for one that no pair is for. Default `false`, because clients
    /// that dial an address ask for no name.
    pub strict_names: bool,
    /// `client_ca`: the CAs client certificates may come from (mTLS). Default none.
    pub client_ca: Option<PathBuf>,
    /// `client_auth`: `required` (the default with a `client_ca`) or `optional`.
    pub client_auth: tls::ClientAuth,
    /// `crl`: revocation lists for them. Default none.
    pub crl: Option<PathBuf>,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// `certificate`, with its intermediates.
    pub certificate: PathBuf,
    /// `key`.
    pub key: PathBuf,
    /// `names` it is for. Default those in the certificate.
    pub names: Vec<String>,
}

/// `[clusters.NAME]`: backends that are one to their callers.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// `target`: any target of a channel, such as `dns:///orders.internal:50051` or `static:///10.0.0.1:1,10.0.0.2:1`.
    pub target: String,
    /// `policy`, with `outlier`, `subset` and `slow_start` around it. Default `round_robin`, with outlier detection after five
    /// consecutive failures.
    pub balancing: Balancing,
    /// `health`: `true`, the default, to use what backends say when they can; `false` not to ask; or the name of a service,
    /// which every backend must then answer for (gRFC A17).
    pub health: Health,
    /// `tls` to the backends. Default plaintext.
    pub tls: Option<UpstreamTls>,
    /// `authority` that backends see. Default the caller's own.
    pub authority: Option<Authority>,
    /// `calls_per_endpoint_max`: calls in flight at one backend; a full one is passed over, and when all are full the answer
    /// is UNAVAILABLE. Default 1,024.
    pub calls_per_endpoint_max: usize,
    /// `connections_per_endpoint_max`: for each worker. Default 1, at most 10.
    pub connections_per_endpoint_max: usize,
    /// `waiting_max`: calls that wait for a connection, for each worker. Default 1,024.
    pub waiting_max: usize,
    /// `connect_timeout`: for connect, TLS and HTTP/2 settings together. Default 5 s.
    pub connect_timeout: Duration,
    /// `keepalive_time`: silence after which a backend is asked for a sign of life; `0s` for never. Default 30 s.
    pub keepalive_time: Option<Duration>,
    /// `keepalive_timeout`: time it has to answer. Default 10 s.
    pub keepalive_timeout: Duration,
    /// `response_size_max`: of one message. Default 4 MiB.
    pub response_size_bytes_max: usize,
    /// `replay_size_max`: of one request that is kept for another attempt; 0 to send each once. Default 256 KiB.
    pub replay_size_bytes_max: usize,
    /// `retry_tokens`: how many failures in a row stop retries (gRFC A6, "Throttling"). Default 100.
    pub retry_tokens: u32,
}

/// `health` of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Not asked.
    Off,
    /// Asked, and believed; a backend that cannot say is used.
    Ask,
    /// Asked for this service, which must be SERVING; empty for the backend as a whole.
    Require(String),
}

/// `tls` of a cluster. Paths are relative to the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpstreamTls {
    /// `ca`: the CAs backends' certificates may come from. Default those of the system.
    pub ca: Option<PathBuf>,
    /// `certificate` and `key` that backends are shown (mTLS). Default none.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// `server_name` that their certificates must be for. Default the name that is dialled.
    pub server_name: Option<String>,
}

/// `[[routes]]`. All conditions must hold; without any it matches everything.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// `name`, in errors and metrics. Default `route-N`, counted from 1.
    pub name: String,
    /// `hosts`, or `host` for one: exact, or `*.example.com` for any name below; without the port. Default any.
    pub hosts: Vec<String>,
    /// `path`, `prefix`, `service` or `method`: one of them at most. Default any.
    pub path: PathMatch,
    /// `headers`, all of them.
    pub headers: Vec<HeaderMatch>,
    /// `cluster`, or `split` with weights.
    pub to: Vec<(String, u32)>,
    /// `mirror`: a second copy that nobody waits for. Default none.
    pub mirror: Option<Mirror>,
    /// `deadline`: the most a unary RPC gets. Streams, and methods that no descriptors tell, keep what their caller asked for.
    /// Default none but the server's.
    pub deadline: Option<Duration>,
    /// `stream_idle`: silence after which a stream is ended; `0s` for never. Default the server's.
    pub stream_idle: Option<Duration>,
    /// `retry` or `hedge`. Default: what never reached a backend is sent again, and methods that the descriptors call
    /// idempotent are tried up to three times while the answer is UNAVAILABLE.
    /// `Some(Repeat::Never)`, by `retry = false`, sends again only what never reached a backend.
    pub repeat: Option<Repeat>,
    /// `rate`: how often one caller may use this route. Default as often as it likes.
    pub rate: Option<Rate>,
    /// `request_headers`, applied to what backends see.
    pub request_headers: Rewrite,
    /// `response_headers`, applied to what callers see.
    pub response_headers: Rewrite,
    /// `fault`, for tests. Default none.
    pub fault: Option<Fault>,
}

/// Which path a route is for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PathMatch {
    /// Any.
    #[default]
    Any,
    /// `path = "/package.Service/Method"`, or `method = "package.Service/Method"`.
    Exact(String),
    /// `prefix = "/package."`.
    Prefix(String),
    /// `service = "package.Service"`.
    Service(String),
}

/// One entry of `headers`. A header that is there several times matches when one of its values does.
#[derive(Debug, Clone)]
pub struct HeaderMatch {
    /// In lower case.
    pub name: HeaderName,
    /// What it must be.
    pub value: ValueMatch,
}

/// What a header must be.
#[derive(Debug, Clone)]
pub enum ValueMatch {
    /// `"v2"` or `{ exact = "v2" }`.
    Exact(String),
    /// `{ prefix = "v" }`.
    Prefix(String),
    /// `{ regex = "v[0-9]+" }`: the whole value.
    Regex(Regex),
    /// `{ present = true }`, or `false` for absent.
    Present(bool),
}

impl PartialEq for HeaderMatch {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.value == other.value
    }
}

impl PartialEq for ValueMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(own), Self::Exact(other)) | (Self::Prefix(own), Self::Prefix(other)) => own == other,
            (Self::Regex(own), Self::Regex(other)) => own.as_str() == other.as_str(),
            (Self::Present(own), Self::Present(other)) => own == other,
            _ => false,
        }
    }
}

/// `mirror`.
#[derive(Debug, Clone, PartialEq)]
pub struct Mirror {
    /// `cluster`.
    pub cluster: String,
    /// `percent` of the RPCs. Default 100.
    pub percent: f64,
    /// `calls_max`: copies in flight for each worker; beyond it none is made. Default 100.
    pub calls_max: usize,
}

/// `rate`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rate {
    /// `per_second` and `burst`; remembers 100,000 callers, of whom new ones share a budget beyond that.
    pub rates: highball_server::Rates,
    /// `per`: `"caller"`, the default (certificate, else Unix user, else address), `"address"`, or `"header:NAME"`.
    pub per: Per,
}

/// Whose budget an RPC is taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Per {
    /// The caller, as the transport proved it.
    Caller,
    /// The address, also of a caller with a certificate: the one that `x-forwarded-for` names behind `trusted_hops`.
    Address,
    /// The value of a header; RPCs without it, or with several, share a budget.
    Header(HeaderName),
}

/// `request_headers` and `response_headers`: removed first, then set, then added.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rewrite {
    /// `remove`.
    pub remove: Vec<HeaderName>,
    /// `set`: replaces what is there.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// `add`: beside what is there.
    pub add: Vec<(HeaderName, HeaderValue)>,
}

/// `fault` (gRFC A33).
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// `delay` and `delay_percent`, default 100 per cent.
    pub delay: Option<(Duration, f64)>,
    /// `abort`, a status code, and `abort_percent`, default 100 per cent.
    pub abort: Option<(Code, f64)>,
}

impl std::fmt::Display for PathMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Exact(path) => f.write_str(path),
            Self::Prefix(prefix) => write!(f, "{prefix}..."),
            Self::Service(service) => write!(f, "one of {service}"),
        }
    }
}

impl std::fmt::Display for ValueMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(text) => write!(f, "{text:?}"),
            Self::Prefix(prefix) => write!(f, "{prefix:?}..."),
            Self::Regex(regex) => write!(f, "/{}/", regex.as_str()),
            Self::Present(true) => f.write_str("there"),
            Self::Present(false) => f.write_str("absent"),
        }
    }
}

//! What a channel is asked to call (grpc `doc/naming.md`).

mod host;
mod parse;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

pub use host::HostPort;
pub use parse::{ADDRESSES_MAX, TARGET_SIZE_BYTES_MAX, TargetError};

/// Where the servers of a service are found. [`parse`](Self::parse) reads it, `Display` writes it in one canonical spelling.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Target {
    /// `dns:[//server/]host[:port]`: every address of a name. Also what has no scheme.
    Dns {
        /// The DNS server to ask instead of the system's.
        server: Option<HostPort>,
        /// The name, or a literal address.
        host: HostPort,
    },
    /// `static:///a:1,b:2`, ours: these hosts. Names are looked up, as with `dns`, and each host is called by its own name.
    Static(Vec<HostPort>),
    /// `ipv4:1.2.3.4:80,1.2.3.5:80` and `ipv6:[::1]:80`: these addresses.
    Addresses(Vec<SocketAddr>),
    /// `unix:path` or `unix:///absolute/path`: a Unix socket.
    Unix(PathBuf),
    /// `unix-abstract:name`: a Unix socket in Linux's abstract namespace, without the leading NUL.
    UnixAbstract(Bytes),
    /// `file:///path`, ours: what a file lists, followed as it changes.
    File(PathBuf),
    /// `consul://agent:port/service?tag=..&dc=..`, ours: what a Consul agent knows to be healthy.
    Consul {
        /// The agent's HTTP address; `127.0.0.1:8500` where none is named.
        agent: HostPort,
        /// The service.
        service: String,
        /// Only instances with all of these tags.
        tags: Vec<String>,
        /// Another datacenter than the agent's.
        datacenter: Option<String>,
    },
    /// `etcd://host:port/prefix`, ours: what keys below a prefix list, as etcd's own `naming/endpoints` writes them.
    Etcd {
        /// The server's HTTP address; `127.0.0.1:2379` where none is named.
        server: HostPort,
        /// What the keys start with.
        prefix: String,
    },
}

/// The port of a host without one: gRPC over TLS (grpc `doc/naming.md`).
pub const PORT_DEFAULT: u16 = 443;

/// What an authority may hold beside letters and digits (RFC 3986, section 3.2); the rest is percent-encoded.
const AUTHORITY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

impl Target {
    /// Reads a target. Without a scheme, or with one that is none of the known, it is a name for DNS.
    ///
    /// # Errors
    /// [`TargetError`] says which part is wrong and how to write it.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        parse::target(text).map_err(|problem| TargetError::new(text, problem))
    }

    /// The scheme, as messages and metrics name the kind of resolver.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::Dns { .. } => "dns",
            Self::Static(_) => "static",
            Self::Addresses(addresses) if addresses.iter().all(SocketAddr::is_ipv6) => "ipv6",
            Self::Addresses(_) => "ipv4",
            Self::Unix(_) => "unix",
            Self::UnixAbstract(_) => "unix-abstract",
            Self::File(_) => "file",
            Self::Consul { .. } => "consul",
            Self::Etcd { .. } => "etcd",
        }
    }

    /// What a status may call it, which may be passed on to strangers: a name, never an address or a path.
    #[must_use]
    pub(crate) fn alias(&self) -> String {
        match self {
            Self::Dns { host, .. } if host.literal().is_none() => host.to_string(),
            Self::Consul { service, .. } => service.clone(),
            Self::Etcd { prefix, .. } => prefix.trim_matches('/').to_owned(),
            _ => "the target".to_owned(),
        }
    }

    /// What calls put into `:authority` unless told otherwise, and the name TLS verifies, less its port.
    ///
    /// That is the endpoint part of the target as it was written; of several hosts the first. Unix sockets are `localhost`;
    /// a file is called by its name without the extension, because its path is nobody's business.
    #[must_use]
    pub fn authority(&self) -> String {
        let encoded = |text: &str| utf8_percent_encode(text, AUTHORITY).to_string();
        match self {
            Self::Dns { host, .. } => host.to_string(),
            Self::Static(hosts) => hosts.first().map(ToString::to_string).unwrap_or_default(),
            Self::Addresses(addresses) => addresses.first().map(ToString::to_string).unwrap_or_default(),
            Self::Unix(_) | Self::UnixAbstract(_) => "localhost".to_owned(),
            Self::File(path) => encoded(&path.file_stem().unwrap_or_default().to_string_lossy()),
            Self::Consul { service, .. } => encoded(service),
            Self::Etcd { prefix, .. } => encoded(prefix.trim_matches('/')),
        }
    }
}

impl std::str::FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        Self::parse(text)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns { server: None, host } => write!(f, "dns:///{host}"),
            Self::Dns { server: Some(server), host } => write!(f, "dns://{server}/{host}"),
            Self::Static(hosts) => write_list(f, "static:///", hosts),
            Self::Addresses(addresses) => write_list(f, &format!("{}:", self.scheme()), addresses),
            Self::Unix(path) => write_path(f, "unix", &path.to_string_lossy()),
            Self::UnixAbstract(name) => write_path(f, "unix-abstract", &String::from_utf8_lossy(name)),
            Self::File(path) => write_path(f, "file", &path.to_string_lossy()),
            Self::Consul { agent, service, tags, datacenter } => {
                write!(f, "consul://{agent}/{}", escaped(service))?;
                let tags = tags.iter().map(|tag| ("tag", tag));
                for (index, (key, value)) in
                    tags.chain(datacenter.iter().map(|name| ("dc", name))).enumerate()
                {
                    let mark = if index == 0 { '?' } else { '&' };
                    write!(f, "{mark}{key}={}", escaped(value))?;
                }
                Ok(())
            }
            Self::Etcd { server, prefix } => write!(f, "etcd://{server}/{}", escaped(prefix)),
        }
    }
}

fn write_list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, start: &str, entries: &[T]) -> fmt::Result {
    f.write_str(start)?;
    for (index, entry) in entries.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(f, "{comma}{entry}")?;
    }
    Ok(())
}

fn write_path(f: &mut fmt::Formatter<'_>, scheme: &str, path: &str) -> fmt::Result {
    // An empty authority, so that no slash of the path is taken for the start of one.
    let slashes = if path.starts_with('/') { "//" } else { "" };
    write!(f, "{scheme}:{slashes}{}", escaped(path))
}

/// A path or a part of a query, percent-encoded where a reader would take it for something else.
fn escaped(text: &str) -> impl fmt::Display {
    const PATH: &AsciiSet = &AUTHORITY.remove(b'/').remove(b',').remove(b'@');
    utf8_percent_encode(text, PATH)
}

#[cfg(test)]
mod tests;

//! Reading targets, and saying what is wrong with them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use bytes::Bytes;
use percent_encoding::percent_decode_str;

use super::{HostPort, PORT_DEFAULT, Target};

/// Hosts or addresses one target may list.
pub const ADDRESSES_MAX: usize = 256;

/// The longest target, in bytes.
pub const TARGET_SIZE_BYTES_MAX: usize = 16 << 10;

/// The longest name of a Unix socket, in bytes: `sun_path` has 108, one of them a NUL.
const SOCKET_NAME_SIZE_BYTES_MAX: usize = 107;

const KNOWN: &str = "dns, static, ipv4, ipv6, unix, unix-abstract, file, consul, etcd";

/// A target that cannot be read. Displays the target, what is wrong with it, and how to write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetError {
    target: String,
    problem: String,
}

impl TargetError {
    pub(super) fn new(target: &str, problem: String) -> Self {
        // It may be somebody's whole configuration file.
        Self { target: target.chars().take(200).collect(), problem }
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "target {:?}: {}", self.target, self.problem)
    }
}

impl std::error::Error for TargetError {}

/// A sentence without a subject.
type Problem = String;

pub(super) fn target(text: &str) -> Result<Target, Problem> {
    if text.len() > TARGET_SIZE_BYTES_MAX {
        return Err(format!("is longer than {TARGET_SIZE_BYTES_MAX} bytes"));
    }
    if text.is_empty() {
        return Err("is empty; write dns:///host:port".to_owned());
    }
    let Some((scheme, rest)) = text.split_once(':') else { return dns(None, text) };
    let (authority, path) = split_authority(rest);
    let sole = || without_authority(scheme, authority, path);
    match scheme.to_ascii_lowercase().as_str() {
        "dns" => dns(authority, path),
        "static" => list(sole()?, HostPort::parse).map(Target::Static),
        "ipv4" => list(sole()?, |text| address(text, SocketAddr::is_ipv4, "IPv4")).map(Target::Addresses),
        "ipv6" => list(sole()?, |text| address(text, SocketAddr::is_ipv6, "IPv6")).map(Target::Addresses),
        "unix" => socket_name(&file_path(scheme, authority, path)?).map(PathBuf::from).map(Target::Unix),
        "unix-abstract" => {
            without_authority(scheme, authority, path)?;
            let name = decoded(path)?;
            socket_name(&name).map(|name| Target::UnixAbstract(Bytes::copy_from_slice(name.as_bytes())))
        }
        "file" => file_path(scheme, authority, path).map(PathBuf::from).map(Target::File),
        "consul" => consul(authority, path),
        "etcd" => etcd(authority, path),
        // grpc doc/naming.md: an unknown scheme is none, and the whole is a name for DNS. What cannot be one is refused.
        _ if rest.starts_with("//") => Err(unknown_scheme(scheme, rest)),
        _ => dns(None, text),
    }
}

fn unknown_scheme(scheme: &str, rest: &str) -> Problem {
    if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") {
        let host = rest.trim_start_matches('/').split('/').next().unwrap_or_default();
        return format!("is a URL; write dns:///{host}, and choose TLS or plaintext on the channel");
    }
    format!("has the unknown scheme {scheme:?}; known are {KNOWN}")
}

/// `//authority/path` in its parts, or all of it as the path.
fn split_authority(rest: &str) -> (Option<&str>, &str) {
    match rest.strip_prefix("//") {
        None => (None, rest),
        Some(rest) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            (Some(authority), path)
        }
    }
}

/// The path of a scheme that has no use for an authority, without its first slash.
fn without_authority<'a>(scheme: &str, authority: Option<&str>, path: &'a str) -> Result<&'a str, Problem> {
    match authority {
        None | Some("") => Ok(path.strip_prefix('/').unwrap_or(path)),
        Some(authority) => Err(format!(
            "has {authority:?} between two slashes and the next, where {scheme} takes nothing; write \
             {scheme}:///{authority}{path}"
        )),
    }
}

fn dns(authority: Option<&str>, path: &str) -> Result<Target, Problem> {
    let name = path.strip_prefix('/').unwrap_or(path);
    let server = match authority {
        None | Some("") => None,
        Some(server) if name.is_empty() => {
            return Err(format!(
                "names {server:?} as the DNS server to ask, and no host: two slashes start the server, a third one ends it; \
                 write dns:///{server}"
            ));
        }
        Some(server) => Some(HostPort::parse(server)?.with_default_port(53)),
    };
    Ok(Target::Dns { server, host: HostPort::parse(name)? })
}

/// A list with commas, of 1 to [`ADDRESSES_MAX`] entries.
fn list<T>(text: &str, parse: impl Fn(&str) -> Result<T, Problem>) -> Result<Vec<T>, Problem> {
    let entries: Vec<_> = text.split(',').collect();
    if entries.len() > ADDRESSES_MAX {
        return Err(format!("lists {} hosts; {ADDRESSES_MAX} are the limit", entries.len()));
    }
    let parse = |(index, entry)| parse(entry).map_err(|problem| format!("entry {}: {problem}", index + 1));
    entries.into_iter().enumerate().map(parse).collect()
}

fn address(text: &str, is_right: impl Fn(&SocketAddr) -> bool, family: &str) -> Result<SocketAddr, Problem> {
    let address = HostPort::parse(text).ok().and_then(|host| host.literal()).filter(is_right);
    address.ok_or_else(|| {
        let example = if family == "IPv4" { "192.0.2.1:443" } else { "[2001:db8::1]:443" };
        format!("{text:?} is not an {family} address with or without a port, such as {example}")
    })
}

fn file_path(scheme: &str, authority: Option<&str>, path: &str) -> Result<String, Problem> {
    if let Some(authority) = authority.filter(|authority| !authority.is_empty()) {
        return Err(format!(
            "has {authority:?} between two slashes and the next, where {scheme} takes nothing; write {scheme}:{authority}{path} \
             for a relative path, {scheme}:///{authority}{path} for an absolute one"
        ));
    }
    let path = decoded(path)?;
    if path.is_empty() || path.ends_with('/') {
        return Err(format!("names no file; write {scheme}:///absolute/path"));
    }
    Ok(path)
}

fn socket_name(name: &str) -> Result<&str, Problem> {
    if name.is_empty() || name.contains('\0') {
        return Err("the name of a Unix socket is not empty and holds no NUL".to_owned());
    }
    if name.len() > SOCKET_NAME_SIZE_BYTES_MAX {
        return Err(format!(
            "the name of a Unix socket has at most {SOCKET_NAME_SIZE_BYTES_MAX} bytes, not {}",
            name.len()
        ));
    }
    Ok(name)
}

fn consul(authority: Option<&str>, path: &str) -> Result<Target, Problem> {
    const SHAPE: &str = "write consul://agent:8500/service?tag=..&dc=..";
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let service = decoded(path.strip_prefix('/').unwrap_or_default())?;
    if service.is_empty() || service.contains('/') {
        return Err(format!("names no service; {SHAPE}"));
    }
    let (mut tags, mut datacenter) = (Vec::new(), None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value)?;
        match key {
            "tag" | "dc" if value.is_empty() => return Err(format!("{key} is empty; {SHAPE}")),
            "tag" if tags.len() == ADDRESSES_MAX => {
                return Err(format!("has more than {ADDRESSES_MAX} tags"));
            }
            "tag" => tags.push(value),
            "dc" if datacenter.is_none() => datacenter = Some(value),
            "dc" => return Err("names two datacenters".to_owned()),
            _ => return Err(format!("{key:?} is neither tag nor dc; {SHAPE}")),
        }
    }
    Ok(Target::Consul { agent: server(authority, 8500)?, service, tags, datacenter })
}

fn etcd(authority: Option<&str>, path: &str) -> Result<Target, Problem> {
    let prefix = decoded(path.strip_prefix('/').unwrap_or_default())?;
    if prefix.is_empty() {
        // Every key of the store would be taken for a server.
        return Err("names no prefix; write etcd://host:2379/prefix".to_owned());
    }
    Ok(Target::Etcd { server: server(authority, 2379)?, prefix })
}

fn server(authority: Option<&str>, port: u16) -> Result<HostPort, Problem> {
    match authority {
        None | Some("") => Ok(HostPort::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
        Some(text) => HostPort::parse(text).map(|host| host.with_default_port(port)),
    }
}

fn decoded(text: &str) -> Result<String, Problem> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(String::from).map_err(|_| format!("{text:?} is not UTF-8 once its percent signs are decoded"))
}

const _: () = assert!(PORT_DEFAULT == 443, "the examples above say 443");

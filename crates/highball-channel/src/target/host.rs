//! A host with the port it is asked on.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::PORT_DEFAULT;

/// A name or a literal address, and a port where one was written. Displays as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Without brackets.
    host: String,
    port: Option<u16>,
}

impl HostPort {
    /// Reads `host`, `host:port`, `1.2.3.4:port`, `[::1]:port` or `::1`. `Err` holds a sentence without a subject.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (host, port) = split(text)?;
        let port = port.map(parse_port).transpose()?;
        if host.parse::<IpAddr>().is_err() {
            check_name(host)?;
        }
        Ok(Self { host: host.to_owned(), port })
    }

    pub(crate) fn new(address: IpAddr, port: u16) -> Self {
        Self { host: address.to_string(), port: Some(port) }
    }

    /// The name, or the literal without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port that is dialled.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(PORT_DEFAULT)
    }

    /// The address, when it needs no looking up.
    #[must_use]
    pub fn literal(&self) -> Option<SocketAddr> {
        self.host.parse().ok().map(|address| SocketAddr::new(address, self.port()))
    }

    pub(crate) fn with_default_port(mut self, port: u16) -> Self {
        self.port.get_or_insert(port);
        self
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?
        } else {
            f.write_str(&self.host)?
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

fn split(text: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) =
            rest.split_once(']').ok_or_else(|| format!("{text:?} has a bracket that is not closed"))?;
        if host.parse::<Ipv6Addr>().is_err() {
            return Err(format!("{host:?} is not an IPv6 address, and only those stand in brackets"));
        }
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(format!("{rest:?} follows the bracket; only a port may, such as [{host}]:443")),
        };
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((text, None));
    }
    match text.rsplit_once(':') {
        None => Ok((text, None)),
        Some((host, _)) if host.contains(':') => Err(format!(
            "{text:?} has more than one colon; an IPv6 address with a port stands in brackets: [::1]:443"
        )),
        Some((host, port)) => Ok((host, Some(port))),
    }
}

pub(super) fn parse_port(text: &str) -> Result<u16, String> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|port| *port != 0 && is_digits);
    port.ok_or_else(|| format!("{text:?} is not a port; write a number of 1 to 65535"))
}

/// A name that DNS can be asked for. Underscores are no part of host names, but of names that people use.
fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("there is no host".to_owned());
    }
    if !name.is_ascii() {
        return Err(format!("{name:?} is not ASCII; write the name as DNS has it, starting with xn--"));
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_label = |label: &str| !label.is_empty() && label.len() <= 63 && label.bytes().all(is_usual);
    if name.len() <= 253 && name.split('.').all(is_label) {
        return Ok(());
    }
    Err(format!("{name:?} is not the name of a host"))
}

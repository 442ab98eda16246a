//! Which proxies are believed.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use highball_core::Peer;

use super::{ProxyError, Reason, accept};
use crate::Io;

/// The proxies whose word is taken for the address of a client. There is no default: believing everybody is a decision,
/// [`Network::everywhere`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxies(Vec<Network>);

impl Proxies {
    /// Those within `networks`. None at all is possible, and then only Unix sockets are believed.
    #[must_use]
    pub fn new(networks: impl IntoIterator<Item = Network>) -> Self {
        Self(networks.into_iter().collect())
    }

    /// Whether `peer` is one of them. Whoever could open a Unix socket is: file permissions decide that.
    #[must_use]
    pub fn trust(&self, peer: &Peer) -> bool {
        match peer {
            Peer::Tcp(addr) => self.0.iter().any(|network| network.contains(addr.ip())),
            Peer::Unix(_) => true,
            _ => false,
        }
    }

    /// Reads the header of a connection that was just accepted from `peer`: [`accept`], for proxies that are believed.
    ///
    /// # Errors
    /// [`Reason::Untrusted`] without reading a byte; otherwise those of [`accept`].
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn accept(&self, io: Box<dyn Io>, peer: Peer) -> Result<(Box<dyn Io>, Peer), ProxyError> {
        if !self.trust(&peer) {
            return Err(Reason::Untrusted.into());
        }
        accept(io, peer).await
    }
}

/// An IP network: `10.0.0.0/8`, `fd00::/8`, or one address. IPv4 addresses written as IPv6 are the same as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    ip: IpAddr,
    prefix: u8,
}

impl Network {
    /// Every address, IPv4 and IPv6. For a listener that the network itself keeps everybody else from.
    #[must_use]
    pub fn everywhere() -> [Self; 2] {
        [Self { ip: IpAddr::from([0; 4]), prefix: 0 }, Self { ip: IpAddr::from([0; 16]), prefix: 0 }]
    }

    /// Whether `ip` is part of it.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.ip, ip.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                let differ = u64::from(network.to_bits() ^ ip.to_bits());
                differ >> (32 - u32::from(self.prefix)) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                let differ = network.to_bits() ^ ip.to_bits();
                differ.checked_shr(128 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (ip, prefix) = match text.split_once('/') {
            Some((ip, prefix)) => (ip, Some(prefix)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| InvalidNetwork(()))?;
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse::<u8>(),
            Some(_) => return Err(InvalidNetwork(())),
            None => Ok(bits),
        };
        let prefix = prefix.ok().filter(|prefix| *prefix <= bits).ok_or(InvalidNetwork(()))?;
        let (canonical, mapped) = (ip.to_canonical(), ip.is_ipv6() && ip.to_canonical().is_ipv4());
        let network = match mapped {
            true => Self { ip: canonical, prefix: prefix.checked_sub(96).ok_or(InvalidNetwork(()))? },
            false => Self { ip, prefix },
        };
        // `10.1.2.3/8` is a slip: one host or a whole network was meant, and only its author knows.
        if network.has_host_bits() { Err(InvalidNetwork(())) } else { Ok(network) }
    }
}

impl Network {
    fn has_host_bits(&self) -> bool {
        let prefix = u32::from(self.prefix);
        match self.ip {
            IpAddr::V4(ip) => ip.to_bits().checked_shl(prefix).unwrap_or(0) != 0,
            IpAddr::V6(ip) => ip.to_bits().checked_shl(prefix).unwrap_or(0) != 0,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

/// Text that is no [`Network`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidNetwork(());

impl fmt::Display for InvalidNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "expected an address or a network such as 10.0.0.0/8 or fd00::/8, with no bits set after the prefix",
        )
    }
}

impl Error for InvalidNetwork {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_what_shares_its_prefix() {
        let cases = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("::ffff:10.0.0.0/104", "10.9.9.9", true),
            ("10.0.0.7", "10.0.0.7", true),
            ("10.0.0.7", "10.0.0.6", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "::1", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe80::1", false),
            ("::1", "::1", true),
            ("::/0", "2001:db8::1", true),
        ];
        for (network, ip, expected) in cases {
            let found = network.parse::<Network>().unwrap().contains(ip.parse().unwrap());
            assert_eq!(found, expected, "{ip} in {network}");
        }
    }

    #[test]
    fn a_slip_in_a_network_is_refused() {
        for text in [
            "",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0.0/+8",
            "::/129",
            "fd00::1/8",
            "host/8",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn everywhere_is_everywhere_and_nowhere_is_only_here() {
        let everywhere = Proxies::new(Network::everywhere());
        for addr in ["203.0.113.9:1", "[2001:db8::1]:1"] {
            let peer = Peer::Tcp(addr.parse().unwrap());
            assert!(everywhere.trust(&peer), "{addr}");
            assert!(!Proxies::new([]).trust(&peer), "{addr}");
        }
        assert!(Proxies::new([]).trust(&Peer::Unix(None)));
    }
}

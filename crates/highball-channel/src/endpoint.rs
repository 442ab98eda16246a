//! Where a service can be reached.

use std::fmt;

pub use highball_net::Address;

/// One server process of a service, however many addresses it has. The unit of load balancing (gRFC A61).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// At least one; tried with happy eyeballs.
    pub addresses: Vec<Address>,
    /// What the resolver knows of it.
    pub attributes: Attributes,
}

/// What a resolver may say of an endpoint. All of it is optional.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Attributes {
    /// Its share relative to others; policies that weigh use it. Default 1, never 0.
    pub weight: Option<u32>,
    /// Where it runs, such as a zone.
    pub locality: Option<String>,
    /// Lower is used first; default 0.
    pub priority: u32,
    /// What `ring_hash` places on the ring instead of the address (gRFC A76).
    pub hash_key: Option<String>,
    /// The name to verify and to call it by, where it is not the target's.
    pub hostname: Option<String>,
}

impl Endpoint {
    /// An endpoint with one address and nothing else known.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self { addresses: vec![address], attributes: Attributes::default() }
    }

    /// The first address, by which people know the endpoint.
    #[must_use]
    pub fn name(&self) -> String {
        self.addresses.first().map(ToString::to_string).unwrap_or_default()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

//! Looking up names: what the answer is, and the system's way to it.
//!
//! [`Os`](crate::Os) answers literals itself, then asks `/etc/hosts`, then the servers in `/etc/resolv.conf` with its search
//! domains, as the system's own resolver does. Both files are read anew for each look-up, so that a change of theirs counts at
//! once; nothing is cached, because whoever looks up keeps what it got for as long as the answer says. So nothing of it
//! outlives a look-up: its tasks are owned by the resolver that was built for it, and end with that.

mod dns;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

pub(crate) use dns::System;

/// Longest time that [`Os`](crate::Os) takes for one look-up, over all servers, attempts and search domains.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(20);

/// The records of a name: addresses, or the texts of TXT records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup<T = IpAddr> {
    /// At least one. Addresses come IPv4 first, each family in the order of the answer.
    pub records: Vec<T>,
    /// How long all of it is valid: the smallest TTL on the way. `None` when nobody said, as for literals and `/etc/hosts`.
    pub ttl: Option<Duration>,
}

/// A name without an answer. Displays one sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookupError {
    /// There is no such name, or it has no records of this kind. Asking again soon gives the same answer.
    NotFound {
        /// The name.
        name: String,
        /// How long that is valid (RFC 2308), if the answer said.
        ttl: Option<Duration>,
    },
    /// Nobody could be asked, or the servers failed. The records known so far are still the best there are.
    Unavailable {
        /// The name.
        name: String,
        /// What went wrong.
        cause: String,
    },
}

impl LookupError {
    pub(crate) fn unavailable(name: &str, cause: impl fmt::Display) -> Self {
        Self::Unavailable { name: name.to_owned(), cause: cause.to_string() }
    }
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { name, .. } => {
                write!(f, "{name} is not a name that DNS knows, or has no such records")
            }
            Self::Unavailable { name, cause } => write!(f, "{name} could not be looked up: {cause}"),
        }
    }
}

impl std::error::Error for LookupError {}

//! Who calls, as far as it was proven.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::Peer;

/// What is known about a caller. Each part was proven by whoever filled it in: the transport proves the certificate and the
/// process, an authenticator the token. An empty caller is anonymous.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// The client certificate of the connection (mTLS).
    pub certificate: Option<Arc<Certificate>>,
    /// The process at the other end of a Unix socket (`SO_PEERCRED`).
    pub process: Option<Process>,
    /// The verified bearer token of this RPC.
    pub token: Option<Arc<Token>>,
}

/// The names in a verified client certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The subject's common name; for people and logs, not for policy.
    pub common_name: Option<String>,
    /// DNS names of the subject alternative name.
    pub dns_names: Vec<String>,
    /// URIs of the subject alternative name; a SPIFFE ID is one of them.
    pub uris: Vec<String>,
}

/// A process on this machine, as the kernel names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Process id, where the system tells.
    pub pid: Option<i32>,
}

/// The claims of a verified token that anybody here asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Token {
    /// `iss`.
    pub issuer: Option<String>,
    /// `sub`.
    pub subject: String,
    /// Roles, from the claim the settings name.
    pub roles: Vec<String>,
}

impl Certificate {
    /// The first SPIFFE ID.
    #[must_use]
    pub fn spiffe_id(&self) -> Option<&str> {
        self.uris.iter().map(String::as_str).find(|uri| uri.starts_with("spiffe://"))
    }

    /// The name that tells this certificate from others: SPIFFE ID, then any URI, DNS name, common name.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        let uri = || self.uris.first().map(String::as_str);
        let dns = || self.dns_names.first().map(String::as_str);
        self.spiffe_id().or_else(uri).or_else(dns).or(self.common_name.as_deref())
    }
}

impl Caller {
    /// Whether nothing was proven.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        *self == Self::default()
    }

    /// The key a budget is kept under: the certificate, else the token's subject within its issuer, else the user of a
    /// Unix socket, else the address without its port.
    #[must_use]
    pub fn key(&self, peer: &Peer) -> CallerKey<'_> {
        if let Some(name) = self.certificate.as_ref().and_then(|certificate| certificate.name()) {
            return CallerKey::Certificate(name);
        }
        if let Some(token) = &self.token {
            return CallerKey::Token { issuer: token.issuer.as_deref(), subject: &token.subject };
        }
        match (self.process, peer) {
            (Some(process), _) => CallerKey::User(process.uid),
            (None, Peer::Tcp(addr)) => CallerKey::Address(addr.ip()),
            (None, Peer::Unix(_)) => CallerKey::Unix,
        }
    }
}

/// What tells one caller from another. Borrowed, because every RPC asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallerKey<'a> {
    /// The name in the certificate.
    Certificate(&'a str),
    /// The subject of the token.
    Token {
        /// Who issued it; subjects of different issuers are different callers.
        issuer: Option<&'a str>,
        /// `sub`.
        subject: &'a str,
    },
    /// The user of a Unix socket.
    User(u32),
    /// The address, without its port.
    Address(IpAddr),
    /// Somebody on this machine, whom the kernel did not name.
    Unix,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = self.certificate.as_ref().and_then(|certificate| certificate.name()) {
            f.write_str(name)
        } else if let Some(token) = &self.token {
            f.write_str(&token.subject)
        } else if let Some(process) = self.process {
            write!(f, "uid {}", process.uid)
        } else {
            f.write_str("anonymous")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_kept_under_the_strongest_proof() {
        let peer = Peer::Tcp("10.0.0.7:4000".parse().unwrap());
        let mut caller = Caller::default();
        assert!(caller.is_anonymous());
        assert_eq!(caller.key(&peer), CallerKey::Address([10, 0, 0, 7].into()));
        caller.process = Some(Process { uid: 7, gid: 7, pid: None });
        assert_eq!(caller.key(&Peer::Unix(None)), CallerKey::User(7));
        caller.token =
            Some(Arc::new(Token { issuer: Some("iss".into()), subject: "ann".into(), roles: Vec::new() }));
        assert_eq!(caller.key(&peer), CallerKey::Token { issuer: Some("iss"), subject: "ann" });
        let certificate = Certificate { dns_names: vec!["a.example".into()], ..Certificate::default() };
        caller.certificate = Some(Arc::new(certificate));
        assert_eq!(
            (caller.key(&peer), caller.to_string().as_str()),
            (CallerKey::Certificate("a.example"), "a.example")
        );
    }
}

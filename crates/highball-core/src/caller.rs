//! Who calls, as far as it was proven.

use std::fmt;
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
    pub fn key(&self, peer: &Peer) -> String {
        if let Some(name) = self.certificate.as_ref().and_then(|certificate| certificate.name()) {
            return format!("cert:{name}");
        }
        if let Some(token) = &self.token {
            return format!("token:{}:{}", token.issuer.as_deref().unwrap_or_default(), token.subject);
        }
        match (self.process, peer) {
            (Some(process), _) => format!("uid:{}", process.uid),
            (None, Peer::Tcp(addr)) => format!("ip:{}", addr.ip()),
            (None, Peer::Unix(_)) => "unix".to_owned(),
        }
    }
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
        assert_eq!(caller.key(&peer), "ip:10.0.0.7");
        caller.process = Some(Process { uid: 7, gid: 7, pid: None });
        assert_eq!(caller.key(&Peer::Unix(None)), "uid:7");
        caller.token =
            Some(Arc::new(Token { issuer: Some("iss".into()), subject: "ann".into(), roles: Vec::new() }));
        assert_eq!(caller.key(&peer), "token:iss:ann");
        let certificate = Certificate { dns_names: vec!["a.example".into()], ..Certificate::default() };
        caller.certificate = Some(Arc::new(certificate));
        assert_eq!(
            (caller.key(&peer).as_str(), caller.to_string().as_str()),
            ("cert:a.example", "a.example")
        );
    }
}

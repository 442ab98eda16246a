//! What is in force, and what a reload changed.

use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

use highball_core::caller::Certificate;

use super::ClientAuth;

/// What is known about the files in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The server's certificates, in the order of [`Settings::pairs`](super::Settings::pairs).
    pub certificates: Vec<CertificateFacts>,
    /// Whether clients are asked for a certificate.
    pub client_auth: ClientAuth,
    /// CAs that client certificates may come from.
    pub client_cas: usize,
    /// When the first revocation list is due to be replaced. After that it is still used, because refusing everybody when
    /// a distribution job fails is the worse mistake; alarm on it. `None` without lists.
    pub crl_next_update: Option<SystemTime>,
}

/// What is known about one certificate in force and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The certificate's file.
    pub file: PathBuf,
    /// The names that clients are shown it for: those of the settings, else the DNS names in the certificate. None of them
    /// is in two certificates. Empty only for the first, which clients are shown that ask for no name.
    pub server_names: Vec<String>,
    /// The names in the certificate, without IP addresses.
    pub certificate: Certificate,
    /// When it expires.
    pub not_after: SystemTime,
    /// The file mode lets every user of this machine read the private key. Reported and not refused, because it is what
    /// Kubernetes mounts by default.
    pub key_readable_by_all: bool,
}

/// What a reload found changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changed {
    /// A certificate of the server's, its key, or the mode of the key file.
    pub certificate: bool,
    /// The CAs of clients.
    pub client_ca: bool,
    /// The revocation lists.
    pub crl: bool,
}

impl Changed {
    /// Whether anything changed.
    #[must_use]
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts =
            [(self.certificate, "certificate"), (self.client_ca, "client CA"), (self.crl, "revocation list")];
        let mut separator = "";
        for (_, name) in parts.into_iter().filter(|(changed, _)| *changed) {
            write!(f, "{separator}{name}")?;
            separator = ", ";
        }
        if separator.is_empty() {
            f.write_str("nothing")?;
        }
        Ok(())
    }
}

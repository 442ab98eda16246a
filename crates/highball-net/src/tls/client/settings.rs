//! What a person chooses, and what became of it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use highball_core::caller::Certificate;

use crate::tls::TlsError;
use crate::tls::client::server;

/// Where the distributions keep the CAs that the system trusts: Debian, Ubuntu and Alpine; Fedora and RHEL; their older
/// releases; openSUSE; Alpine again. The first that is there counts.
pub const SYSTEM_ROOTS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// How servers are verified, and what they are shown. All files are PEM; none may be larger than 16 MiB.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The CAs that server certificates may come from. Default [`Roots::System`].
    pub roots: Roots,
    /// The certificate that servers are shown when they ask for one (mTLS). Default none.
    pub identity: Option<Identity>,
    /// The name that server certificates must be for, instead of the one that is dialled; it is also sent to the server.
    /// Default none.
    pub server_name: Option<String>,
}

/// The CAs that server certificates may come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Roots {
    /// Those that the system trusts: the first file of [`SYSTEM_ROOTS`]. A CA in it that cannot be read is left out, because
    /// that file is nobody's own. It is the bundle of the machine and not one built into the program, so that the
    /// administrator's CAs count and a CA that lost its trust goes with an update of the system.
    #[default]
    System,
    /// Those in this file and no others, one or many: during a rotation the old and the new one. What is in this file is
    /// trusted until it is taken out. A CA that cannot be read is an error.
    File(PathBuf),
}

/// A certificate of our own and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, followed by the intermediates up to, and without, the root.
    pub cert: PathBuf,
    /// Its private key: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: PathBuf,
}

impl Settings {
    /// The system's CAs, and no certificate of our own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With the CAs in `file` and no others.
    #[must_use]
    pub fn with_roots(mut self, file: impl Into<PathBuf>) -> Self {
        self.roots = Roots::File(file.into());
        self
    }

    /// With a certificate of our own (mTLS).
    #[must_use]
    pub fn with_identity(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.identity = Some(Identity { cert: cert.into(), key: key.into() });
        self
    }

    /// With another name to verify than the one that is dialled.
    #[must_use]
    pub fn with_server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Whether they can work.
    pub(super) fn check(&self) -> Result<(), TlsError> {
        match &self.server_name {
            Some(name) if server(name).is_none() => Err(TlsError::settings(format!(
                "server_name is \"{name}\", which no certificate can be for; set it to a DNS name or an IP address"
            ))),
            _ => Ok(()),
        }
    }
}

impl Roots {
    /// The file to read now.
    pub(super) fn file(&self) -> Result<&Path, TlsError> {
        let Self::File(file) = self else {
            let found = SYSTEM_ROOTS.into_iter().map(Path::new).find(|file| file.exists());
            return found.ok_or_else(|| {
                TlsError::settings(format!(
                    "this system has no CAs ({}); install them (ca-certificates), or name a file of your own",
                    SYSTEM_ROOTS.join(", ")
                ))
            });
        };
        Ok(file)
    }
}

/// What is known about the files in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The file with the CAs.
    pub roots_file: PathBuf,
    /// CAs that server certificates may come from.
    pub roots: usize,
    /// CAs of the system's file that cannot be read, and are not trusted therefore.
    pub roots_skipped: usize,
    /// The names in our own certificate, without IP addresses, and when it expires.
    pub identity: Option<(Certificate, SystemTime)>,
    /// The file mode lets every user of this machine read the private key.
    pub key_readable_by_all: bool,
}

/// What a reload found changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changed {
    /// The CAs of servers.
    pub roots: bool,
    /// Our own certificate, its key, or the mode of the key file.
    pub identity: bool,
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
        f.write_str(match (self.roots, self.identity) {
            (true, true) => "CAs, certificate",
            (true, false) => "CAs",
            (false, true) => "certificate",
            (false, false) => "nothing",
        })
    }
}

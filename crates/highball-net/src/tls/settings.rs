//! What a person chooses.

use std::path::PathBuf;

use super::{TlsError, names};

/// The most certificates of one listener. Beyond it a proxy for customers' domains is better served by more listeners, or by
/// one certificate with many names.
pub const PAIRS_MAX: usize = 256;

/// Which files a listener's TLS is made of. All are PEM; none may be larger than 16 MiB, nor all pairs together than 32 MiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The server's certificates with their keys: one to [`PAIRS_MAX`]. Which of them a client is shown is chosen by the name
    /// that it asks for (SNI); the first is for clients that ask for none, or for one that nothing here is for. A name that
    /// two pairs claim is an error.
    pub pairs: Vec<Pair>,
    /// Refuses clients that ask for no name, or for one that no pair is for, with the alert `unrecognized_name` (RFC 6066,
    /// section 3). Default off, because clients that dial an address ask for no name.
    pub strict_names: bool,
    /// The CAs that client certificates may come from, one or many: during a rotation the old and the new one. What is in
    /// this file is trusted until it is taken out; a CA's own dates are not looked at (RFC 5280 §6.1.1 d). Default none.
    pub client_ca: Option<PathBuf>,
    /// Whether clients are asked for a certificate. Default [`ClientAuth::None`].
    pub client_auth: ClientAuth,
    /// Revocation lists for client certificates. When set, every CA in `client_ca` needs a list here, else an unlisted CA
    /// would silently revoke nothing; so do intermediates that clients present. A list past its next update is still
    /// used: see [`Facts::crl_next_update`](super::Facts::crl_next_update). CAs that share a name cannot both be covered. Default none.
    pub crl: Option<PathBuf>,
}

/// A certificate of the server and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The server's certificate, followed by the intermediates up to, and without, the root.
    pub cert: PathBuf,
    /// Its private key: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: PathBuf,
    /// The names that clients get it for, instead of the DNS names in the certificate: `shop.example.com`, or
    /// `*.example.com` for everything with one label more (RFC 9525, section 6.3). An exact name wins over a wildcard. For two
    /// certificates that share a name; whether this one is good for the names is the clients' to judge. Default none: those
    /// in the certificate.
    pub names: Vec<String>,
}

impl Pair {
    /// For the names in the certificate.
    #[must_use]
    pub fn new(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { cert: cert.into(), key: key.into(), names: Vec::new() }
    }

    /// For these names instead.
    #[must_use]
    pub fn with_names(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.names = names.into_iter().map(Into::into).collect();
        self
    }
}

impl Settings {
    /// Server authentication only: clients verify us and are not asked for anything.
    #[must_use]
    pub fn new(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self::of(vec![Pair::new(cert, key)])
    }

    /// The same with several certificates, the first for clients that ask for no name that is known.
    #[must_use]
    pub fn of(pairs: Vec<Pair>) -> Self {
        Self { pairs, strict_names: false, client_ca: None, client_auth: ClientAuth::None, crl: None }
    }

    /// With one more certificate.
    #[must_use]
    pub fn with_pair(mut self, pair: Pair) -> Self {
        self.pairs.push(pair);
        self
    }

    /// Without clients that ask for no name that is known.
    #[must_use]
    pub fn with_strict_names(mut self) -> Self {
        self.strict_names = true;
        self
    }

    /// With client certificates from the CAs in `client_ca` (mTLS).
    #[must_use]
    pub fn with_client_ca(mut self, client_ca: impl Into<PathBuf>, client_auth: ClientAuth) -> Self {
        self.client_ca = Some(client_ca.into());
        self.client_auth = client_auth;
        self
    }

    /// With revocation lists for client certificates.
    #[must_use]
    pub fn with_crl(mut self, crl: impl Into<PathBuf>) -> Self {
        self.crl = Some(crl.into());
        self
    }

    /// Whether they contradict themselves.
    pub(super) fn check(&self) -> Result<(), TlsError> {
        self.check_pairs()?;
        let asks = self.client_auth != ClientAuth::None;
        let problem = match (&self.client_ca, &self.crl) {
            (None, _) if asks => {
                "clients are asked for certificates, but client_ca is not set; name the file with the CAs they may come from"
            }
            (Some(_), _) if !asks => {
                "client_ca is set, but client_auth is none and nobody would be asked; set client_auth to required or optional, or remove client_ca"
            }
            (None, Some(_)) => {
                "crl is set, but client_ca is not, so there is nothing to revoke; set client_ca and client_auth, or remove crl"
            }
            _ => return Ok(()),
        };
        Err(TlsError::settings(problem))
    }

    fn check_pairs(&self) -> Result<(), TlsError> {
        match self.pairs.len() {
            0 => return Err(TlsError::settings("there is no certificate; name its file and its key's")),
            count if count > PAIRS_MAX => {
                let problem = format!(
                    "there are {count} certificates, and {PAIRS_MAX} is the most of one listener; put more names into each"
                );
                return Err(TlsError::settings(problem));
            }
            _ => {}
        }
        for pair in &self.pairs {
            if let Some(wrong) = pair.names.iter().find(|name| names::key(name).is_none()) {
                let problem = format!(
                    "names of {} holds \"{wrong}\", which is no DNS name; write it as shop.example.com or *.example.com",
                    pair.cert.display()
                );
                return Err(TlsError::settings(problem));
            }
        }
        Ok(())
    }
}

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// Not asked. The default, because a server on the internet has clients without certificates.
    #[default]
    None,
    /// Asked; a client without one is anonymous, a client with a bad one is refused.
    Optional,
    /// Asked; a client without one is refused.
    Required,
}

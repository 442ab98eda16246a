//! What a person chooses.

use std::path::PathBuf;

use super::TlsError;

/// Which files a listener's TLS is made of. All are PEM; none may be larger than 16 MiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The server's certificate, followed by the intermediates up to, and without, the root.
    pub cert: PathBuf,
    /// Its private key: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: PathBuf,
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

impl Settings {
    /// Server authentication only: clients verify us and are not asked for anything.
    #[must_use]
    pub fn new(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { cert: cert.into(), key: key.into(), client_ca: None, client_auth: ClientAuth::None, crl: None }
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

//! A certificate of our own with its key, checked. Both sides have them.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use highball_core::caller::Certificate;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::X509Certificate;

use super::files::PairFiles;
use super::pem::{certificates, sections, unreadable};
use super::{TlsError, clock, identity};

/// What a certificate of ours is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Server,
    Client,
}

/// A pair that was checked.
pub(super) struct Own {
    pub(super) key: Arc<CertifiedKey>,
    /// The names in the certificate.
    pub(super) names: Certificate,
    pub(super) not_after: SystemTime,
    pub(super) key_readable_by_all: bool,
}

impl Own {
    /// Checks a pair that is to be put in force at `now`.
    pub(super) fn new(
        cert: &Path,
        key: &Path,
        files: &PairFiles,
        purpose: Purpose,
        provider: &CryptoProvider,
        now: SystemTime,
    ) -> Result<Self, TlsError> {
        let chain = certificates(cert, &files.cert)?;
        let (names, not_after) = {
            let leaf = leaf(cert, &chain, purpose)?;
            check_validity(cert, &leaf, now)?;
            let names = identity::names_of(&leaf).ok_or_else(|| unreadable(cert))?;
            (names, clock::system_time(leaf.validity().not_after))
        };
        let key = Arc::new(certified_key(cert, key, chain, &files.key, provider)?);
        Ok(Self { key, names, not_after, key_readable_by_all: files.key_mode & 0o004 != 0 })
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own").field("names", &self.names).finish_non_exhaustive()
    }
}

/// The certificate itself.
fn leaf<'a>(
    file: &Path,
    chain: &'a [CertificateDer<'_>],
    purpose: Purpose,
) -> Result<X509Certificate<'a>, TlsError> {
    let leaf = chain.first().and_then(|der| identity::parse(der));
    let leaf = leaf.ok_or_else(|| unreadable(file))?;
    let Ok(Some(usage)) = leaf.extended_key_usage() else { return Ok(leaf) };
    let (fits, problem) = match purpose {
        Purpose::Server => (
            usage.value.server_auth,
            "is not for servers (its extended key usage lacks serverAuth); is it a client's?",
        ),
        Purpose::Client => (
            usage.value.client_auth,
            "is not for clients (its extended key usage lacks clientAuth); is it a server's?",
        ),
    };
    if fits || usage.value.any { Ok(leaf) } else { Err(TlsError::content(file, problem)) }
}

/// Whether it is valid now.
fn check_validity(file: &Path, leaf: &X509Certificate<'_>, now: SystemTime) -> Result<(), TlsError> {
    let validity = leaf.validity();
    let problem = if now > clock::system_time(validity.not_after) {
        format!("expired on {}; renew the certificate", clock::date(validity.not_after))
    } else if now < clock::system_time(validity.not_before) {
        format!(
            "is valid from {} only; wait, or check this machine's clock",
            clock::date(validity.not_before)
        )
    } else {
        return Ok(());
    };
    Err(TlsError::content(file, problem))
}

/// The private key, together with the chain it belongs to.
fn certified_key(
    cert: &Path,
    key_file: &Path,
    chain: Vec<CertificateDer<'static>>,
    pem: &[u8],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let problem = |problem| Err(TlsError::content(key_file, problem));
    let keys: Vec<PrivateKeyDer<'static>> = sections(key_file, pem)?;
    let Some(key) = keys.into_iter().next() else {
        let encrypted = pem.windows(b"ENCRYPTED".len()).any(|window| window == b"ENCRYPTED");
        return problem(if encrypted {
            "holds an encrypted private key, and nobody is there to type its passphrase; decrypt it with `openssl pkey`"
        } else {
            "holds no PEM private key (-----BEGIN PRIVATE KEY-----); is it the right file?"
        });
    };
    let Ok(key) = provider.key_provider.load_private_key(key) else {
        return problem("holds a private key of a kind that is not supported; use ECDSA P-256 or RSA 2048");
    };
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        // A key that cannot tell its public half: the first handshake will say.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(_) => Err(TlsError::content(
            key_file,
            format!(
                "is not the key of the first certificate in {}; put the matching pair in place, its own certificate first",
                cert.display()
            ),
        )),
    }
}

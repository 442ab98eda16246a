//! From bytes to what rustls serves with; every check a person should hear about at start, not at the first handshake.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{Error, InconsistentKeys, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::X509Certificate;

use super::clients::clients;
use super::clock::{self, Clock};
use super::files::{Files, Prints};
use super::{Alpn, Facts, Settings, TlsError, identity};
use crate::Platform;

/// A checked set of files.
pub(super) struct InForce {
    pub(super) config: Arc<ServerConfig>,
    pub(super) facts: Facts,
    pub(super) prints: Prints,
}

impl InForce {
    /// Checks `files` and builds what serves with them.
    pub(super) fn new(
        settings: &Settings,
        files: &Files,
        prints: Prints,
        platform: &Arc<dyn Platform>,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = certificates(&settings.cert, &files.cert)?;
        let leaf = leaf(&settings.cert, &chain)?;
        let (names, not_after) =
            (identity::names_of(&leaf).ok_or_else(|| unreadable(&settings.cert))?, leaf.validity().not_after);
        let key = certified_key(&settings.cert, &settings.key, chain.clone(), &files.key, &provider)?;
        let clients = clients(settings, files, &provider)?;
        let facts = Facts {
            certificate: names,
            not_after: clock::system_time(not_after),
            client_auth: settings.client_auth,
            client_cas: clients.as_ref().map_or(0, |clients| clients.cas),
            crl_next_update: clients.as_ref().and_then(|clients| clients.crl_next_update),
            key_readable_by_all: files.key_mode & 0o004 != 0,
        };
        let clock = Arc::new(Clock(platform.clone()));
        let builder = ServerConfig::builder_with_details(provider, clock)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("the provider has suites for both versions");
        let resolver = Arc::new(SingleCertAndKey::from(key));
        let mut config = match clients {
            Some(clients) => {
                let mut config =
                    builder.with_client_cert_verifier(clients.verifier).with_cert_resolver(resolver);
                // A resumed session is taken at its word; see "Resumption" in the module's documentation.
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
                config
            }
            None => builder.with_no_client_auth().with_cert_resolver(resolver),
        };
        config.alpn_protocols = Alpn::OFFERED.map(|alpn| alpn.name().as_bytes().to_vec()).to_vec();
        Ok(Self { config: Arc::new(config), facts, prints })
    }
}

/// All certificates in a PEM file, at least one.
pub(super) fn certificates(file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = sections(file, pem)?;
    if found.is_empty() {
        let problem = if PrivateKeyDer::from_pem_slice(pem).is_ok() {
            "holds a private key and no certificate; are the two paths swapped?"
        } else {
            "holds no PEM certificate (-----BEGIN CERTIFICATE-----); convert DER with `openssl x509 -inform der`"
        };
        return Err(TlsError::content(file, problem));
    }
    Ok(found)
}

/// All sections of one kind.
pub(super) fn sections<T: PemObject>(file: &Path, pem: &[u8]) -> Result<Vec<T>, TlsError> {
    let broken = |cause| {
        let problem = format!("is broken PEM ({cause}); was it written half, or edited by hand?");
        TlsError::content(file, problem)
    };
    T::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(broken)
}

/// The sentence for bytes that are PEM and no certificate.
pub(super) fn unreadable(file: &Path) -> TlsError {
    TlsError::content(file, "holds a certificate that is not valid X.509; issue it again")
}

/// The server's own certificate.
fn leaf<'a>(file: &Path, chain: &'a [CertificateDer<'_>]) -> Result<X509Certificate<'a>, TlsError> {
    let leaf = chain.first().and_then(|der| identity::parse(der));
    let leaf = leaf.ok_or_else(|| unreadable(file))?;
    if let Ok(Some(usage)) = leaf.extended_key_usage()
        && !(usage.value.server_auth || usage.value.any)
    {
        let problem = "is not for servers (its extended key usage lacks serverAuth); is it a client's?";
        return Err(TlsError::content(file, problem));
    }
    Ok(leaf)
}

/// Whether the server's certificate is valid now.
pub(super) fn check_dates(settings: &Settings, files: &Files, now: SystemTime) -> Result<(), TlsError> {
    let chain = certificates(&settings.cert, &files.cert)?;
    check_validity(&settings.cert, &leaf(&settings.cert, &chain)?, now)
}

/// Whether a certificate of ours is valid now.
pub(super) fn check_validity(
    file: &Path,
    leaf: &X509Certificate<'_>,
    now: SystemTime,
) -> Result<(), TlsError> {
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
pub(super) fn certified_key(
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

//! From bytes to what rustls dials with; every check a person should hear about at start, not at the first handshake.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::X509Certificate;

use super::files::{Files, Prints};
use super::{Facts, Identity, Roots, Settings};
use crate::Platform;
use crate::tls::clock::{self, Clock};
use crate::tls::config::{certificates, certified_key, check_validity, unreadable};
use crate::tls::{TlsError, identity};

/// A checked set of files.
pub(super) struct InForce {
    pub(super) config: Arc<ClientConfig>,
    pub(super) facts: Facts,
    pub(super) prints: Prints,
}

impl InForce {
    /// Checks `files` and builds what dials with them.
    pub(super) fn new(
        settings: &Settings,
        files: &Files,
        prints: Prints,
        platform: &Arc<dyn Platform>,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let (roots, roots_skipped) = roots(settings, files)?;
        let mut facts = Facts {
            roots_file: files.roots_file.clone(),
            roots: roots.len(),
            roots_skipped,
            identity: None,
            key_readable_by_all: false,
        };
        let clock = Arc::new(Clock(platform.clone()));
        let builder = ClientConfig::builder_with_details(provider.clone(), clock)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("the provider has suites for both versions")
            .with_root_certificates(roots);
        let mut config = match own(settings, files, &provider, &mut facts)? {
            Some(own) => builder.with_client_cert_resolver(Arc::new(own)),
            None => builder.with_no_client_auth(),
        };
        // A resumed session is taken at its word; see the module's documentation.
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), facts, prints })
    }
}

/// The CAs, and how many of them cannot be read.
fn roots(settings: &Settings, files: &Files) -> Result<(RootCertStore, usize), TlsError> {
    let file = &files.roots_file;
    let mut roots = RootCertStore::empty();
    let mut skipped = 0;
    for ca in certificates(file, &files.roots)? {
        match (roots.add(ca), &settings.roots) {
            (Ok(()), _) => {}
            (Err(_), Roots::System) => skipped += 1,
            (Err(_), Roots::File(_)) => return Err(unreadable(file)),
        }
    }
    Ok((roots, skipped))
}

/// Our own certificate with its key.
fn own(
    settings: &Settings,
    files: &Files,
    provider: &CryptoProvider,
    facts: &mut Facts,
) -> Result<Option<SingleCertAndKey>, TlsError> {
    let (Some(Identity { cert, key }), Some(content)) = (&settings.identity, &files.identity) else {
        return Ok(None);
    };
    let chain = certificates(cert, &content.cert)?;
    let leaf = leaf(cert, &chain)?;
    let names = identity::names_of(&leaf).ok_or_else(|| unreadable(cert))?;
    facts.identity = Some((names, clock::system_time(leaf.validity().not_after)));
    facts.key_readable_by_all = content.key_mode & 0o004 != 0;
    certified_key(cert, key, chain.clone(), &content.key, provider).map(|own| Some(own.into()))
}

/// Whether our own certificate is valid now.
pub(super) fn check_dates(settings: &Settings, files: &Files, now: SystemTime) -> Result<(), TlsError> {
    let (Some(identity), Some(content)) = (&settings.identity, &files.identity) else { return Ok(()) };
    let chain = certificates(&identity.cert, &content.cert)?;
    check_validity(&identity.cert, &leaf(&identity.cert, &chain)?, now)
}

/// Our own certificate.
fn leaf<'a>(file: &Path, chain: &'a [CertificateDer<'_>]) -> Result<X509Certificate<'a>, TlsError> {
    let leaf = chain.first().and_then(|der| identity::parse(der));
    let leaf = leaf.ok_or_else(|| unreadable(file))?;
    if let Ok(Some(usage)) = leaf.extended_key_usage()
        && !(usage.value.client_auth || usage.value.any)
    {
        let problem = "is not for clients (its extended key usage lacks clientAuth); is it a server's?";
        return Err(TlsError::content(file, problem));
    }
    Ok(leaf)
}

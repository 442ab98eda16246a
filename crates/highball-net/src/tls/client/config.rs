//! From bytes to what rustls dials with; every check a person should hear about at start, not at the first handshake.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};

use super::files::{Files, Prints};
use super::{Facts, Identity, Roots, Settings};
use crate::Platform;
use crate::tls::TlsError;
use crate::tls::clock::Clock;
use crate::tls::own::{Own, Purpose};
use crate::tls::pem::{certificates, unreadable};

/// A checked set of files.
pub(super) struct InForce {
    pub(super) config: Arc<ClientConfig>,
    own: Option<Arc<Own>>,
    pub(super) facts: Facts,
    pub(super) prints: Prints,
}

impl InForce {
    /// Checks `files` and builds what dials with them. The certificate that `old` has already is taken over as it is: one
    /// that expired in service must not keep new roots from taking effect.
    pub(super) fn new(
        settings: &Settings,
        files: &Files,
        prints: Prints,
        old: Option<&Self>,
        platform: &Arc<dyn Platform>,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let (roots, roots_skipped) = roots(settings, files)?;
        let unchanged = old.filter(|old| !old.prints.changed(&prints).identity);
        let own = match unchanged {
            Some(old) => old.own.clone(),
            None => own(settings, files, &provider, platform.wall_clock())?,
        };
        let facts = Facts {
            roots_file: files.roots_file.clone(),
            roots: roots.len(),
            roots_skipped,
            identity: own.as_ref().map(|own| (own.names.clone(), own.not_after)),
            key_readable_by_all: own.as_ref().is_some_and(|own| own.key_readable_by_all),
        };
        let clock = Arc::new(Clock(platform.clone()));
        let builder = ClientConfig::builder_with_details(provider.clone(), clock)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("the provider has suites for both versions")
            .with_root_certificates(roots);
        let mut config = match &own {
            Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own.key.clone()))),
            None => builder.with_no_client_auth(),
        };
        // A resumed session is taken at its word; see the module's documentation.
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), own, facts, prints })
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
    now: SystemTime,
) -> Result<Option<Arc<Own>>, TlsError> {
    let (Some(Identity { cert, key }), Some(files)) = (&settings.identity, &files.identity) else {
        return Ok(None);
    };
    Own::new(cert, key, files, Purpose::Client, provider, now).map(|own| Some(Arc::new(own)))
}

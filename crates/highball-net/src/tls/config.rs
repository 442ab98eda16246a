//! From bytes to what rustls serves with; every check a person should hear about at start, not at the first handshake.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};

use super::certificates::Certificates;
use super::clients::clients;
use super::clock::Clock;
use super::files::{Files, Prints};
use super::own::{Own, Purpose};
use super::{Alpn, Facts, Settings, TlsError};
use crate::Platform;

/// A checked set of files.
pub(super) struct InForce {
    pub(super) config: Arc<ServerConfig>,
    pub(super) certificates: Arc<Certificates>,
    pub(super) facts: Facts,
    pub(super) prints: Prints,
}

impl InForce {
    /// Checks `files` and builds what serves with them. Pairs that `old` has already are taken over as they are: one that
    /// expired in service must not keep the renewal of another, or a revocation, from taking effect.
    pub(super) fn new(
        settings: &Settings,
        files: &Files,
        prints: Prints,
        old: Option<&Self>,
        platform: &Arc<dyn Platform>,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let owns = owns(settings, files, &prints, old, &provider, platform)?;
        let certificates = Arc::new(Certificates::new(settings, owns)?);
        let clients = clients(settings, files, &provider)?;
        let facts = Facts {
            certificates: certificates.facts(settings),
            client_auth: settings.client_auth,
            client_cas: clients.as_ref().map_or(0, |clients| clients.cas),
            crl_next_update: clients.as_ref().and_then(|clients| clients.crl_next_update),
        };
        let clock = Arc::new(Clock(platform.clone()));
        let builder = ServerConfig::builder_with_details(provider, clock)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("the provider has suites for both versions");
        let resolver = certificates.clone();
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
        Ok(Self { config: Arc::new(config), certificates, facts, prints })
    }
}

/// All pairs, checked.
fn owns(
    settings: &Settings,
    files: &Files,
    prints: &Prints,
    old: Option<&InForce>,
    provider: &CryptoProvider,
    platform: &Arc<dyn Platform>,
) -> Result<Vec<Arc<Own>>, TlsError> {
    let now = platform.wall_clock();
    let pairs = settings.pairs.iter().zip(&files.pairs).enumerate();
    let own = pairs.map(|(number, (pair, files))| {
        let unchanged = old.filter(|old| old.prints.same_pair(prints, number));
        match unchanged.and_then(|old| old.certificates.get(number)) {
            Some(own) => Ok(own.clone()),
            None => Own::new(&pair.cert, &pair.key, files, Purpose::Server, provider, now).map(Arc::new),
        }
    });
    own.collect()
}

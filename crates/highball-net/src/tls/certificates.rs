//! The certificates of a listener, and which of them a client is shown.

use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::names::{self, Names};
use super::own::Own;
use super::{CertificateFacts, Pair, Settings, TlsError};

/// All certificates, in the order of the settings, and at least one.
#[derive(Debug)]
pub(super) struct Certificates {
    owns: Vec<Arc<Own>>,
    names: Names,
    strict: bool,
}

impl Certificates {
    /// Finds out who is for what.
    ///
    /// # Errors
    /// Two are for the same name, or one for none.
    pub(super) fn new(settings: &Settings, owns: Vec<Arc<Own>>) -> Result<Self, TlsError> {
        let mut names = Names::default();
        for (number, (pair, own)) in settings.pairs.iter().zip(&owns).enumerate() {
            let own_names = server_names(pair, own);
            // The first is shown without a name, too.
            if own_names.is_empty() && (number > 0 || settings.strict_names) {
                let problem = "has no DNS name (subjectAltName), so no client would be shown it; issue it with its names, or state them in names";
                return Err(TlsError::content(&pair.cert, problem));
            }
            for name in own_names {
                names.claim(name, number).map_err(|other| {
                    let other = settings.pairs.get(other).map(|other| other.cert.display().to_string());
                    let problem = format!(
                        "is for \"{name}\", and so is {}; state in names which of them serves it",
                        other.unwrap_or_default()
                    );
                    TlsError::content(&pair.cert, problem)
                })?;
            }
        }
        Ok(Self { owns, names, strict: settings.strict_names })
    }

    pub(super) fn get(&self, number: usize) -> Option<&Arc<Own>> {
        self.owns.get(number)
    }

    /// The number of the certificate for a client that asks for `name`; `None` if there is none for it.
    pub(super) fn choose(&self, name: Option<&str>) -> Option<usize> {
        let first = if self.strict { None } else { Some(0) };
        name.and_then(|name| self.names.find(name)).or(first)
    }

    pub(super) fn facts(&self, settings: &Settings) -> Vec<CertificateFacts> {
        let facts = settings.pairs.iter().zip(&self.owns).map(|(pair, own)| CertificateFacts {
            file: pair.cert.clone(),
            server_names: server_names(pair, own).into_iter().map(str::to_owned).collect(),
            certificate: own.names.clone(),
            not_after: own.not_after,
            key_readable_by_all: own.key_readable_by_all,
        });
        facts.collect()
    }
}

/// The names that clients are shown it for.
fn server_names<'a>(pair: &'a Pair, own: &'a Own) -> Vec<&'a str> {
    let stated = if pair.names.is_empty() { &own.names.dns_names } else { &pair.names };
    stated.iter().map(String::as_str).filter(|name| names::key(name).is_some()).collect()
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let own = self.get(self.choose(hello.server_name())?)?;
        Some(own.key.clone())
    }
}

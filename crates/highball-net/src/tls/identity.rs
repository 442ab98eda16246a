//! What a certificate says.

use highball_core::caller::Certificate;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// Parses one DER certificate, and nothing after it.
pub(super) fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Some(certificate),
        _ => None,
    }
}

/// The names of a certificate. `None` when any of them cannot be read: a policy must not decide on half of them.
pub(super) fn names(der: &[u8]) -> Option<Certificate> {
    names_of(&parse(der)?)
}

/// The names of a parsed certificate.
pub(super) fn names_of(certificate: &X509Certificate<'_>) -> Option<Certificate> {
    let common_name = certificate.subject().iter_common_name().next();
    let mut names = Certificate {
        common_name: common_name.and_then(|name| name.as_str().ok()).map(str::to_owned),
        ..Certificate::default()
    };
    let alternatives = certificate.subject_alternative_name().ok()?;
    for name in alternatives.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(name) => names.dns_names.push((*name).to_owned()),
            GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
            GeneralName::Invalid(..) => return None,
            _ => {}
        }
    }
    Some(names)
}

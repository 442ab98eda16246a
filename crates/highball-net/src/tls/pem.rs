//! What PEM files hold.

use std::path::Path;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

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

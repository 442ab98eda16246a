//! Who may come in: the CAs of client certificates and their revocation lists.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

use super::files::Files;
use super::pem::{certificates, sections, unreadable};
use super::{ClientAuth, Settings, TlsError, clock, identity};

/// The client side of it.
pub(super) struct Clients {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    pub(super) cas: usize,
    pub(super) crl_next_update: Option<SystemTime>,
}

/// What verifies clients; `None` when they are not asked.
pub(super) fn clients(
    settings: &Settings,
    files: &Files,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Clients>, TlsError> {
    let (Some(file), Some(pem)) = (&settings.client_ca, &files.client_ca) else {
        return Ok(None);
    };
    let cas = certificates(file, pem)?;
    let mut roots = RootCertStore::empty();
    for ca in &cas {
        roots.add(ca.clone()).map_err(|_| unreadable(file))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    if settings.client_auth == ClientAuth::Optional {
        builder = builder.allow_unauthenticated();
    }
    let mut crl_next_update = None;
    let mut name = file;
    if let (Some(file), Some(pem)) = (&settings.crl, &files.crl) {
        let crls: Vec<CertificateRevocationListDer<'static>> = sections(file, pem)?;
        crl_next_update = covered(file, &crls, &cas)?;
        builder = builder.with_crls(crls);
        name = file;
    }
    // The lists are all that is left to be wrong.
    let wrong = |cause| TlsError::content(name, format!("cannot be used ({cause}); issue it again"));
    let verifier = builder.build().map_err(wrong)?;
    Ok(Some(Clients { verifier, cas: cas.len(), crl_next_update }))
}

/// Checks that every CA has a list, and says when the first one is due.
fn covered(
    file: &Path,
    crls: &[CertificateRevocationListDer<'_>],
    cas: &[CertificateDer<'_>],
) -> Result<Option<SystemTime>, TlsError> {
    if crls.is_empty() {
        let problem = "holds no PEM revocation list (-----BEGIN X509 CRL-----); convert DER with `openssl crl -inform der`";
        return Err(TlsError::content(file, problem));
    }
    let mut issuers = Vec::new();
    let mut due = Vec::new();
    for der in crls {
        let Ok(([], crl)) = CertificateRevocationList::from_der(der) else {
            return Err(TlsError::content(
                file,
                "holds a revocation list that is not valid X.509; issue it again",
            ));
        };
        issuers.push(crl.issuer().as_raw().to_vec());
        due.extend(crl.next_update().map(clock::system_time));
    }
    for ca in cas {
        let ca = identity::parse(ca).ok_or_else(|| unreadable(file))?;
        if !issuers.iter().any(|issuer| issuer == ca.subject().as_raw()) {
            let problem = format!(
                "holds no list of the CA \"{}\", so its clients could not be revoked; add that CA's list, even an empty one",
                ca.subject()
            );
            return Err(TlsError::content(file, problem));
        }
    }
    Ok(due.into_iter().min())
}

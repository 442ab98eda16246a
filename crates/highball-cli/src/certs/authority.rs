//! A CA that can sign.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use super::{Validity, spoken};

/// A CA certificate and its key.
pub(super) struct Authority {
    certificate: CertificateDer<'static>,
    not_after: OffsetDateTime,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate to be.
pub(super) struct Leaf {
    validity: Validity,
    usage: ExtendedKeyUsagePurpose,
    pub(super) common_name: Option<String>,
    pub(super) names: Vec<SanType>,
}

impl Leaf {
    pub(super) fn new(validity: Validity, usage: ExtendedKeyUsagePurpose) -> Self {
        Self { validity, usage, common_name: None, names: Vec::new() }
    }
}

impl Authority {
    /// Makes a new one. Its name is its own: verifiers find the issuer by name, and two CAs of one name in a bundle hide
    /// each other from some of them.
    pub(super) fn generate((not_before, not_after): Validity) -> Result<Self, String> {
        let key = KeyPair::generate().map_err(spoken)?;
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (not_before, not_after);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let id: String =
            params.key_identifier(&key).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let name = format!("highball development CA {} {id}", not_before.date());
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).map_err(spoken)?;
        Ok(Self { certificate: certificate.into(), not_after, issuer: Issuer::new(params, key) })
    }

    /// One that was made earlier.
    pub(super) fn restore(
        certificate: CertificateDer<'static>,
        key: KeyPair,
        not_after: OffsetDateTime,
    ) -> Result<Self, String> {
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(spoken)?;
        Ok(Self { certificate, not_after, issuer })
    }

    /// Issues a certificate with a new key. It does not outlive the CA, because nobody would accept it then.
    pub(super) fn issue(&self, leaf: Leaf) -> Result<(CertificateDer<'static>, KeyPair), String> {
        let key = KeyPair::generate().map_err(spoken)?;
        let (not_before, not_after) = leaf.validity;
        let mut params = CertificateParams::default();
        params.not_before = not_before;
        params.not_after = not_after.min(self.not_after);
        params.distinguished_name.remove(DnType::CommonName);
        if let Some(name) = leaf.common_name.filter(|name| name.len() <= 64) {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.subject_alt_names = leaf.names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![leaf.usage];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).map_err(spoken)?;
        Ok((certificate.into(), key))
    }

    pub(super) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub(super) fn key(&self) -> &KeyPair {
        self.issuer.key()
    }

    /// When it expires.
    pub(super) fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }
}

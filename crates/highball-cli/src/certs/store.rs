//! The directory: what is in it, and how a file in it is replaced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PublicKeyData as _};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::authority::Authority;
use crate::say;

const CA: &str = "ca.pem";
const CA_KEY: &str = "ca-key.pem";

/// Keys are for their owner only.
const KEY_MODE: u32 = 0o600;
const CERT_MODE: u32 = 0o644;

/// A directory of certificates.
pub(super) struct Store {
    dir: PathBuf,
}

impl Store {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn ca(&self) -> PathBuf {
        self.path(CA)
    }

    /// Whether there is a CA, or half of one.
    pub(super) fn has_ca(&self) -> bool {
        [CA, CA_KEY].iter().any(|name| fs::symlink_metadata(self.path(name)).is_ok())
    }

    /// Makes the directory, and keeps its keys out of version control.
    pub(super) fn prepare(&self) -> Result<(), String> {
        let failed = |cause| {
            format!("cannot make the directory {}: {cause}; choose another with --dir", self.dir.display())
        };
        fs::create_dir_all(&self.dir).map_err(failed)?;
        if !self.path(".gitignore").exists() {
            self.write(".gitignore", "*-key.pem\n", CERT_MODE)?;
        }
        Ok(())
    }

    /// The CA that issues, which is the one whose key is there, and the others in the bundle.
    pub(super) fn read_ca(&self) -> Result<(Authority, Vec<CertificateDer<'static>>), String> {
        let (bundle, key_path) = (self.ca(), self.path(CA_KEY));
        let pem = read(&key_path)?;
        let key = PrivateKeyDer::from_pem_slice(&pem)
            .ok()
            .and_then(|key| KeyPair::try_from(&key).ok())
            .ok_or_else(|| format!("{} holds no private key that can be used", key_path.display()))?;
        let mut current = None;
        let mut others = Vec::new();
        for der in certificates(&read(&bundle)?) {
            let (subject_key, not_after) = parse(&der, &bundle, |certificate| {
                let not_after = certificate.validity().not_after.to_datetime();
                (certificate.public_key().raw.to_vec(), not_after)
            })?;
            if subject_key == key.subject_public_key_info() {
                current = Some((der, not_after));
            } else {
                others.push(der);
            }
        }
        let (der, not_after) = current.ok_or_else(|| {
            format!(
                "{} holds no certificate for the key in {}; restore one of them, or start over with `highball certs init --force`",
                bundle.display(),
                key_path.display()
            )
        })?;
        Ok((Authority::restore(der, key, not_after)?, others))
    }

    /// The CA that issues, if it still may.
    pub(super) fn authority(&self, now: OffsetDateTime) -> Result<Authority, String> {
        if !self.has_ca() {
            return Err(format!(
                "there is no CA in {}; make one with `highball certs init`, or name its directory with --dir",
                self.dir.display()
            ));
        }
        let (ca, _) = self.read_ca()?;
        if ca.not_after() < now {
            return Err(format!(
                "the CA in {} expired on {}; make a new one with `highball certs init --force`",
                self.ca().display(),
                ca.not_after().date()
            ));
        }
        Ok(ca)
    }

    /// Files with a certificate that another CA issued.
    pub(super) fn leaves_not_from(&self, ca: &Authority) -> Result<Vec<String>, String> {
        let subject = parse(ca.certificate(), &self.ca(), |ca| ca.subject().as_raw().to_vec())?;
        let failed = |cause| format!("cannot list {}: {cause}", self.dir.display());
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let is_cert = path.extension().is_some_and(|end| end == "pem") && path != self.ca();
            let Some(leaf) =
                is_cert.then(|| read(&path).ok()).flatten().and_then(|pem| certificates(&pem).next())
            else {
                continue;
            };
            if parse(&leaf, &path, |leaf| leaf.issuer().as_raw() != subject)? {
                found.push(path.display().to_string());
            }
        }
        found.sort();
        Ok(found)
    }

    /// Replaces the bundle, then the key.
    pub(super) fn write_ca(
        &self,
        bundle: &[&CertificateDer<'_>],
        key: Option<&KeyPair>,
    ) -> Result<(), String> {
        let text: String = bundle.iter().map(|der| pem("CERTIFICATE", der)).collect();
        self.write(CA, &text, CERT_MODE)?;
        match key {
            Some(key) => self.write(CA_KEY, &pem("PRIVATE KEY", key.serialized_der()), KEY_MODE),
            None => Ok(()),
        }
    }

    /// Replaces a leaf: the key, then the certificate. A server that looks in between sees a pair that does not match,
    /// keeps the old one and looks again.
    pub(super) fn write_leaf(
        &self,
        stem: &str,
        certificate: &CertificateDer<'_>,
        key: &KeyPair,
    ) -> Result<(), String> {
        let key = pem("PRIVATE KEY", key.serialized_der());
        self.write(&format!("{stem}-key.pem"), &key, KEY_MODE)?;
        self.write(&format!("{stem}.pem"), &pem("CERTIFICATE", certificate), CERT_MODE)
    }

    /// Puts a file in place all at once: a reader sees the old content or the new, and so does whoever comes after a crash.
    fn write(&self, name: &str, text: &str, mode: u32) -> Result<(), String> {
        let path = self.path(name);
        let draft = self.path(&format!(".{name}.draft"));
        let replace = || -> io::Result<()> {
            // What an earlier run left behind; its mode must not become the new file's.
            match fs::remove_file(&draft) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        replace().map_err(|cause| {
            format!("cannot write {}: {cause}; choose another directory with --dir", path.display())
        })?;
        say(format_args!("wrote  {}", path.display()));
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|cause| format!("cannot read {}: {cause}", path.display()))
}

/// The certificates in a PEM file; what is not one is skipped.
fn certificates(pem: &[u8]) -> impl Iterator<Item = CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok)
}

/// Looks into a certificate.
fn parse<T>(der: &[u8], path: &Path, look: impl FnOnce(&X509Certificate<'_>) -> T) -> Result<T, String> {
    match X509Certificate::from_der(der) {
        Ok((_, certificate)) => Ok(look(&certificate)),
        Err(_) => Err(format!("{} holds a certificate that is not valid X.509", path.display())),
    }
}

/// RFC 7468: 64 characters to a line.
fn pem(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for (index, character) in base64.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str(&format!("\n-----END {label}-----\n"));
    text
}

//! Keys that verify, each with the one algorithm it is good for.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use aws_lc_rs::signature::{self, ParsedPublicKey};
use jsonwebtoken::DecodingKey;

use super::Algorithm;
use crate::Reason;

/// A key, the algorithm that its kind decides, and its name.
pub(crate) struct Key {
    pub(crate) kid: Option<String>,
    pub(crate) algorithm: Algorithm,
    /// What makes it this key and no other, of a JWKS; tells whether a new document still holds it.
    pub(crate) material: String,
    pub(crate) decoding: DecodingKey,
}

/// The keys of one source at one moment.
#[derive(Debug, Default)]
pub(crate) struct KeySet {
    pub(crate) keys: Vec<Key>,
    /// Keys of the document that are of no use here.
    pub(crate) skipped: usize,
}

impl KeySet {
    /// The key that must have signed a token with this header.
    ///
    /// A `kid` finds the key of that name; a key without a name answers to any, but only when it is the only one. A token
    /// without a `kid` must leave no choice.
    ///
    /// # Errors
    /// [`Reason::UnknownKey`]; [`Reason::BadSignature`] when the key is not for that algorithm: this is where a token
    /// signed by HMAC with the bytes of a public key ends.
    pub(crate) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&Key, Reason> {
        let fits = |key: &&Key| key.algorithm == algorithm;
        let Some(kid) = kid else {
            let mut fitting = self.keys.iter().filter(fits);
            return match (fitting.next(), fitting.next()) {
                (Some(key), None) => Ok(key),
                _ => Err(Reason::UnknownKey),
            };
        };
        if let [key @ Key { kid: None, .. }] = self.keys.as_slice() {
            return if fits(&key) { Ok(key) } else { Err(Reason::BadSignature) };
        }
        let named = || self.keys.iter().filter(|key| key.kid.as_deref() == Some(kid));
        if named().next().is_none() {
            return Err(Reason::UnknownKey);
        }
        // RFC 7517, section 4.5: keys of different kinds may share a name.
        named().find(fits).ok_or(Reason::BadSignature)
    }

    /// Whether every key of `older` is still here, so that what was verified with it stays verified.
    pub(crate) fn keeps_all_of(&self, older: &Self) -> bool {
        older.keys.iter().all(|old| self.keys.iter().any(|new| new == old))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        (&self.kid, self.algorithm, &self.material) == (&other.kid, other.algorithm, &other.material)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A shared secret must not reach a log.
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// A key that cannot be used. Displays one sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyError(String);

impl KeyError {
    pub(crate) fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }

    /// Puts the file before what is wrong with it.
    pub(crate) fn of(self, path: &Path) -> Self {
        Self(format!("{} {}", path.display(), self.0))
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for KeyError {}

/// Reads one public key in PEM.
pub(crate) fn from_pem(pem: &[u8], kid: Option<String>) -> Result<Key, KeyError> {
    let holds = |text: &str| pem.windows(text.len()).any(|part| part == text.as_bytes());
    if holds("PRIVATE KEY-----") {
        return Err(KeyError::new("holds a private key; whoever verifies needs the public one only"));
    }
    if !holds("-----BEGIN PUBLIC KEY-----") && !holds("-----BEGIN RSA PUBLIC KEY-----") {
        return Err(KeyError::new("holds no public key in PEM"));
    }
    let (algorithm, decoding) = DecodingKey::from_ed_pem(pem)
        .map(|key| (Algorithm::EdDsa, key))
        .or_else(|_| DecodingKey::from_ec_pem(pem).map(|key| (Algorithm::Es256, key)))
        .or_else(|_| DecodingKey::from_rsa_pem(pem).map(|key| (Algorithm::Rs256, key)))
        .map_err(|_| KeyError::new("holds a key that is neither RSA, P-256 nor Ed25519"))?;
    let bytes = decoding.try_get_as_bytes().map_err(|_| KeyError::new("holds no public key in PEM"))?;
    check_public(algorithm, bytes)?;
    Ok(Key { kid, algorithm, material: String::new(), decoding })
}

/// Refuses what would only fail later, at the first token: another curve, a short RSA key.
pub(crate) fn check_public(algorithm: Algorithm, bytes: &[u8]) -> Result<(), KeyError> {
    let parsed = match algorithm {
        Algorithm::Rs256 => ParsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, bytes),
        Algorithm::Es256 => ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, bytes),
        Algorithm::EdDsa => ParsedPublicKey::new(&signature::ED25519, bytes),
        Algorithm::Hs256 => return Err(KeyError::new("a secret is not a public key")),
    };
    match parsed {
        Ok(_) => Ok(()),
        Err(_) => {
            Err(KeyError::new("holds a key that is neither RSA of 2048 to 8192 bits, P-256 nor Ed25519"))
        }
    }
}

/// Makes a key for HS256 of a shared secret.
pub(crate) fn from_secret(secret: &[u8], kid: Option<String>) -> Result<Key, KeyError> {
    let decoding = DecodingKey::from_secret(secret_bytes(secret)?);
    Ok(Key { kid, algorithm: Algorithm::Hs256, material: String::new(), decoding })
}

/// RFC 7518, section 3.2: as long as the hash, or longer.
const SECRET_SIZE_BYTES_MIN: usize = 32;

/// The secret in the bytes of a file: without the line end that editors and `echo` put there.
pub(crate) fn secret_bytes(file: &[u8]) -> Result<&[u8], KeyError> {
    let secret = file.strip_suffix(b"\n").unwrap_or(file);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    // Whoever has the public key could sign with it.
    if secret.trim_ascii_start().starts_with(b"-----BEGIN") {
        return Err(KeyError::new("holds a PEM key, which is no secret; use it as a PEM file"));
    }
    if secret.len() < SECRET_SIZE_BYTES_MIN {
        return Err(KeyError::new(
            "holds a secret of less than 32 bytes; make one with `openssl rand -hex 32`",
        ));
    }
    Ok(secret)
}

/// No key is larger.
const KEY_FILE_SIZE_BYTES_MAX: usize = 64 << 10;

/// Reads a small file; the error names it.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    read_bounded(path, KEY_FILE_SIZE_BYTES_MAX)
}

/// Reads a regular file of at most `size_bytes_max` bytes; anything else, such as a pipe, could block or never end.
pub(crate) fn read_bounded(path: &Path, size_bytes_max: usize) -> Result<Vec<u8>, KeyError> {
    let cannot = |why: &dyn fmt::Display| KeyError(format!("cannot read {}: {why}", path.display()));
    if !std::fs::metadata(path).map_err(|cause| cannot(&cause))?.is_file() {
        return Err(cannot(&"it is not a regular file"));
    }
    let file = File::open(path).map_err(|cause| cannot(&cause))?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(size_bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(|cause| cannot(&cause))?;
    if bytes.len() > size_bytes_max {
        return Err(cannot(&format_args!("it is larger than {size_bytes_max} bytes")));
    }
    Ok(bytes)
}

//! The bytes of all files, read so that they belong together.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{Changed, Settings, TlsError};

/// Size of one file. The largest revocation lists of public CAs stay below it.
const FILE_SIZE_BYTES_MAX: u64 = 16 << 20;

/// How often a set that changes while it is read is read again, before it is judged as it is.
const READS_MAX: usize = 4;

/// Size of all pairs together. One pair of the largest files fits; hundreds are a few kilobytes each.
const PAIRS_SIZE_BYTES_MAX: usize = 32 << 20;

/// The content of all files.
#[derive(PartialEq, Eq)]
pub(super) struct Files {
    pub(super) pairs: Vec<PairFiles>,
    pub(super) client_ca: Option<Vec<u8>>,
    pub(super) crl: Option<Vec<u8>>,
}

/// The content of a certificate's file and its key's.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct PairFiles {
    pub(super) cert: Vec<u8>,
    pub(super) key: Vec<u8>,
    /// Permission bits of the key.
    pub(super) key_mode: u32,
}

/// One number for each thing that may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prints {
    pairs: Vec<u64>,
    client_ca: u64,
    crl: u64,
}

impl PairFiles {
    pub(super) fn read(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let (cert, _) = read(cert)?;
        let (key, key_mode) = read(key)?;
        Ok(Self { cert, key, key_mode })
    }
}

impl Files {
    /// Reads until two readings agree: a rotation may replace one file after the other, and the old certificate with the
    /// new key is a pair that never was. A writer who takes longer than that is seen, and told, and seen again.
    pub(super) fn read(settings: &Settings) -> Result<Self, TlsError> {
        settled(|| Self::read_once(settings))
    }

    fn read_once(settings: &Settings) -> Result<Self, TlsError> {
        let mut pairs = Vec::with_capacity(settings.pairs.len());
        let mut left = PAIRS_SIZE_BYTES_MAX;
        for pair in &settings.pairs {
            let files = PairFiles::read(&pair.cert, &pair.key)?;
            left = left.checked_sub(files.cert.len() + files.key.len()).ok_or_else(|| {
                let max = PAIRS_SIZE_BYTES_MAX >> 20;
                let problem = format!(
                    "and the certificates and keys before it are larger than {max} MiB; is it the right file?"
                );
                TlsError::content(&pair.cert, problem)
            })?;
            pairs.push(files);
        }
        let optional = |file: &Option<_>| file.as_deref().map(read).transpose().map(|read| Some(read?.0));
        Ok(Self { pairs, client_ca: optional(&settings.client_ca)?, crl: optional(&settings.crl)? })
    }

    /// The fingerprints of this content: 64 bits keyed by this process, so nobody can aim for a collision.
    pub(super) fn prints(&self, keys: &RandomState) -> Prints {
        Prints {
            pairs: self.pairs.iter().map(|pair| keys.hash_one(pair)).collect(),
            client_ca: keys.hash_one(&self.client_ca),
            crl: keys.hash_one(&self.crl),
        }
    }
}

impl Prints {
    /// What is different in `next`.
    pub(super) fn changed(&self, next: &Self) -> Changed {
        Changed {
            certificate: self.pairs != next.pairs,
            client_ca: self.client_ca != next.client_ca,
            crl: self.crl != next.crl,
        }
    }

    /// Whether this pair is the same in `next`.
    pub(super) fn same_pair(&self, next: &Self, number: usize) -> bool {
        self.pairs.get(number) == next.pairs.get(number)
    }
}

/// What two readings in a row agree on, or the last one if they never do.
pub(super) fn settled<T: PartialEq>(read: impl Fn() -> Result<T, TlsError>) -> Result<T, TlsError> {
    let mut files = read()?;
    for _ in 1..READS_MAX {
        let again = read()?;
        if again == files {
            break;
        }
        files = again;
    }
    Ok(files)
}

/// The content and the mode of a file.
pub(super) fn read(path: &Path) -> Result<(Vec<u8>, u32), TlsError> {
    let unreadable = |source| TlsError::unreadable(path, source);
    // Before it is opened: opening a pipe would wait for its writer.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(TlsError::content(path, "is not a file; name the PEM file itself"));
    }
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    let content = read_limited(file).map_err(unreadable)?;
    let content = content.ok_or_else(|| {
        let problem = format!("is larger than {} MiB; is it the right file?", FILE_SIZE_BYTES_MAX >> 20);
        TlsError::content(path, problem)
    })?;
    Ok((content, mode))
}

/// `None` when there is more than the limit.
fn read_limited(file: File) -> io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    // One byte more than allowed tells "full" from "too large".
    file.take(FILE_SIZE_BYTES_MAX + 1).read_to_end(&mut content)?;
    Ok((content.len() as u64 <= FILE_SIZE_BYTES_MAX).then_some(content))
}

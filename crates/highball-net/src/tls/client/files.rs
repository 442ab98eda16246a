//! The bytes of all files, read so that they belong together.

use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;

use super::{Changed, Settings};
use crate::tls::TlsError;
use crate::tls::files::{read, settled};

/// The content of all files.
#[derive(PartialEq, Eq)]
pub(super) struct Files {
    pub(super) roots_file: PathBuf,
    pub(super) roots: Vec<u8>,
    pub(super) identity: Option<IdentityFiles>,
}

#[derive(PartialEq, Eq, Hash)]
pub(super) struct IdentityFiles {
    pub(super) cert: Vec<u8>,
    pub(super) key: Vec<u8>,
    /// Permission bits of the key.
    pub(super) key_mode: u32,
}

/// One number for each thing that may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prints {
    roots: u64,
    identity: u64,
}

impl Files {
    /// Reads until two readings agree, as the server's side does and for the same reason.
    pub(super) fn read(settings: &Settings) -> Result<Self, TlsError> {
        settled(|| Self::read_once(settings))
    }

    fn read_once(settings: &Settings) -> Result<Self, TlsError> {
        let roots_file = settings.roots.file()?.to_owned();
        let (roots, _) = read(&roots_file)?;
        let identity = match &settings.identity {
            Some(identity) => {
                let (cert, _) = read(&identity.cert)?;
                let (key, key_mode) = read(&identity.key)?;
                Some(IdentityFiles { cert, key, key_mode })
            }
            None => None,
        };
        Ok(Self { roots_file, roots, identity })
    }

    /// The fingerprints of this content: 64 bits keyed by this process, so nobody can aim for a collision.
    pub(super) fn prints(&self, keys: &RandomState) -> Prints {
        Prints {
            roots: keys.hash_one((&self.roots_file, &self.roots)),
            identity: keys.hash_one(&self.identity),
        }
    }
}

impl Prints {
    /// What is different in `next`.
    pub(super) fn changed(&self, next: &Self) -> Changed {
        Changed { roots: self.roots != next.roots, identity: self.identity != next.identity }
    }
}

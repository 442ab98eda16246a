//! The bytes of all files, read so that they belong together.

use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;

use super::{Changed, Settings};
use crate::tls::TlsError;
use crate::tls::files::{PairFiles, read, settled};

/// The content of all files.
#[derive(PartialEq, Eq)]
pub(super) struct Files {
    pub(super) roots_file: PathBuf,
    pub(super) roots: Vec<u8>,
    pub(super) identity: Option<PairFiles>,
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
        let identity = settings.identity.as_ref().map(|own| PairFiles::read(&own.cert, &own.key));
        Ok(Self { roots_file, roots, identity: identity.transpose()? })
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

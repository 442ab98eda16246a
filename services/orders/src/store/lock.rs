//! One process at a time opens the database: it makes the file, its schema and its secret.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::OpenError;

/// How often to try again while another process opens.
const RETRY_EVERY: Duration = Duration::from_millis(10);

/// Holds `PATH.lock` until it is dropped; of a link, that of the file behind it. The kernel lets go of it however the
/// process ends. Earlier versions of this program, which shared a file with nobody, hold it for as long as they live.
///
/// The file itself is never opened here: closing it would take away the locks that SQLite holds in this process.
///
/// # Errors
///
/// [`OpenError::InUse`] when it was not free within `patience`.
///
/// # Cancel safety
///
/// A dropped call holds nothing.
pub(super) async fn hold(path: &Path, patience: Duration) -> Result<File, OpenError> {
    let unwritable = |cause| OpenError::Unwritable { path: path.to_owned(), cause };
    if fs::metadata(path).is_ok_and(|file| !file.is_file()) {
        return Err(OpenError::NotADatabase(path.to_owned()));
    }
    // Links to one file are one database, with one lock.
    let file = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut name = file.into_os_string();
    name.push(".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(PathBuf::from(name))
        .map_err(unwritable)?;
    let until = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(cause)) => return Err(unwritable(cause)),
            Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                return Err(OpenError::InUse(path.to_owned()));
            }
            Err(TryLockError::WouldBlock) => sleep(RETRY_EVERY).await,
        }
    }
}

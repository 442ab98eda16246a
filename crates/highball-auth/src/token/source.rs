//! Where a JWKS comes from.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use highball_core::BoxError;

use super::key;

/// Reads a JWKS document.
///
/// Called by one task, one call at a time, at the pace of [`JwksSettings`](super::JwksSettings): a call is never retried by
/// anything but the next one. It may wait, and is dropped after `fetch_timeout`; it must not block. An error keeps the keys
/// of the last good document, until they are too old.
///
/// It displays where the document is, for the operator.
pub trait JwksSource: fmt::Display + Send + Sync + 'static {
    /// The document as it is now. It must stop reading beyond `size_bytes_max` bytes and fail; what is longer is refused anyway, but
    /// then it is in memory.
    ///
    /// # Errors
    /// Whatever went wrong, in a sentence for the operator.
    ///
    /// # Cancel safety
    /// Must be cancel safe: dropping the future abandons the read.
    fn fetch(&self, size_bytes_max: usize) -> BoxFuture<'_, Result<Document, BoxError>>;
}

/// A JWKS as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// What it holds, unread.
    pub content: Bytes,
    /// How long it is fresh, if its owner says: it is read again by then, within the bounds of
    /// [`JwksSettings`](super::JwksSettings).
    pub fresh_for: Option<Duration>,
    /// What was wrong without keeping us from reading it, for the operator.
    pub warning: Option<String>,
}

impl From<Bytes> for Document {
    fn from(content: Bytes) -> Self {
        Self { content, fresh_for: None, warning: None }
    }
}

/// A JWKS in a file, read anew each time.
#[derive(Debug, Clone)]
pub struct FileJwks(PathBuf);

impl FileJwks {
    /// Replace the file by renaming a new one over it: a half-written one is unreadable, and the old keys stay.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

impl fmt::Display for FileJwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl JwksSource for FileJwks {
    fn fetch(&self, size_bytes_max: usize) -> BoxFuture<'_, Result<Document, BoxError>> {
        // A regular file of bounded size, once per interval: a worker waits for it no longer than for a page fault.
        let read = key::read_bounded(&self.0, size_bytes_max).map(Bytes::from);
        let read = read.map(Document::from).map_err(BoxError::from);
        Box::pin(std::future::ready(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[tokio::test]
    async fn a_file_is_read_up_to_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jwks.json");
        let source = FileJwks::new(&path);
        assert!(source.fetch(8).await.unwrap_err().to_string().starts_with("cannot read"));
        fs::write(&path, "12345678").unwrap();
        assert_eq!(source.fetch(8).await.unwrap().content, "12345678");
        fs::write(&path, "123456789").unwrap();
        assert!(source.fetch(8).await.unwrap_err().to_string().ends_with("larger than 8 bytes"));
        assert!(FileJwks::new(dir.path()).fetch(8).await.unwrap_err().to_string().contains("regular file"));
    }
}

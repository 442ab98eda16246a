//! Why files were not taken, in one sentence.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// TLS files that cannot be used: which file, what is wrong with it, what to do.
#[derive(Debug)]
pub struct TlsError {
    file: Option<PathBuf>,
    problem: String,
    source: Option<io::Error>,
}

impl TlsError {
    /// The settings contradict each other.
    pub(super) fn settings(problem: impl Into<String>) -> Self {
        Self { file: None, problem: problem.into(), source: None }
    }

    /// The content of `file` is wrong.
    pub(super) fn content(file: &Path, problem: impl Into<String>) -> Self {
        Self { file: Some(file.to_owned()), problem: problem.into(), source: None }
    }

    /// The system would not let us read `file`.
    pub(super) fn unreadable(file: &Path, source: io::Error) -> Self {
        let problem = match source.kind() {
            io::ErrorKind::NotFound => "does not exist; correct the path or put the file there".to_owned(),
            io::ErrorKind::PermissionDenied => {
                "may not be read by the user of this process; change its owner or mode".to_owned()
            }
            _ => format!("cannot be read: {source}; make it readable"),
        };
        Self { file: Some(file.to_owned()), problem, source: Some(source) }
    }

    /// The file that is wrong; `None` when it is the settings themselves.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{} {}", file.display(), self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

impl Error for TlsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

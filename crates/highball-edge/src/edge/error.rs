//! Why an edge does not start, or does not take a file.

use std::fmt;
use std::io;

use highball_server::ServerError;

/// Why an edge cannot be as its settings say: a sentence for each problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeError(Vec<String>);

impl EdgeError {
    pub(super) fn workers(cause: io::Error) -> Self {
        Self(vec![format!("cannot start the workers: {cause}")])
    }

    /// The sentences.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.0
    }
}

impl From<Vec<String>> for EdgeError {
    fn from(problems: Vec<String>) -> Self {
        Self(problems)
    }
}

impl From<ServerError> for EdgeError {
    fn from(error: ServerError) -> Self {
        Self(vec![error.to_string()])
    }
}

impl fmt::Display for EdgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for EdgeError {}

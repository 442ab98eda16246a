//! What a check found: problems with the place to look at, and one line that says what was looked at.

use std::fmt;
use std::path::{Path, PathBuf};

/// The outcome of one check. Empty `problems` means that it passed.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) problems: Vec<Problem>,
    /// What was checked, for the last line: `14 packages, 31 arrows`.
    pub(crate) checked: String,
}

impl Report {
    /// Prints every problem, then one line of summary. True when there was none.
    pub(crate) fn print(mut self, check: &str) -> bool {
        self.problems.sort();
        for problem in &self.problems {
            eprintln!("{problem}");
        }
        let checked = &self.checked;
        match self.problems.len() {
            0 => println!("{check}: {checked}: no problems"),
            1 => eprintln!("{check}: {checked}: 1 problem"),
            count => eprintln!("{check}: {checked}: {count} problems"),
        }
        self.problems.is_empty()
    }
}

/// One thing to repair. Ordered by place, so that an editor can walk the list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    /// Relative to the workspace root.
    path: PathBuf,
    /// Counted from 1; none when the whole file is meant.
    line: Option<usize>,
    message: String,
}

impl Problem {
    pub(crate) fn file(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self { path: path.as_ref().to_owned(), line: None, message: message.into() }
    }

    pub(crate) fn line(path: impl AsRef<Path>, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.as_ref().to_owned(), line: Some(line), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, message } = self;
        match line {
            Some(line) => write!(f, "{}:{line}: {message}", path.display()),
            None => write!(f, "{}: {message}", path.display()),
        }
    }
}

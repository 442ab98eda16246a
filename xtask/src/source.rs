//! Rust files as text: found, split into code and comments, and searched for paths.
//!
//! Not a parser. A scan needs to know only what is code, what is comment and what is a literal, so that a word in a
//! string is never mistaken for a call; the compiler does the rest.

mod lexer;
mod paths;

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;

pub(crate) use paths::{PathUse, paths};

/// Folders that hold no source of ours.
const SKIPPED: &[&str] = &["target", "node_modules", ".git", "data"];

/// One `.rs` file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Relative to the workspace root.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    /// The text with comments and literals blanked, same lines and columns.
    pub(crate) code: String,
    /// The text with everything but comments blanked.
    pub(crate) comments: String,
}

impl Source {
    pub(crate) fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        let text = text.into();
        let (code, comments) = lexer::split(&text);
        Self { path: path.into(), text, code, comments }
    }

    /// The code without what is compiled for tests only.
    pub(crate) fn shipped_code(&self) -> String {
        lexer::without_test_items(&self.code)
    }

    /// Test code in a file of its own: `tests.rs`, `foo_tests.rs`, or anything below a `tests` folder.
    pub(crate) fn is_test_file(&self) -> bool {
        let stem = self.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        stem == "tests"
            || stem.ends_with("_tests")
            || self.path.components().any(|part| part.as_os_str() == "tests")
    }

    /// Whether the file lies below this folder of the workspace.
    pub(crate) fn is_below(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }

    /// Whether this is source of a package (`crates/*/src`, `services/*/src`, `xtask/src`), not of its tests.
    pub(crate) fn is_package_source(&self) -> bool {
        let parts: Vec<_> = self.path.iter().filter_map(|part| part.to_str()).collect();
        matches!(parts.as_slice(), ["crates" | "services", _, "src", ..] | ["xtask", "src", ..])
    }
}

/// Every `.rs` file of the workspace, in path order.
pub(crate) fn find(root: &Path) -> Result<Vec<Source>, Error> {
    let mut sources = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let path = entry.path();
            let name = entry.file_name();
            let kind = entry.file_type()?;
            if kind.is_dir() && !SKIPPED.iter().any(|skipped| name == *skipped) {
                folders.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
                let text =
                    fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                sources.push(Source::new(path.strip_prefix(root).unwrap_or(&path), text));
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

//! From the text of a file to [`Settings`], with every problem named at its line.
//!
//! Bounds: 1 MiB of text, 256 listeners, 1,000 clusters, 1,000 routes; 256 items in any other list, 32 headers in one
//! table; 200 problems and 200 warnings. Nothing is opened, looked up or connected.

mod balancing;
mod cluster;
mod conditions;
mod file;
mod keys;
mod limits;
mod listener;
mod name;
mod nearest;
mod problem;
mod repeat;
mod rewrite;
mod route;
mod shadow;
mod table;
#[cfg(test)]
mod tests;
mod value;

use std::path::Path;

use toml::de::DeTable;

pub use problem::{PROBLEMS_MAX, Problem, Problems};

use super::Settings;
use file::file;
use problem::{Notes, problem_at};
use table::Table;

/// The longest file that is read, in bytes.
pub const FILE_SIZE_BYTES_MAX: usize = 1 << 20;
/// Listeners of one file.
pub const LISTENERS_MAX: usize = 256;
/// Clusters of one file.
pub const CLUSTERS_MAX: usize = 1000;
/// Routes of one file.
pub const ROUTES_MAX: usize = 1000;
/// Items of every other list.
const LIST_MAX: usize = 256;
/// Headers of one table: conditions, or what is set or added.
const HEADERS_MAX: usize = 32;

/// A file that can be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// What it says.
    pub settings: Settings,
    /// What is allowed, and probably not meant; by place.
    pub warnings: Vec<Problem>,
}

/// Reads a file's text. `base` is its folder: relative paths in it are relative to there.
///
/// # Errors
/// All [`Problems`] of the file, by place, each with a fix. What is not TOML is one problem, where it ceases to be.
pub fn read(text: &str, base: &Path) -> Result<Read, Problems> {
    if text.len() > FILE_SIZE_BYTES_MAX {
        let message = format!("the file has {} bytes; at most {FILE_SIZE_BYTES_MAX} are read", text.len());
        return Err(Problems(vec![problem_at(text, 0, message)]));
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    // One slip makes several errors, and the parser does not list them by place.
    let start = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
    if let Some(error) = errors.iter().min_by_key(|error| start(error)) {
        let message = format!("not TOML: {}", error.message());
        return Err(Problems(vec![problem_at(text, start(error), message)]));
    }
    let notes = Notes::new(base);
    let settings = file(&Table::new(&notes, document.get_ref(), 0, &keys::FILE));
    match (settings, notes.into_problems(text)) {
        (Some(settings), (problems, warnings)) if problems.is_empty() => Ok(Read { settings, warnings }),
        (_, (problems, _)) => Err(Problems(problems)),
    }
}

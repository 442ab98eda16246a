//! `cargo xtask tidy`: what keeps the repository readable and its documents true.
//!
//! Rules for Rust files, for manifests and for documents. All problems are reported at once, with the place to look.

mod documents;
mod manifests;
mod sources;

use std::path::Path;

use crate::Error;
use crate::report::{Problem, Report};
use crate::source;

/// Checks the whole workspace.
pub(crate) fn run(root: &Path) -> Result<Report, Error> {
    let sources = source::find(root)?;
    let mut problems: Vec<Problem> = sources.iter().flat_map(sources::check).collect();
    let manifests = manifests::find(root)?;
    for (path, text) in &manifests {
        problems.extend(manifests::check(path, text));
    }
    problems.extend(documents::run(root));
    let checked = format!("{} Rust files, {} manifests", sources.len(), manifests.len());
    Ok(Report { problems, checked })
}

//! Rules for the manifests of our packages.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::report::Problem;
use crate::workspace;

/// Every member's manifest with its text, relative to the root.
pub(super) fn find(root: &Path) -> Result<Vec<(PathBuf, String)>, Error> {
    let mut manifests = Vec::new();
    for package in workspace::packages(root)? {
        let text = fs::read_to_string(root.join(&package.manifest_path))?;
        manifests.push((package.manifest_path, text));
    }
    Ok(manifests)
}

pub(super) fn check(path: &Path, text: &str) -> Option<Problem> {
    (!opts_in(text))
        .then(|| Problem::file(path, "does not opt in to the lints: add `[lints]` with `workspace = true`"))
}

/// Whether the manifest has `workspace = true` in its `[lints]` table, or `lints.workspace = true` before any table.
fn opts_in(text: &str) -> bool {
    let mut table = String::new();
    for line in text.lines() {
        let line: String = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        if line.starts_with('[') {
            table = line;
        } else if line == "workspace=true" && table == "[lints]"
            || line == "lints.workspace=true" && table.is_empty()
        {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_opts_in_to_the_lints() {
        assert!(opts_in("[package]\nname = \"a\"\n\n[lints]\nworkspace = true # all of them\n"));
        assert!(opts_in("lints.workspace = true\n[package]\n"));
        assert!(!opts_in("[package]\nversion.workspace = true\n[dependencies]\nworkspace = true\n"));
        assert!(!opts_in("[lints]\nworkspace = false\n"));
        assert!(!opts_in("[lints]\n[dependencies]\nworkspace = true\n"));
        let problem = check(Path::new("crates/a/Cargo.toml"), "[package]\n").expect("no lints");
        assert!(problem.to_string().starts_with("crates/a/Cargo.toml: does not opt in"));
    }
}

//! Rules that keep documents and CI saying the same.

use std::fs;
use std::path::Path;

use crate::report::Problem;

const README: &str = "README.md";
const CHANGELOG: &str = "CHANGELOG.md";
const CI: &str = ".ci/run";

/// Cargo commands that check something. What CI does not run, the README must not promise; `cargo run` and
/// `cargo install` are for the reader's machine.
const CHECKS: &[&str] = &["fmt", "clippy", "test", "xtask", "deny", "bench", "doc"];

pub(super) fn run(root: &Path) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut read = |path: &str| {
        let text = fs::read_to_string(root.join(path));
        if let Err(error) = &text {
            problems.push(Problem::file(path, format!("cannot be read: {error}")));
        }
        text.ok()
    };
    let (readme, ci, _) = (read(README), read(CI), read(CHANGELOG));
    if let (Some(readme), Some(ci)) = (readme, ci) {
        problems.extend(promises(&readme, &ci));
    }
    problems
}

/// The README's check commands that CI does not run.
fn promises(readme: &str, ci: &str) -> Vec<Problem> {
    let ci = words(ci);
    let mut problems = Vec::new();
    let mut fenced = false;
    for (index, line) in readme.lines().enumerate() {
        let line = line.trim();
        if line.starts_with("```") {
            fenced = !fenced;
            continue;
        }
        let command = words(line.trim_start_matches("$ ").split(" #").next().unwrap_or_default());
        if fenced && is_check(&command) && !contains(&ci, &command) {
            let message = format!("promises `{}`, which {CI} does not run", command.join(" "));
            problems.push(Problem::line(README, index + 1, message));
        }
    }
    problems
}

fn is_check(command: &[&str]) -> bool {
    matches!(command, ["cargo", verb, ..] if CHECKS.contains(verb))
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn contains(text: &[&str], part: &[&str]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_that_ci_does_not_keep_is_found() {
        let readme = "cargo test --elsewhere\n```sh\n$ cargo test --workspace   # all of them\ncargo deny check\ncargo run -p orders\n```\n";
        let found = promises(readme, "run cargo test --workspace\nrun cargo fmt --all --check\n");
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["README.md:4: promises `cargo deny check`, which .ci/run does not run"]);
    }

    #[test]
    fn a_shorter_command_than_ci_runs_is_kept() {
        assert!(
            promises("```\ncargo xtask interop\n```\n", "run cargo xtask interop --require-all").is_empty()
        );
    }

    #[test]
    fn missing_documents_are_all_reported() {
        let empty = tempfile::tempdir().expect("a temporary folder");
        let found: Vec<_> = run(empty.path()).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.iter().any(|problem| problem.starts_with("CHANGELOG.md: cannot be read")));
    }
}

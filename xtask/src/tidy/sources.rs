//! Rules for one Rust file.

use crate::report::Problem;
use crate::source::Source;

/// Longer files are split. Tests, benches and fuzz targets are lists and may be long.
const LINES_MAX: usize = 450;

/// Code that must not be committed, and why.
const LEFTOVERS: &[(&str, &str)] = &[
    ("todo!", "finish it, or leave the branch out"),
    ("unimplemented!", "answer with an error the caller can read"),
    ("dbg!", "use `tracing`"),
    ("#[ignore", "a test runs or is deleted: assert what happens today"),
];

/// Words in comments that stand for a problem somebody saw and left.
const EXCUSES: &[&str] = &["FIXME", "XXX"];

pub(super) fn check(source: &Source) -> Vec<Problem> {
    let mut problems = Vec::new();
    length(source, &mut problems);
    module_doc(source, &mut problems);
    for (index, line) in source.text.lines().enumerate() {
        layout(source, index + 1, line, &mut problems);
    }
    for (index, line) in source.code.lines().enumerate() {
        leftovers(source, index + 1, line, &mut problems);
    }
    for (index, line) in source.comments.lines().enumerate() {
        excuses(source, index + 1, line, &mut problems);
    }
    problems
}

fn length(source: &Source, problems: &mut Vec<Problem>) {
    let is_list = source.is_test_file() || source.is_below("benches") || source.is_below("fuzz");
    let lines = source.text.lines().count();
    if !is_list && lines > LINES_MAX {
        let message =
            format!("{lines} lines; the limit is {LINES_MAX}: split it, or move its tests to a tests.rs");
        problems.push(Problem::line(&source.path, LINES_MAX + 1, message));
    }
}

fn module_doc(source: &Source, problems: &mut Vec<Problem>) {
    if source.is_package_source() && !source.text.starts_with("//!") {
        problems.push(Problem::line(
            &source.path,
            1,
            "starts without a `//!` line that says what the module is",
        ));
    }
}

fn layout(source: &Source, number: usize, line: &str, problems: &mut Vec<Problem>) {
    if line.ends_with(char::is_whitespace) {
        problems.push(Problem::line(&source.path, number, "trailing whitespace"));
    }
    if line.contains('\t') {
        problems.push(Problem::line(
            &source.path,
            number,
            "a tab: indent with spaces, write `\\t` in strings",
        ));
    }
}

fn leftovers(source: &Source, number: usize, line: &str, problems: &mut Vec<Problem>) {
    for (word, instead) in LEFTOVERS {
        if finds(line, word) {
            problems.push(Problem::line(&source.path, number, format!("`{word}`: {instead}")));
        }
    }
}

fn excuses(source: &Source, number: usize, line: &str, problems: &mut Vec<Problem>) {
    for word in EXCUSES {
        if finds(line, word) {
            let message = format!("`{word}`: repair it, or describe it in an issue");
            problems.push(Problem::line(&source.path, number, message));
        }
    }
}

/// Whether `word` stands in `line` on its own, not as the end of a longer word.
fn finds(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn problems(path: &str, text: &str, expected: &[&str]) {
        let found: Vec<_> = check(&Source::new(path, text)).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found:?} is not {expected:?}");
        }
    }

    #[test]
    fn a_long_file_is_found_with_the_limit() {
        let long = format!("//! Doc.\n{}", "fn a() {}\n".repeat(LINES_MAX));
        problems(
            "crates/highball-net/src/dial.rs",
            &long,
            &["crates/highball-net/src/dial.rs:451: 451 lines; the limit is 450"],
        );
        for exempt in
            ["crates/a/src/b/tests.rs", "crates/a/tests/c.rs", "tests/e2e/d.rs", "benches/e.rs", "fuzz/f.rs"]
        {
            problems(exempt, &long, &[]);
        }
    }

    #[test]
    fn a_file_of_exactly_the_limit_passes() {
        let text = format!("//! Doc.\n{}", "fn a() {}\n".repeat(LINES_MAX - 1));
        problems("xtask/src/a.rs", &text, &[]);
    }

    #[test]
    fn a_module_says_what_it_is() {
        problems("crates/a/src/b.rs", "fn c() {}\n", &["crates/a/src/b.rs:1: starts without"]);
        problems(
            "services/orders/src/b.rs",
            "/// Not the module.\nfn c() {}\n",
            &["services/orders/src/b.rs:1"],
        );
        problems("tests/e2e/main.rs", "fn c() {}\n", &[]);
        problems("crates/a/build.rs", "fn main() {}\n", &[]);
    }

    #[test]
    fn leftovers_are_found_in_code_only() {
        let text = "//! todo! dbg!\nfn a() {\n    todo!();\n    let b = \"dbg!(c)\";\n    my_todo!();\n}\n#[ignore = \"slow\"]\nfn d() {}\n";
        problems(
            "crates/a/src/b.rs",
            text,
            &["crates/a/src/b.rs:3: `todo!`", "crates/a/src/b.rs:7: `#[ignore`"],
        );
    }

    #[test]
    fn excuses_are_found_in_comments_only() {
        let text = "//! Doc.\nconst A: &str = \"FIXME\";\n// FIXME: later\nconst B: u8 = 0; // XXX\n";
        problems("crates/a/src/b.rs", text, &["crates/a/src/b.rs:3: `FIXME`", "crates/a/src/b.rs:4: `XXX`"]);
    }

    #[test]
    fn layout_is_checked_everywhere() {
        problems(
            "tests/a.rs",
            "fn a() {} \n\tfn b() {}\n",
            &["tests/a.rs:1: trailing", "tests/a.rs:2: a tab"],
        );
    }
}

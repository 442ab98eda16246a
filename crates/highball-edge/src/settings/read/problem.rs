//! What is wrong with a file, and where.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

/// Problems and warnings of one file that are kept, each; a file with more is told so.
pub const PROBLEMS_MAX: usize = 200;

/// Characters of a source line that are shown.
const SHOWN_MAX: usize = 120;

/// A place in the file, what is wrong there, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// One sentence, with the fix.
    pub message: String,
}

impl Problem {
    /// The problem as compilers show theirs: `FILE:LINE:COLUMN: message`, the line, and a caret under the place. `text` is
    /// what was read. Long lines are cut around the place, and control characters are replaced.
    #[must_use]
    pub fn render(&self, file_name: &str, text: &str) -> String {
        let line = text.split('\n').nth(self.line.saturating_sub(1)).unwrap_or_default();
        let skipped = self.column.saturating_sub(SHOWN_MAX / 2);
        let shown: String = line
            .trim_end_matches('\r')
            .chars()
            .skip(skipped)
            .take(SHOWN_MAX)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let number = self.line.to_string();
        let (margin, indent) =
            (" ".repeat(number.len()), " ".repeat(self.column.saturating_sub(1).saturating_sub(skipped)));
        format!("{file_name}:{self}\n{margin} |\n{number} | {shown}\n{margin} | {indent}^\n")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// All problems of one file, by place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Each problem as [`Problem::render`] shows it.
    #[must_use]
    pub fn render(&self, file_name: &str, text: &str) -> String {
        self.0.iter().map(|problem| problem.render(file_name, text)).collect()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_char('\n')?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Collects what is found on the way through a file.
#[derive(Debug)]
pub(super) struct Notes {
    base: PathBuf,
    problems: RefCell<Vec<(usize, String)>>,
    warnings: RefCell<Vec<(usize, String)>>,
}

impl Notes {
    /// `base` is what relative paths of the file are relative to.
    pub(super) fn new(base: &Path) -> Self {
        Self { base: base.to_owned(), problems: RefCell::default(), warnings: RefCell::default() }
    }

    /// Notes a problem at a byte of the text. The message is made only when there is still room for it: to find the
    /// nearest of a thousand names takes time.
    pub(super) fn problem(&self, at: usize, message: impl FnOnce() -> String) {
        note(&self.problems, at, message);
    }

    /// Notes what is allowed and probably not meant.
    pub(super) fn warn(&self, at: usize, message: impl FnOnce() -> String) {
        note(&self.warnings, at, message);
    }

    pub(super) fn has_problems(&self) -> bool {
        !self.problems.borrow().is_empty()
    }

    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.base.join(path)
    }

    /// Problems and warnings, by place.
    pub(super) fn into_problems(self, text: &str) -> (Vec<Problem>, Vec<Problem>) {
        let place = |notes: RefCell<Vec<(usize, String)>>| {
            let mut notes = notes.into_inner();
            notes.sort();
            notes.into_iter().map(|(at, message)| problem_at(text, at, message)).collect()
        };
        (place(self.problems), place(self.warnings))
    }
}

fn note(notes: &RefCell<Vec<(usize, String)>>, at: usize, message: impl FnOnce() -> String) {
    let kept = notes.borrow().len();
    let message = match kept {
        ..PROBLEMS_MAX => message(),
        PROBLEMS_MAX => format!("more than {PROBLEMS_MAX} in this file; the rest is not listed"),
        _ => return,
    };
    notes.borrow_mut().push((at, message));
}

/// Turns a byte of the text into a line and a column.
pub(super) fn problem_at(text: &str, at: usize, message: String) -> Problem {
    let before = text.get(..text.floor_char_boundary(at)).unwrap_or_default();
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Problem { line, column, message }
}

//! What became of every part of a source.

use std::fmt;

/// Longest piece of the source that an entry repeats, in characters.
const ECHO_CHARS_MAX: usize = 100;

/// What became of a part of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The TOML does the same, or there is nothing to do.
    Translated,
    /// The TOML does something close; the note says how it differs.
    Approximated,
    /// It is left out; the note says what to do instead.
    NotSupported,
    /// It does not do in the source what its author must have meant.
    Mistake,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Translated => "translated",
            Self::Approximated => "approximated",
            Self::NotSupported => "not supported",
            Self::Mistake => "mistake in the source",
        })
    }
}

/// One part of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What became of it.
    pub kind: Kind,
    /// Where it stands, counted from 1.
    pub line: usize,
    /// The part, in the words of the source, cut where it is long.
    pub what: String,
    /// What to know of it; may be empty.
    pub note: String,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}: {}", self.line, self.kind, self.what)?;
        if self.note.is_empty() { Ok(()) } else { write!(f, ": {}", self.note) }
    }
}

/// Every part of a source, by line. `Display` writes a line for each and a count at the end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    entries: Vec<Entry>,
}

impl Report {
    /// Its entries, by line.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many entries are of a kind.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.entries.iter().filter(|entry| entry.kind == kind).count()
    }

    /// Whether a person must look before the TOML is used: something is left out, or was wrong before.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        self.count(Kind::NotSupported) + self.count(Kind::Mistake) > 0
    }

    pub(super) fn translated(&mut self, line: usize, what: impl AsRef<str>, note: impl Into<String>) {
        self.add(Kind::Translated, line, what.as_ref(), note.into());
    }

    pub(super) fn approximated(&mut self, line: usize, what: impl AsRef<str>, how: impl Into<String>) {
        self.add(Kind::Approximated, line, what.as_ref(), how.into());
    }

    pub(super) fn not_supported(&mut self, line: usize, what: impl AsRef<str>, instead: impl Into<String>) {
        self.add(Kind::NotSupported, line, what.as_ref(), instead.into());
    }

    pub(super) fn mistake(&mut self, line: usize, what: impl AsRef<str>, why: impl Into<String>) {
        self.add(Kind::Mistake, line, what.as_ref(), why.into());
    }

    /// Puts the entries in the order of the source. What is said twice of one place, because several parts inherit it, is
    /// said once.
    pub(super) fn settle(&mut self) {
        self.entries.sort_by_key(|entry| (entry.line, entry.kind));
        let mut seen = std::collections::HashSet::new();
        self.entries.retain(|entry| seen.insert(entry.to_string()));
    }

    fn add(&mut self, kind: Kind, line: usize, what: &str, note: String) {
        self.entries.push(Entry { kind, line, what: echo(what), note: printable(&note) });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.entries {
            writeln!(f, "{entry}")?;
        }
        let [translated, approximated, left_out, mistakes] =
            [Kind::Translated, Kind::Approximated, Kind::NotSupported, Kind::Mistake]
                .map(|kind| self.count(kind));
        writeln!(
            f,
            "{translated} translated, {approximated} approximated, {left_out} not supported, {mistakes} mistakes in the source"
        )
    }
}

/// A piece of the source, fit for one line of a terminal or of a comment.
pub(super) fn echo(text: &str) -> String {
    let mut cut: String = printable(text.trim()).chars().take(ECHO_CHARS_MAX + 1).collect();
    if cut.chars().count() > ECHO_CHARS_MAX {
        cut.pop();
        cut.push_str("...");
    }
    cut
}

/// Without control characters: a source may hold escape sequences of terminals.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_in_the_order_of_the_source_and_once() {
        let mut report = Report::default();
        report.mistake(3, "c", "why");
        report.translated(1, "a", "");
        report.mistake(3, "c", "why");
        report.approximated(3, "b", "how");
        report.settle();
        assert_eq!(
            report.to_string(),
            "line 1: translated: a\nline 3: approximated: b: how\nline 3: mistake in the source: c: why\n\
             1 translated, 1 approximated, 0 not supported, 1 mistakes in the source\n"
        );
        assert!(report.needs_attention());
    }

    #[test]
    fn escape_sequences_of_a_source_do_not_reach_the_terminal() {
        let mut report = Report::default();
        report.not_supported(1, "a\u{1b}[2Jb\nc", "x\u{7}y");
        assert_eq!(report.entries()[0].to_string(), "line 1: not supported: a [2Jb c: x y");
        report.translated(2, "é".repeat(200), "");
        assert_eq!(report.entries()[1].what.chars().count(), ECHO_CHARS_MAX + 3);
    }
}

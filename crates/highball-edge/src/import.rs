//! Other proxies' files, translated into ours, with a report of what became of every part.
//!
//! Three sources: an nginx site with `grpc_pass`, a static Envoy configuration (v3, YAML or JSON), and Istio's
//! `DestinationRule` and `VirtualService` with the `Service` manifests they name. The TOML is a start, not a promise: the
//! report says what is done, what is done differently, what is left out, and what did not work in the source either.
//!
//! A condition that cannot be expressed takes its route with it: a route that is missing is found, one that matches too much
//! is not. Where the source has TLS and its files cannot be known, the TOML names files that are not there, so that nothing
//! becomes plaintext unseen. Sources are at most [`SOURCE_SIZE_BYTES_MAX`] long and [`NESTING_MAX`] levels deep.

mod envoy;
mod istio;
mod names;
mod nginx;
mod report;
mod sieve;
mod toml;
mod values;
mod yaml;

use std::fmt;
use std::io::{self, Write};

pub use report::{Entry, Kind, Report};

/// Longest source, in bytes.
pub const SOURCE_SIZE_BYTES_MAX: usize = 1 << 20;

/// Deepest nesting of a source.
pub const NESTING_MAX: usize = 64;

/// How many lines of a source the TOML lists as not translated.
const LINES_MAX: usize = 12;

/// The exit code of a command that could not read its source.
pub const EXIT_UNREADABLE: u8 = 2;

/// A translation. `Display` is the TOML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Our file.
    pub toml: String,
    /// What became of the source.
    pub report: Report,
}

impl Imported {
    /// Writes the TOML and the report each to its place, such as standard output and standard error.
    ///
    /// # Errors
    /// The first of either.
    pub fn write(&self, toml: &mut dyn Write, report: &mut dyn Write) -> io::Result<()> {
        toml.write_all(self.toml.as_bytes())?;
        toml.flush()?;
        write!(report, "{}", self.report)?;
        report.flush()
    }

    /// The exit code of a command: 0, or 1 when something is left out or was a mistake in the source. What cannot be read at
    /// all is [`EXIT_UNREADABLE`].
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        u8::from(self.report.needs_attention())
    }

    fn new(mut file: toml::File, mut report: Report) -> Self {
        sieve::sieve(&mut file, &mut report);
        report.settle();
        let mut lines: Vec<_> = report
            .entries()
            .iter()
            .filter(|entry| entry.kind == Kind::NotSupported)
            .map(|entry| entry.line.to_string())
            .collect();
        lines.dedup();
        if !lines.is_empty() {
            let more = if lines.len() > LINES_MAX { " and more" } else { "" };
            lines.truncate(LINES_MAX);
            file.top.comment("Not translated, among it what may have kept callers out:");
            file.top.comment(format!("lines {}{more}", lines.join(", ")));
        }
        if file.routes.iter().any(|route| route.has("deadline")) {
            file.top.comment(
                "Deadlines are for unary methods, which descriptors tell: descriptors = [\"services.binpb\"]",
            );
        }
        Self { toml: file.to_string(), report }
    }
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.toml)
    }
}

/// Why a source cannot be read, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct ImportError {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// A sentence.
    pub problem: String,
}

impl ImportError {
    fn new(line: usize, column: usize, problem: impl AsRef<str>) -> Self {
        Self { line, column, problem: report::echo(problem.as_ref()) }
    }
}

/// Translates the text of an nginx configuration: a whole one, or a site with `upstream` and `server` blocks. `include` is
/// not followed.
///
/// # Errors
/// [`ImportError`] when it is too long, or not nginx's syntax.
pub fn nginx(text: &str) -> Result<Imported, ImportError> {
    nginx::translate(bounded(text)?)
}

/// Translates a static Envoy configuration, v3, in YAML or JSON: a bootstrap file, or its `static_resources` alone.
///
/// # Errors
/// [`ImportError`] when it is too long, or not YAML.
pub fn envoy(text: &str) -> Result<Imported, ImportError> {
    envoy::translate(bounded(text)?)
}

/// Translates Istio manifests, several YAML documents in one text: `DestinationRule`, `VirtualService`, and, for ports and
/// addresses, `Service`.
///
/// # Errors
/// [`ImportError`] when it is too long, or not YAML.
pub fn istio(text: &str) -> Result<Imported, ImportError> {
    istio::translate(bounded(text)?)
}

fn bounded(text: &str) -> Result<&str, ImportError> {
    if text.len() > SOURCE_SIZE_BYTES_MAX {
        let problem = format!("{} bytes are more than {SOURCE_SIZE_BYTES_MAX}", text.len());
        return Err(ImportError::new(1, 1, problem));
    }
    // A byte order mark is none of the syntaxes'.
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

#[cfg(test)]
mod tests;

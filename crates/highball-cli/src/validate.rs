//! `highball validate`: would an edge start with this file?

use std::path::PathBuf;

use clap::Args;

use crate::edge::file::{Source, Wrong};
use crate::say;

/// What `highball validate` takes.
#[derive(Debug, Args)]
#[command(after_help = "Nothing is bound and nothing is connected.\n\n\
                        Exit codes: 0 it would start; 1 it would not; 2 the file cannot be read")]
pub(crate) struct Flags {
    /// The file of `highball edge`.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// An edge would not start.
const WRONG: u8 = 1;

/// Does everything that a start does before its first socket, and says how that went. The exit code, or why the file cannot
/// be read.
pub(crate) fn run(flags: &Flags) -> Result<u8, String> {
    let source = Source::load(&flags.file)?;
    let read = match source.read() {
        Ok(read) => read,
        Err(wrong) => return Ok(refused(&wrong)),
    };
    for warning in &read.warnings {
        say(format_args!("warning: {}\n", source.render(warning)));
    }
    let settings = read.settings;
    let counts = [
        (settings.listeners.len(), "listener"),
        (settings.routes.len(), "route"),
        (settings.clusters.len(), "cluster"),
        (read.warnings.len(), "warning"),
    ];
    if let Err(wrong) = source.check(settings) {
        return Ok(refused(&wrong));
    }
    let counts = counts.map(|(count, what)| counted(count, what));
    print(&format!("OK {}: {}", flags.file.display(), counts.join(", ")));
    Ok(0)
}

fn refused(wrong: &Wrong) -> u8 {
    say(format_args!("{wrong}\n\n{}", counted(wrong.lines.len(), "problem")));
    WRONG
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[expect(clippy::print_stdout, reason = "the answer is what this command is asked for")]
fn print(text: &str) {
    println!("{text}");
}

//! `highball import`: another proxy's file, translated, with a report of what became of every part.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use highball_edge::import::{self, EXIT_UNREADABLE, ImportError, Imported, SOURCE_SIZE_BYTES_MAX};

use crate::say;

/// What `highball import` takes.
#[derive(Debug, Args)]
#[command(after_help = "The report goes to standard error.\n\n\
                        Exit codes: 0 everything is translated; 1 a person must look at the report; 2 the source cannot be read")]
pub(crate) struct Flags {
    /// Whose file it is.
    #[arg(value_enum)]
    from: From,
    /// The file: a site with grpc_pass; a static bootstrap (v3); DestinationRule, VirtualService and Service manifests.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where to write the TOML instead of standard output. A file that exists is replaced.
    #[arg(short, long, value_name = "OUT")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum From {
    Nginx,
    Envoy,
    Istio,
}

impl From {
    fn translate(self, text: &str) -> Result<Imported, ImportError> {
        match self {
            Self::Nginx => import::nginx(text),
            Self::Envoy => import::envoy(text),
            Self::Istio => import::istio(text),
        }
    }
}

/// Translates. The exit code, or a sentence: nothing is translated, or it cannot be written.
pub(crate) fn run(flags: &Flags) -> Result<u8, String> {
    let source = flags.file.display();
    let text = load(&flags.file).map_err(|cause| format!("cannot read {source}: {cause}"))?;
    let imported = match flags.from.translate(&text) {
        Ok(imported) => imported,
        Err(error) => {
            say(format_args!("{source}:{}:{}: {}", error.line, error.column, error.problem));
            return Ok(EXIT_UNREADABLE);
        }
    };
    let mut report = io::stderr().lock();
    let written = match &flags.out {
        Some(out) => {
            fs::write(out, &imported.toml)
                .map_err(|cause| format!("cannot write {}: {cause}", out.display()))?;
            imported.write(&mut io::sink(), &mut report)
        }
        None => imported.write(&mut io::stdout().lock(), &mut report),
    };
    drop(report);
    written.map_err(|cause| format!("cannot write: {cause}"))?;
    if let Some(out) = &flags.out {
        say(format_args!("written to {0}; next: highball validate {0}", out.display()));
    }
    Ok(imported.exit_code())
}

fn load(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let limit = u64::try_from(SOURCE_SIZE_BYTES_MAX).unwrap_or(u64::MAX);
    // One byte more: the importer says what is too long.
    File::open(path)?.take(limit.saturating_add(1)).read_to_string(&mut text)?;
    Ok(text)
}

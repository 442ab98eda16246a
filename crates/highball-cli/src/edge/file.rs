//! The edge's file, and everything that can be wrong with it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use highball_edge::settings::read::{FILE_SIZE_BYTES_MAX, Problem, Read, read};
use highball_edge::{Edge, EdgeError, Settings};

/// A file as it was read once.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// Reads it.
    ///
    /// # Errors
    /// One sentence: there is no such file, it is no text, or it is too long.
    pub(crate) fn load(path: &Path) -> Result<Self, String> {
        let text = load(path).map_err(|cause| format!("cannot read {}: {cause}", path.display()))?;
        Ok(Self { path: path.to_owned(), text })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }

    /// What it says.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(crate) fn read(&self) -> Result<Read, Wrong> {
        let base = self.path.parent().unwrap_or(Path::new(""));
        read(&self.text, base).map_err(|problems| {
            self.wrong(
                problems.0.into_iter().map(|problem| (Some((problem.line, problem.column)), problem.message)),
            )
        })
    }

    /// Everything that a start does before its first socket.
    ///
    /// # Errors
    /// All that is wrong with what it names.
    pub(crate) fn check(&self, settings: Settings) -> Result<(), Wrong> {
        Edge::new(settings).check().map_err(|error| self.unusable(&error))
    }

    /// What an edge says of settings from here, each sentence at the part that it names.
    pub(crate) fn unusable(&self, error: &EdgeError) -> Wrong {
        self.wrong(error.problems().iter().map(|sentence| (place(&self.text, sentence), sentence.clone())))
    }

    /// A warning or a problem in one line.
    pub(crate) fn line(&self, problem: &Problem) -> String {
        format!("{}:{problem}", self.path.display())
    }

    /// The same as compilers show it, without the newline at its end.
    pub(crate) fn render(&self, problem: &Problem) -> String {
        problem.render(&self.path.display().to_string(), &self.text).trim_end().to_owned()
    }

    fn wrong(&self, all: impl Iterator<Item = (Option<(usize, usize)>, String)>) -> Wrong {
        let (mut lines, mut rendered) = (Vec::new(), Vec::new());
        for (place, message) in all {
            let Some((line, column)) = place else {
                let sentence = format!("{}: {message}", self.path.display());
                lines.push(sentence.clone());
                rendered.push(sentence);
                continue;
            };
            let problem = Problem { line, column, message };
            lines.push(self.line(&problem));
            rendered.push(self.render(&problem));
        }
        Wrong { lines, rendered }
    }
}

fn load(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let limit = u64::try_from(FILE_SIZE_BYTES_MAX).unwrap_or(u64::MAX);
    // One byte more: what is longer is a problem of the file, told with its place.
    File::open(path)?.take(limit.saturating_add(1)).read_to_string(&mut text)?;
    Ok(text)
}

/// All that is wrong with a file. Displays each problem with its place, its line, and a caret.
#[derive(Debug)]
pub(crate) struct Wrong {
    /// Each in one line, as `FILE:LINE:COLUMN: sentence`.
    pub(crate) lines: Vec<String>,
    rendered: Vec<String>,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rendered.join("\n\n"))
    }
}

/// Where the part stands that a sentence begins with: `cluster NAME: ..`, `route NAME: ..`, `listener ADDRESS: ..`,
/// `descriptors PATH: ..`, `cannot listen on ADDRESS: ..`, or the name of a setting.
fn place(text: &str, sentence: &str) -> Option<(usize, usize)> {
    let sentence = sentence.replacen("cannot listen on ", "listener ", 1);
    let (kind, rest) = sentence.split_once(' ')?;
    let name = rest.split_once(": ").map_or(rest, |(name, _)| name);
    let file_name = || name.rsplit('/').next().unwrap_or(name);
    let wanted: Vec<String> = match kind {
        "cluster" => {
            vec![format!("[clusters.{name}]"), format!("[clusters.\"{name}\"]"), format!("{name} =")]
        }
        "listener" | "route" => vec![format!("\"{name}\"")],
        "descriptors" => vec![format!("{}\"", file_name()), "descriptors".to_owned()],
        setting => vec![format!("[[{setting}]]"), format!("[{setting}]"), format!("{setting} =")],
    };
    let found = |wanted: &String| {
        let lines = text.lines().enumerate();
        let mut places = lines.filter_map(|(index, line)| {
            let before = line.split(wanted.as_str()).next().filter(|before| before.len() < line.len())?;
            (!line.trim_start().starts_with('#')).then(|| (index + 1, before.chars().count() + 1))
        });
        places.next()
    };
    wanted.iter().find_map(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_shown_at_the_part_that_it_names() {
        let text = "workers = 2\ndescriptors = [\"gen/shop.bin\"]\n# [clusters.shop]\n[[listeners]]\naddress = \"127.0.0.1:1\"\n\
                    [clusters.shop]\n[[routes]]\nname = \"all\"\n";
        for (sentence, want) in [
            ("cluster shop: target: no port", Some((6, 1))),
            ("listener 127.0.0.1:1: no certificate", Some((5, 11))),
            ("cannot listen on 127.0.0.1:1: it is taken", Some((5, 11))),
            ("route all: no cluster has weight", Some((8, 8))),
            ("descriptors ./gen/shop.bin: no such file", Some((2, 21))),
            ("workers cannot change while it runs", Some((1, 1))),
            ("listeners cannot change while it runs", Some((4, 1))),
            ("cannot start the workers: no more threads", None),
        ] {
            assert_eq!(place(text, sentence), want, "{sentence}");
        }
    }
}

//! Taking the file again when it changes, and when somebody asks for it.

use std::path::PathBuf;
use std::time::Duration;

use highball_edge::{Reloader, Settings};
use tokio::signal::unix::Signal;
use tokio::time::sleep;

use super::changes;
use super::file::{Source, Wrong};
use crate::say;

/// From one look at the file to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// Follows one file by its path, for editors rename a new one into the place of the old.
///
/// Reading is done on the task that follows: the file is small and local.
#[derive(Debug)]
pub(super) struct Follower {
    path: PathBuf,
    /// The settings in force.
    settings: Settings,
    reloader: Reloader,
    looks: Looks,
}

impl Follower {
    /// `source` and its settings are in force.
    pub(super) fn new(path: PathBuf, source: Source, settings: Settings, reloader: Reloader) -> Self {
        let looks = Looks { acted_on: Ok(source.into_text()), seen: None };
        Self { path, settings, reloader, looks }
    }

    /// Looks each second, and at once when `hangup` comes. Never resolves.
    ///
    /// # Cancel safety
    /// A reload is done or not begun.
    pub(super) async fn run(mut self, mut hangup: Signal) {
        loop {
            let asked = tokio::select! {
                signal = hangup.recv() => signal.is_some(),
                () = sleep(INTERVAL) => false,
            };
            let loaded = Source::load(&self.path);
            let content = loaded.as_ref().map(|source| source.text().to_owned()).map_err(Clone::clone);
            if self.looks.is_new(content, asked) {
                self.act(loaded);
            }
        }
    }

    fn act(&mut self, loaded: Result<Source, String>) {
        let source = match loaded {
            Ok(source) => source,
            Err(sentence) => {
                self.reloader.refuse(&sentence);
                return say(format_args!("highball: {sentence}; what was read before stays in force"));
            }
        };
        let read = match source.read() {
            Ok(read) => read,
            Err(wrong) => {
                self.reloader.refuse(&wrong.lines.join("\n"));
                return refused(&wrong);
            }
        };
        for warning in &read.warnings {
            tracing::warn!(warning = source.line(warning), "the file may not say what it means");
        }
        // The reloader tells the log.
        if let Err(error) = self.reloader.reload(read.settings.clone()) {
            return refused(&source.unusable(&error));
        }
        let changes = match changes::between(&self.settings, &read.settings) {
            changes if changes.is_empty() => "nothing changed".to_owned(),
            changes => changes.join("; "),
        };
        tracing::info!(changes, "reloaded");
        say(format_args!("{} is in force: {changes}", self.path.display()));
        self.settings = read.settings;
    }
}

fn refused(wrong: &Wrong) {
    say(format_args!("\n{wrong}\n\nhighball: the new file is refused; what was read before stays in force"));
}

/// A file's text, or why it cannot be read.
type Content = Result<String, String>;

/// What was seen of a file.
#[derive(Debug)]
struct Looks {
    /// Taken or refused.
    acted_on: Content,
    /// By the last look, when it was neither.
    seen: Option<Content>,
}

impl Looks {
    /// Whether to act: on what two looks in a row saw, so that no half-written file is taken; or at once when `asked`.
    fn is_new(&mut self, content: Content, asked: bool) -> bool {
        if asked || (content != self.acted_on && self.seen.as_ref() == Some(&content)) {
            self.acted_on = content;
            self.seen = None;
            return true;
        }
        self.seen = (content != self.acted_on).then_some(content);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(looks: &mut Looks, text: &str) -> bool {
        looks.is_new(Ok(text.to_owned()), false)
    }

    #[test]
    fn a_change_is_taken_once_two_looks_saw_the_same() {
        let mut looks = Looks { acted_on: Ok("old".to_owned()), seen: None };
        for (text, acts) in [
            ("old", false),
            ("ne", false),
            ("new", false),
            ("new", true),
            ("new", false),
            ("old", false),
            ("new", false),
            ("old", false),
            ("old", true),
        ] {
            assert_eq!(look(&mut looks, text), acts, "{text}");
        }
    }

    #[test]
    fn a_file_that_is_away_for_a_moment_is_not_reported() {
        let mut looks = Looks { acted_on: Ok("text".to_owned()), seen: None };
        let away = || Err("no such file".to_owned());
        assert!(!looks.is_new(away(), false));
        assert!(!look(&mut looks, "text"));
        assert!(!looks.is_new(away(), false));
        assert!(looks.is_new(away(), false), "and one that stays away once");
        assert!(!looks.is_new(away(), false));
    }

    #[test]
    fn who_asks_is_not_kept_waiting() {
        let mut looks = Looks { acted_on: Ok("old".to_owned()), seen: None };
        assert!(looks.is_new(Ok("new".to_owned()), true));
        assert!(looks.is_new(Ok("new".to_owned()), true), "certificates may have changed");
        assert!(!look(&mut looks, "new"));
    }
}

//! Endpoints listed in a file that is followed as it changes.
//!
//! ```text
//! # One endpoint a line: an address, then what is known of it.
//! 10.0.0.1:50051 weight=2 locality=eu-1a
//! unix:/run/orders.sock priority=1
//! ```
//!
//! or, when the file starts with a brace or a bracket, JSON: a list of endpoints, or an object that may hold a service config
//! as well.
//!
//! ```json
//! { "endpoints": [ { "address": "10.0.0.1:50051", "weight": 2 }, { "addresses": ["10.0.0.2:50051", "[::1]:50051"] } ],
//!   "serviceConfig": { "loadBalancingConfig": [ { "round_robin": {} } ] } }
//! ```
//!
//! Keys: `weight` (1 or more), `locality`, `priority` (0 first), `hash_key`, `hostname` (whom to call and to verify); in JSON
//! `hashKey`. Addresses are literal. Write a new file beside the old one and rename it: a file caught half written would be
//! read as what it is. To make that rare, a change counts once two looks in a row saw the same.

mod format;

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

use super::{ResolveError, Resolver, Update};

/// From one look at the file to the next.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// The largest file that is read, in bytes.
pub const FILE_SIZE_BYTES_MAX: u64 = 4 << 20;

/// Every so many looks the content is compared although the file's size and time of change are the same: two writes within one
/// tick of the file system's clock look alike.
const LOOKS_PER_READ: u32 = 10;

/// Follows one file.
///
/// Reading is done on the task that asks: the file is small and local. On a network file system a look may take long, and hold
/// up the channel's manager for that time.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    /// When to look next.
    due: Instant,
    /// Looks since the content was read.
    looks: u32,
    stamp: Option<Stamp>,
    /// What the last look saw, and the one before that acted on.
    seen: Option<Seen>,
    acted_on: Option<Seen>,
    /// The last update that was told.
    told: Option<format::Content>,
    failed: bool,
}

/// What changes when a file is written.
type Stamp = (u64, SystemTime);

/// The content, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Content(String),
    Failure(String),
}

impl File {
    /// Follows the file at this path. Nothing is read before the first call of `next`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            due: Instant::now(),
            looks: 0,
            stamp: None,
            seen: None,
            acted_on: None,
            told: None,
            failed: false,
        }
    }

    async fn wait_for_news(&mut self) -> Result<Update, ResolveError> {
        loop {
            sleep_until(self.due).await;
            // No await from here to the end of the round, so nothing is lost when the future is dropped.
            self.due = Instant::now() + INTERVAL;
            let before = self.seen.clone();
            self.look();
            let is_first = before.is_none();
            if (is_first || before == self.seen)
                && self.acted_on != self.seen
                && let Some(seen) = self.seen.clone()
            {
                self.acted_on = Some(seen.clone());
                if let Some(news) = self.learn(seen) {
                    self.failed = news.is_err();
                    return news;
                }
            }
        }
    }

    /// Brings `seen` up to date.
    fn look(&mut self) {
        let stamp = std::fs::metadata(&self.path).and_then(|file| Ok((file.len(), file.modified()?)));
        self.looks += 1;
        let is_same = stamp.as_ref().is_ok_and(|stamp| self.stamp == Some(*stamp));
        if is_same && self.looks < LOOKS_PER_READ && matches!(self.seen, Some(Seen::Content(_))) {
            return;
        }
        self.looks = 0;
        // Of before the read: a file that changes meanwhile is read again.
        self.stamp = stamp.ok();
        self.seen = Some(match read(&self.path) {
            Ok(content) => Seen::Content(content),
            Err(error) => Seen::Failure(error.to_string()),
        });
    }

    /// Each problem is told once; the endpoints of before stay.
    fn learn(&mut self, seen: Seen) -> Option<Result<Update, ResolveError>> {
        let content = match seen {
            Seen::Content(text) => format::parse(&text),
            Seen::Failure(problem) => Err(problem),
        };
        match content {
            Err(problem) => Some(Err(ResolveError::new(format!("{}: {problem}", self.path.display())))),
            Ok(content) if self.told.as_ref() != Some(&content) || self.failed => {
                self.told = Some(content.clone());
                Some(Ok(Update {
                    endpoints: content.endpoints,
                    service_config: content.service_config.map(Ok),
                    config_selector: None,
                }))
            }
            Ok(_) => None,
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_SIZE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_SIZE_BYTES_MAX {
        let problem = format!("is larger than {FILE_SIZE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    Ok(text)
}

impl Resolver for File {
    fn next(&mut self) -> BoxFuture<'_, Result<Update, ResolveError>> {
        self.wait_for_news().boxed()
    }

    /// It looks often enough.
    fn refresh(&mut self) {}

    fn restart(&mut self) {
        *self = Self::new(std::mem::take(&mut self.path));
    }
}

#[cfg(test)]
mod tests;

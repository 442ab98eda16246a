//! Looking at the files again and again.

use std::time::Duration;

use super::{Changed, ServerTls, TlsError};

/// How often to look: a renewed certificate is in force within this time. 10 s costs nothing, and Kubernetes itself needs up
/// to a minute to update a mounted secret.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(10);

/// The shortest interval; a shorter one is raised to this, so that a typing error does not read files all day.
pub const WATCH_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// What watching found.
#[derive(Debug)]
pub enum Event<C = Changed> {
    /// New files are in force.
    Reloaded(C),
    /// The files cannot be used; the old ones stay in force. Told once per problem, not at every look.
    Rejected(TlsError),
    /// After a rejection, the files are again what is in force.
    Restored,
}

impl ServerTls {
    /// Reloads whenever the files' content changes, for ever. The caller owns the future and ends it by dropping it.
    ///
    /// Content is compared, not dates: so a directory whose symbolic link is swapped (Kubernetes) and a second write
    /// within the same second are seen. A rejected set is tried again at every look, because a certificate that is not
    /// yet valid becomes so by waiting.
    ///
    /// # Cancel safety
    /// Dropping the future stops watching. A reload is never left half done: there is no await point in it.
    pub async fn watch(&self, interval: Duration, report: impl FnMut(Event) + Send) {
        watch(interval, || self.reload(), |changed| changed.any(), report).await;
    }
}

/// See [`ServerTls::watch`]; the same for whatever reloads.
pub(super) async fn watch<C>(
    interval: Duration,
    reload: impl Fn() -> Result<C, TlsError>,
    any: impl Fn(&C) -> bool,
    mut report: impl FnMut(Event<C>) + Send,
) {
    let mut rejected: Option<String> = None;
    loop {
        tokio::time::sleep(interval.max(WATCH_INTERVAL_MIN)).await;
        match reload() {
            Ok(changed) if any(&changed) => {
                rejected = None;
                report(Event::Reloaded(changed));
            }
            Ok(_) => {
                if rejected.take().is_some() {
                    report(Event::Restored);
                }
            }
            Err(error) => {
                let sentence = error.to_string();
                if rejected.as_ref() != Some(&sentence) {
                    rejected = Some(sentence);
                    report(Event::Rejected(error));
                }
            }
        }
    }
}

//! What the driver of a connection and the sentinel under it tell each other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::frames;
use super::rules::{Abuse, Watch};

/// What our PING carries: not what h2 puts into its own.
pub(super) const QUESTION: [u8; frames::PING_SIZE] = *b"highball";

/// NO_ERROR (RFC 9113 §7).
const NO_ERROR: u32 = 0x0;

/// The driver's hand on the sentinel under its connection. Both live in one task.
#[derive(Debug, Clone)]
pub(crate) struct Control(Arc<Mutex<Shared>>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) opening: Opening,
    pub(super) watch: Watch,
    pub(super) abuse: Option<Abuse>,
    goodbye: Option<&'static str>,
    /// When bytes last came.
    pub(super) heard: Instant,
    /// A PING of ours is to be written before whatever h2 writes next.
    question_due: bool,
    /// Our PINGs that were written and not answered yet.
    questions: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// So many bytes of the preface have come.
    Preface(usize),
    /// The first frame must be SETTINGS.
    Settings,
    /// HTTP/2, under watch.
    Http2,
    /// Something else, which is not ours to watch.
    Other,
}

impl Control {
    pub(super) fn new(watch: Watch, opened: Instant) -> Self {
        Self(Arc::new(Mutex::new(Shared {
            opening: Opening::Preface(0),
            watch,
            abuse: None,
            goodbye: None,
            heard: opened,
            question_due: false,
            questions: 0,
        })))
    }

    /// Announces a GOAWAY(2^31-1, NO_ERROR) with debug data, written before whatever h2 writes next. Nothing on a
    /// connection that does not speak HTTP/2.
    pub(crate) fn say_goodbye(&self, debug: &'static str) {
        let mut shared = self.lock();
        if shared.opening == Opening::Http2 {
            shared.goodbye = Some(debug);
        }
    }

    /// Why the sentinel ended the connection, if it did.
    pub(crate) fn abuse(&self) -> Option<Abuse> {
        self.lock().abuse
    }

    /// Since when no stream is open; `None` while one is, or when nobody counts.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let shared = self.lock();
        (shared.opening == Opening::Http2).then(|| shared.watch.idle_since()).flatten()
    }

    /// When the peer was last heard; `None` on a connection that does not speak HTTP/2.
    pub(crate) fn heard(&self) -> Option<Instant> {
        let shared = self.lock();
        (shared.opening == Opening::Http2).then_some(shared.heard)
    }

    /// Asks the peer for a sign of life when the stream is flushed next.
    pub(crate) fn ask(&self) {
        self.lock().question_due = true;
    }

    /// Whether it is known what the peer speaks.
    pub(crate) fn has_spoken(&self) -> bool {
        matches!(self.lock().opening, Opening::Http2 | Opening::Other)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Shared> {
        // Nothing panics while holding it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Frames of ours that are due.
    pub(super) fn own_frames(&mut self) -> Vec<u8> {
        let mut own = Vec::new();
        if std::mem::take(&mut self.question_due) {
            self.questions += 1;
            own.extend(frames::ping(QUESTION));
            self.watch.asked();
        }
        if let Some(debug) = self.goodbye.take() {
            own.extend(frames::goaway(0x7fff_ffff, NO_ERROR, debug));
        }
        own
    }

    /// Whether a frame of the peer is the answer to a PING of ours. `payload` is what has come of it.
    pub(super) fn is_answer(&mut self, head: &frames::Head, payload: &[u8]) -> bool {
        let answer = self.questions > 0
            && head.kind == frames::PING
            && head.is_ack()
            && payload.first_chunk() == Some(&QUESTION);
        self.questions -= u32::from(answer);
        answer
    }
}

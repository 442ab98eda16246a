//! What the handles of a connection, its streams and its driver share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use h2::Reason;
use h2::client::SendRequest;

use super::error::{SendErrorKind, StreamError};
use super::leaving::{Leaving, Story};
use super::places::Places;
use super::settings::Settings;
use super::wire::Wire;
use crate::Spawner;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) places: Places,
    pub(super) wire: Wire,
    pub(super) story: Story,
    pub(super) spawner: Spawner,
    pub(super) send_buffer_size: usize,
    /// h2's door for new streams. Gone when none may be opened: h2 ends a connection nobody can use.
    door: ArcSwapOption<SendRequest<Bytes>>,
    driver: AtomicWaker,
    aborted: AtomicBool,
    /// The silence is long already, and nobody asked for a sign of life because no stream is open.
    dozing: AtomicBool,
    /// A stream begins, so it must be asked for.
    roused: AtomicBool,
}

impl Shared {
    pub(super) fn new(settings: &Settings, spawner: Spawner) -> Arc<Self> {
        Arc::new(Self {
            places: Places::new(settings.concurrent_streams_max),
            wire: Wire::new(),
            story: Story::new(),
            spawner,
            send_buffer_size: settings.send_buffer_size_bytes_max,
            door: ArcSwapOption::empty(),
            driver: AtomicWaker::new(),
            aborted: AtomicBool::new(false),
            dozing: AtomicBool::new(false),
            roused: AtomicBool::new(false),
        })
    }

    pub(super) fn open(&self, door: SendRequest<Bytes>) {
        self.door.store(Some(Arc::new(door)));
    }

    /// A handle of h2 for one request; `None` when no stream may be opened.
    pub(super) fn door(&self) -> Option<SendRequest<Bytes>> {
        self.door.load().as_deref().cloned()
    }

    /// Opens no more streams.
    pub(super) fn leave(&self, reason: Leaving) {
        self.places.shut();
        self.door.store(None);
        self.story.leave(reason);
        self.wake_driver();
    }

    pub(super) fn abort(&self) {
        self.aborted.store(true, Ordering::Release);
        self.wake_driver();
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Acquire)
    }

    pub(super) fn register_driver(&self, waker: &Waker) {
        self.driver.register(waker);
    }

    pub(super) fn wake_driver(&self) {
        self.driver.wake();
    }

    pub(super) fn set_dozing(&self, dozing: bool) {
        self.dozing.store(dozing, Ordering::SeqCst);
    }

    /// A stream begins: whoever dozes asks for a sign of life before its HEADERS are written (gRFC A8).
    pub(super) fn rouse(&self) {
        if self.dozing.load(Ordering::SeqCst) {
            self.roused.store(true, Ordering::SeqCst);
            self.wake_driver();
        }
    }

    pub(super) fn take_roused(&self) -> bool {
        self.roused.load(Ordering::SeqCst) && self.roused.swap(false, Ordering::SeqCst)
    }

    /// What an error of h2 says about a stream, together with what was seen on the wire.
    pub(super) fn explain(&self, stream: h2::StreamId, error: h2::Error) -> StreamError {
        let stream = stream.as_u32();
        let kind = match error.reason() {
            Some(Reason::REFUSED_STREAM) if error.is_reset() && error.is_remote() => SendErrorKind::Refused,
            Some(reason) if error.is_reset() => SendErrorKind::Reset(reason.into()),
            _ if !self.wire.was_sent(stream) => SendErrorKind::NeverSent,
            _ if self.wire.was_refused(stream) => SendErrorKind::Refused,
            _ => SendErrorKind::Lost,
        };
        StreamError::new(kind, error)
    }
}

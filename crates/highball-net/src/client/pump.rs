//! What is left of a request when its response has begun.
//!
//! Mostly nothing: a unary request was sent before it was answered. A stream that goes both ways gets a task that pumps its
//! request body, so that it flows whatever the caller does with the response: one who only writes must not wait for one
//! who never reads.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use futures_util::task::AtomicWaker;
use h2::Reason;

use super::places::Place;
use super::shared::Shared;
use super::upload::Upload;

/// The sending half of a stream, seen from the response body. Dropping it stops the other one.
#[derive(Debug)]
pub(super) enum Pumped {
    /// All was handed to h2.
    Here { upload: Upload, place: Place },
    /// By a task.
    There(Remote),
    /// The stream is over.
    Over,
}

impl Pumped {
    /// The response has ended, and with it the stream: gives the place back as soon as it is free.
    pub(super) fn response_ended(&mut self) {
        match std::mem::replace(self, Self::Over) {
            Self::Here { mut upload, mut place } => {
                let silent = upload.finish(&place.shared().wire);
                place.set_silent(silent);
            }
            Self::There(remote) => remote.0.ended.store(true, Ordering::Release),
            Self::Over => {}
        }
    }

    /// The connection, while the stream is not over.
    pub(super) fn shared(&self) -> Option<&Shared> {
        match self {
            Self::Here { place, .. } => Some(place.shared()),
            Self::There(remote) => Some(remote.0.place.shared()),
            Self::Over => None,
        }
    }
}

/// The hand on a pump that runs by itself.
#[derive(Debug)]
pub(super) struct Remote(Arc<Both>);

impl Drop for Remote {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Release);
        self.0.pump.wake();
    }
}

/// What both halves of a stream hold; its place is free when both are gone.
#[derive(Debug)]
struct Both {
    place: Place,
    /// The response has ended.
    ended: AtomicBool,
    /// The request was handed to h2 and is certain to be written.
    done: AtomicBool,
    /// Nobody has the response body any more.
    stopped: AtomicBool,
    pump: AtomicWaker,
}

impl Drop for Both {
    fn drop(&mut self) {
        let silent = *self.ended.get_mut() && *self.done.get_mut();
        self.place.set_silent(silent);
    }
}

/// Hands the rest of a request body to a task of its own.
pub(super) fn spawn(upload: Upload, place: Place) -> Pumped {
    let both = Arc::new(Both {
        place,
        ended: AtomicBool::new(false),
        done: AtomicBool::new(false),
        stopped: AtomicBool::new(false),
        pump: AtomicWaker::new(),
    });
    let pump = Pump { upload, both: both.clone() };
    both.place.shared().spawner.spawn(pump);
    Pumped::There(Remote(both))
}

/// The upload is dropped first, as the place wants.
struct Pump {
    upload: Upload,
    both: Arc<Both>,
}

impl Future for Pump {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { upload, both } = &mut *self;
        both.pump.register(cx.waker());
        let wire = &both.place.shared().wire;
        if both.stopped.load(Ordering::Acquire) {
            // Without an end of the response, h2 resets the stream when we let go of it.
            if both.ended.load(Ordering::Acquire) && upload.finish(wire) {
                both.done.store(true, Ordering::Release);
            }
            return Poll::Ready(());
        }
        match upload.poll(cx) {
            Poll::Ready(Err(_)) => {
                // The response body says that the stream was reset.
                upload.reset(Reason::CANCEL);
                return Poll::Ready(());
            }
            Poll::Ready(Ok(())) if !upload.may_be_stuck(wire) => {
                both.done.store(true, Ordering::Release);
                return Poll::Ready(());
            }
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        // A body that gives nothing more must learn that nobody wants it.
        ready!(upload.poll_reset(cx));
        Poll::Ready(())
    }
}

//! What a connection has taken to send and not sent yet: counted, and bounded over all its streams.
//!
//! h2 bounds what one stream may have waiting, and takes a message of any size once there is room for a byte. A client
//! that opens many streams and reads nothing would have us hold a message for each.

use std::future::Future as _;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use highball_core::{Body, BodyError};
use http_body::{Frame, SizeHint};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::stream_task::Accounts;

/// What h2 keeps for a frame beside its bytes, roughly: without it, a flood of tiny messages would count for nothing.
const FRAME_SIZE_BYTES: usize = 256;

/// The account of one connection.
#[derive(Debug)]
pub(crate) struct Outbox {
    size_bytes_max: usize,
    /// Bytes whose memory is held.
    held: AtomicUsize,
    /// Bytes that went out, ever: tells a slow reader from one that takes nothing.
    moved: AtomicU64,
    /// Tells one of those who wait. Whoever is told and finds room tells the next.
    room: Arc<Notify>,
    /// Somebody began to wait.
    full: Notify,
}

/// A place in the line of those who wait for room.
#[derive(Debug, Default)]
pub(crate) struct Place(Option<Pin<Box<OwnedNotified>>>);

impl Place {
    pub(crate) fn is_taken(&self) -> bool {
        self.0.is_some()
    }
}

impl Outbox {
    /// An account that is full from `size_bytes_max` on. A message is taken whole, so it may be exceeded by one message
    /// for each thread that takes one at the same moment.
    pub(crate) fn new(size_bytes_max: usize) -> Self {
        Self {
            size_bytes_max,
            held: AtomicUsize::new(0),
            moved: AtomicU64::new(0),
            room: Arc::new(Notify::new()),
            full: Notify::new(),
        }
    }

    /// Whether a message may be taken by who does not wait yet.
    pub(crate) fn has_room(&self) -> bool {
        self.held.load(Ordering::SeqCst) < self.size_bytes_max
    }

    /// Ready while there is room. Who waits is told in turn; dropping the place leaves the line.
    pub(crate) fn poll_room(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<()> {
        if place.0.is_none() && self.has_room() {
            return Poll::Ready(());
        }
        loop {
            let told = place.0.get_or_insert_with(|| Box::pin(self.room.clone().notified_owned()));
            let told = told.as_mut().poll(cx);
            // After the place was taken, so that room made meanwhile is not missed.
            if self.has_room() {
                place.0 = None;
                self.room.notify_one();
                return Poll::Ready(());
            }
            if told.is_pending() {
                self.full.notify_one();
                return Poll::Pending;
            }
            // Somebody else was quicker.
            place.0 = None;
        }
    }

    /// Resolves when the account was full for all of `patience` and not one byte went out.
    pub(crate) async fn stuck(&self, patience: Duration) {
        loop {
            self.full.notified().await;
            let mut seen = self.moved.load(Ordering::Relaxed);
            while !self.has_room() {
                tokio::time::sleep(patience).await;
                let moved = self.moved.load(Ordering::Relaxed);
                if moved == seen && !self.has_room() {
                    return;
                }
                seen = moved;
            }
        }
    }
}

/// Bytes on their way to the socket. Dropping them gives their room back, sent or not.
#[derive(Debug)]
pub(crate) struct Waiting {
    data: Bytes,
    size: usize,
    accounts: Arc<Accounts>,
}

impl Waiting {
    fn new(data: Bytes, accounts: Arc<Accounts>) -> Self {
        let size = data.len() + FRAME_SIZE_BYTES;
        accounts.outbox.held.fetch_add(size, Ordering::SeqCst);
        Self { data, size, accounts }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let account = &self.accounts.outbox;
        // The memory goes before its room is given to another.
        self.data = Bytes::new();
        let before = account.held.fetch_sub(self.size, Ordering::SeqCst);
        if before >= account.size_bytes_max && before - self.size < account.size_bytes_max {
            account.room.notify_one();
        }
    }
}

impl Buf for Waiting {
    fn remaining(&self) -> usize {
        self.data.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.data
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.data.chunks_vectored(slices)
    }

    fn advance(&mut self, count: usize) {
        self.accounts.outbox.moved.fetch_add(count as u64, Ordering::Relaxed);
        self.data.advance(count);
    }
}

/// A body whose bytes are counted.
pub(crate) struct Counted {
    body: Body,
    accounts: Arc<Accounts>,
}

impl Counted {
    /// Counts what `body` hands over until it has gone out.
    pub(crate) fn new(body: Body, accounts: Arc<Accounts>) -> Self {
        Self { body, accounts }
    }
}

impl http_body::Body for Counted {
    type Data = Waiting;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Waiting>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(
            frame.map(|frame| {
                frame.map(|frame| frame.map_data(|data| Waiting::new(data, self.accounts.clone())))
            }),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::task::noop_waker_ref;

    fn hold(accounts: &Arc<Accounts>, data: &'static [u8]) -> Waiting {
        Waiting::new(Bytes::from_static(data), accounts.clone())
    }

    fn room(outbox: &Outbox, place: &mut Place) -> bool {
        outbox.poll_room(place, &mut Context::from_waker(noop_waker_ref())).is_ready()
    }

    #[test]
    fn who_waits_gets_room_in_turn_and_who_leaves_passes_it_on() {
        let accounts = Accounts::new(1000, 1);
        let outbox = &accounts.outbox;
        let held = [hold(&accounts, &[0; 600]), hold(&accounts, &[0; 600])];
        let mut line = [(); 3].map(|()| Place::default());
        assert!(line.iter_mut().all(|place| !room(outbox, place)));
        let [first, second] = held;
        drop(first);
        // The first in the line was told, and goes away.
        let [a, mut b, mut c] = line;
        drop(a);
        assert!(room(outbox, &mut b) && room(outbox, &mut c));
        drop(second);
        assert_eq!(outbox.held.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn tiny_frames_count_for_more_than_their_bytes() {
        let accounts = Accounts::new(1000, 1);
        let outbox = &accounts.outbox;
        let held: Vec<_> = (0..4).map(|_| hold(&accounts, b"x")).collect();
        assert!(!room(outbox, &mut Place::default()));
        drop(held);
        assert!(room(outbox, &mut Place::default()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_account_is_stuck_only_while_nothing_goes_out() {
        let accounts = Accounts::new(10, 1);
        let outbox = &accounts.outbox;
        let mut held = hold(&accounts, &[0; 100]);
        let minute = Duration::from_secs(60);
        let started = tokio::time::Instant::now();
        assert!(!room(outbox, &mut Place::default()));
        let slow_reader = async {
            for _ in 0..5 {
                tokio::time::sleep(minute / 2).await;
                held.advance(1);
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = outbox.stuck(minute) => {}
            () = slow_reader => {}
        }
        assert!(started.elapsed() >= 3 * minute, "{:?}", started.elapsed());
    }
}

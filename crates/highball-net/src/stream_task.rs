//! The task of one stream, with a limit that does not depend on the stream being polled.
//!
//! hyper polls a response body only while the peer's flow-control window has room. A peer that stops reading therefore
//! stops every timer inside the body as well: the deadline passes unseen, and what the RPC holds is held for ever. The
//! task around the stream is polled for its own timer, and ends the stream by dropping it, which resets it.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::inbox::Inbox;
use crate::outbox::{Outbox, Place};

thread_local! {
    static RUNNING: RefCell<Option<State>> = const { RefCell::new(None) };
}

/// The accounts of one connection, which its streams share.
#[derive(Debug)]
pub(crate) struct Accounts {
    pub(crate) outbox: Outbox,
    pub(crate) inbox: Inbox,
}

impl Accounts {
    /// The bytes that may be held on their way out, and on their way in.
    pub(crate) fn new(out_size_bytes_max: usize, in_size_bytes_max: usize) -> Arc<Self> {
        let (outbox, inbox) = (Outbox::new(out_size_bytes_max), Inbox::new(in_size_bytes_max));
        Arc::new(Self { outbox, inbox })
    }
}

#[derive(Debug)]
struct State {
    /// A limit that begins when the stream has to wait.
    limit: Option<LifeLimit>,
    /// A limit that began.
    until: Option<Instant>,
    over: bool,
    accounts: Arc<Accounts>,
}

/// How long a stream may go without being polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LifeLimit {
    /// For so long, from when it has to wait.
    pub patience: Duration,
    /// But not beyond this.
    pub at_latest: Option<Instant>,
}

impl LifeLimit {
    fn until(self, now: Instant) -> Instant {
        let patient = now + self.patience;
        self.at_latest.map_or(patient, |at_latest| at_latest.min(patient))
    }
}

/// The life of the stream whose task is running: how long it may go without being polled, and whether its connection has
/// room for what it sends. Outside of one nothing ends it, and there is room.
#[derive(Debug)]
#[non_exhaustive]
pub struct Life;

/// A stream's place among those of its connection that wait for room. Dropping it gives the place up.
#[derive(Debug, Default)]
pub struct Room(Place);

impl Room {
    /// Whether it waits.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.0.is_taken()
    }
}

impl Life {
    /// Ready while less than [`buffered_size_bytes_max`](crate::http::Settings::buffered_size_bytes_max) of all responses
    /// of the connection wait for the client. A response asks before it makes its next message; who waits is woken in
    /// turn.
    pub fn poll_room(room: &mut Room, cx: &mut Context<'_>) -> Poll<()> {
        if !room.is_waiting() && running(|state| state.accounts.outbox.has_room()).unwrap_or(true) {
            return Poll::Ready(());
        }
        // Cloned, because telling others may run their code.
        match running(|state| state.accounts.clone()) {
            Some(accounts) => accounts.outbox.poll_room(&mut room.0, cx),
            None => Poll::Ready(()),
        }
    }

    pub(crate) fn accounts() -> Option<Arc<Accounts>> {
        running(|state| state.accounts.clone())
    }

    /// From when the current poll returns, the stream is reset at `limit` unless it is polled and says otherwise; never, for
    /// `None`.
    pub fn limit(limit: Option<LifeLimit>) {
        running(|state| (state.limit, state.until) = (limit, None));
    }

    /// Whether the limit ended the stream.
    #[must_use]
    pub fn is_over() -> bool {
        running(|state| state.over).unwrap_or_default()
    }
}

/// `None` outside of a stream's task, and while the thread ends.
fn running<T>(look: impl FnOnce(&mut State) -> T) -> Option<T> {
    RUNNING.try_with(|state| state.borrow_mut().as_mut().map(look)).ok().flatten()
}

/// Runs `work` as a part of the stream.
fn within<T>(state: &mut Option<State>, work: impl FnOnce() -> T) -> T {
    /// Also when `work` panics.
    struct Restore<'a>(&'a mut Option<State>);
    impl Drop for Restore<'_> {
        fn drop(&mut self) {
            swap(self.0);
        }
    }
    swap(state);
    let _restore = Restore(state);
    work()
}

fn swap(state: &mut Option<State>) {
    // Fails only while the thread ends, when it runs nothing any more.
    RUNNING.try_with(|running| std::mem::swap(&mut *running.borrow_mut(), state)).ok();
}

/// Runs a stream under a [`Life`]. Boxed, because a task is moved several times on its way to the runtime.
pub(crate) struct StreamTask<F> {
    stream: Option<Pin<Box<F>>>,
    /// Elsewhere while the stream runs.
    state: Option<State>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<F> StreamTask<F> {
    pub(crate) fn new(stream: F, accounts: Arc<Accounts>) -> Self {
        let state = State { limit: None, until: None, over: false, accounts };
        Self { stream: Some(Box::pin(stream)), state: Some(state), timer: None }
    }
}

impl<F: Future<Output = ()>> Future for StreamTask<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(stream) = &mut this.stream else { return Poll::Ready(()) };
        if within(&mut this.state, || stream.as_mut().poll(cx)).is_ready() {
            return Poll::Ready(());
        }
        let begun = this.state.as_mut().and_then(|state| {
            if let Some(limit) = state.limit.take() {
                state.until = Some(limit.until(Instant::now()));
            }
            state.until
        });
        let Some(until) = begun else {
            this.timer = None;
            return Poll::Pending;
        };
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        if let Some(state) = &mut this.state {
            state.over = true;
        }
        // Whatever the stream holds is released as a part of it.
        let stream = this.stream.take();
        within(&mut this.state, || drop(stream));
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(seconds: u64) -> Option<LifeLimit> {
        Some(LifeLimit { patience: Duration::from_secs(seconds), at_latest: None })
    }

    struct OnDrop<F: FnMut()>(F);

    impl<F: FnMut()> Drop for OnDrop<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_not_polled_any_more_ends_at_its_limit() {
        let mut known_over = false;
        let stream = async {
            let _seen = OnDrop(|| known_over = Life::is_over());
            Life::limit(within(5));
            std::future::pending::<()>().await;
        };
        let started = Instant::now();
        StreamTask::new(stream, Accounts::new(1, 1)).await;
        assert_eq!(started.elapsed(), Duration::from_secs(5));
        assert!(known_over && !Life::is_over());
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_is_lifted_ends_nothing() {
        let mut ended = false;
        let stream = async {
            Life::limit(within(5));
            tokio::time::sleep(Duration::from_secs(1)).await;
            Life::limit(None);
            tokio::time::sleep(Duration::from_secs(60)).await;
            ended = true;
        };
        StreamTask::new(stream, Accounts::new(1, 1)).await;
        assert!(ended);
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_of_one_stream_is_not_that_of_another_on_the_same_thread() {
        let short = async {
            Life::limit(within(1));
            std::future::pending::<()>().await;
        };
        let mut ended = false;
        let long = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            ended = true;
        };
        tokio::join!(StreamTask::new(short, Accounts::new(1, 1)), StreamTask::new(long, Accounts::new(1, 1)));
        assert!(ended);
    }
}

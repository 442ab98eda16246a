//! The task of one stream, with a limit that does not depend on the stream being polled.
//!
//! hyper polls a response body only while the peer's flow-control window has room. A peer that stops reading therefore
//! stops every timer inside the body as well: the deadline passes unseen, and what the RPC holds is held for ever. The
//! task around the stream is polled for its own timer, and ends the stream by dropping it, which resets it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

tokio::task_local! {
    static LIFE: Life;
}

/// How long the stream of the current task may go without being polled. Clones share the limit.
#[derive(Debug, Clone, Default)]
pub struct Life(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    until: Option<Instant>,
    over: bool,
}

impl Life {
    /// The life of the stream whose task is running; a life of its own, which nothing ends, outside of one.
    #[must_use]
    pub fn current() -> Self {
        LIFE.try_with(Clone::clone).unwrap_or_default()
    }

    /// From now on the stream is reset at `until`; never, for `None`. Takes effect when the current poll returns.
    pub fn limit(&self, until: Option<Instant>) {
        self.lock().until = until;
    }

    /// Whether the limit ended the stream.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.lock().over
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a stream under a [`Life`].
pub(crate) struct StreamTask<F> {
    stream: Option<Pin<Box<F>>>,
    life: Life,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<F> StreamTask<F> {
    pub(crate) fn new(stream: F) -> Self {
        Self { stream: Some(Box::pin(stream)), life: Life::default(), timer: None }
    }
}

impl<F: Future<Output = ()>> Future for StreamTask<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(stream) = &mut this.stream else { return Poll::Ready(()) };
        if LIFE.sync_scope(this.life.clone(), || stream.as_mut().poll(cx)).is_ready() {
            return Poll::Ready(());
        }
        let Some(until) = this.life.lock().until else {
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
        this.life.lock().over = true;
        // Whatever the stream holds is released in its own scope.
        let stream = this.stream.take();
        LIFE.sync_scope(this.life.clone(), || drop(stream));
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_not_polled_any_more_ends_at_its_limit() {
        let (life, seen) = (Life::default(), Life::default());
        let task = StreamTask::new(async {
            Life::current().limit(Some(Instant::now() + Duration::from_secs(5)));
            std::future::pending::<()>().await;
        });
        let inner = task.life.clone();
        let started = Instant::now();
        task.await;
        assert_eq!(started.elapsed(), Duration::from_secs(5));
        assert!(inner.is_over());
        assert!(!life.is_over() && !seen.is_over());
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_is_lifted_ends_nothing() {
        StreamTask::new(async {
            let life = Life::current();
            life.limit(Some(Instant::now() + Duration::from_secs(5)));
            tokio::time::sleep(Duration::from_secs(1)).await;
            life.limit(None);
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert!(!life.is_over());
        })
        .await;
    }
}

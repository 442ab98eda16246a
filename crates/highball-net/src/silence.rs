//! HTTP/2 keepalive: a client that says nothing is asked for a sign of life, and closed when it gives none (gRFC A9).
//!
//! hyper offers the same, and pays for it with a look at the clock and a lock at each frame. The sentinel looks at the clock
//! for every read anyway; here it is asked as rarely as the answer can change.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use highball_core::BoxError;
use tokio::time::{Instant, sleep, sleep_until};

use crate::h2::control::Control;

/// A connection that ends, also, when its client has gone silent.
pub(crate) struct Watched<'a, C, S> {
    pub(crate) connection: Pin<&'a mut C>,
    /// A set of one: polled only when it was woken itself, and not its timer with every frame.
    silence: FuturesUnordered<S>,
}

impl<'a, C, S: Future> Watched<'a, C, S> {
    pub(crate) fn new(connection: Pin<&'a mut C>, silence: S) -> Self {
        Self { connection, silence: std::iter::once(silence).collect() }
    }
}

impl<C, S> Future for Watched<'_, C, S>
where
    C: Future<Output = Result<(), BoxError>>,
    S: Future<Output = Silent>,
{
    type Output = Result<(), BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match (this.connection.as_mut().poll(cx), this.silence.poll_next_unpin(cx)) {
            (Poll::Ready(end), _) => Poll::Ready(end),
            (Poll::Pending, Poll::Ready(Some(silent))) => Poll::Ready(Err(silent.into())),
            (Poll::Pending, _) => Poll::Pending,
        }
    }
}

/// Resolves when the client was silent for `time`, was asked, and was silent for `timeout` after that.
pub(crate) async fn silent(time: Duration, timeout: Duration, control: &Control) -> Silent {
    let mut look = Instant::now() + time;
    loop {
        sleep_until(look).await;
        let Some(heard) = control.heard() else {
            // Not HTTP/2, or not yet.
            look = Instant::now() + time;
            continue;
        };
        look = heard + time;
        if look > Instant::now() {
            continue;
        }
        control.ask();
        // So that the question goes out: the connection is polled before this is.
        tokio::task::yield_now().await;
        sleep(timeout).await;
        match control.heard() {
            Some(again) if again > heard => look = again + time,
            _ => return Silent,
        }
    }
}

/// The client gave no sign of life.
#[derive(Debug)]
pub(crate) struct Silent;

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client answered no keepalive")
    }
}

impl std::error::Error for Silent {}

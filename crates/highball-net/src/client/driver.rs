//! The one task of a connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::Connection;
use tokio::time::{Sleep, sleep};

use super::keepalive::Keepalive;
use super::leaving::Leaving;
use super::settings::Settings;
use super::shared::Shared;
use super::watch::Watch;

/// A connection that is leaving and has no stream left gets this long to say goodbye. A peer that reads nothing would
/// otherwise hold it.
const FAREWELL: Duration = Duration::from_secs(5);

/// Drives h2 to the end. Dropping it cuts the connection.
pub(super) struct Driver {
    connection: Option<Connection<Watch, Bytes>>,
    shared: Arc<Shared>,
    keepalive: Option<Keepalive>,
    /// Places that are free once h2 has written what it has.
    resetting: usize,
    farewell: Option<Pin<Box<Sleep>>>,
}

impl Driver {
    pub(super) fn new(
        mut connection: Connection<Watch, Bytes>,
        shared: Arc<Shared>,
        settings: &Settings,
    ) -> Self {
        let keepalive = connection.ping_pong().and_then(|pings| Keepalive::new(settings, pings));
        Self { connection: Some(connection), shared, keepalive, resetting: 0, farewell: None }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn end(&mut self, reason: Leaving) {
        self.shared.leave(reason);
        // h2 fails the streams that are left.
        if self.connection.take().is_some() {
            self.shared.places.give_back(std::mem::take(&mut self.resetting));
            self.shared.places.end();
            self.shared.story.end();
        }
    }

    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.farewell.is_none() && self.shared.places.is_shut() && self.shared.places.in_flight() == 0 {
            self.farewell = Some(Box::pin(sleep(FAREWELL)));
        }
        match &mut self.farewell {
            Some(timer) => timer.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.shared.register_driver(cx.waker());
        if this.shared.is_aborted() {
            this.end(Leaving::Closed);
        }
        if let Some(keepalive) = &mut this.keepalive {
            keepalive.before(cx, &this.shared);
        }
        this.resetting += this.shared.places.take_resetting();
        let Some(connection) = &mut this.connection else { return Poll::Ready(()) };
        if let Poll::Ready(outcome) = Pin::new(connection).poll(cx) {
            let trouble = outcome.err().map(|error| error.to_string());
            let trouble = trouble.unwrap_or_else(|| "the server closed the connection".to_owned());
            this.end(Leaving::Lost(trouble));
            return Poll::Ready(());
        }
        if !this.shared.wire.is_blocked() {
            this.shared.places.give_back(std::mem::take(&mut this.resetting));
        }
        let keepalive = this.keepalive.as_mut();
        if keepalive.is_some_and(|keepalive| keepalive.poll(cx, &this.shared).is_ready()) {
            this.end(Leaving::KeepaliveTimeout);
            return Poll::Ready(());
        }
        if this.poll_farewell(cx).is_ready() {
            this.end(Leaving::Closed);
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.end(Leaving::Closed);
    }
}

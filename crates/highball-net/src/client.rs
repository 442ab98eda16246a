//! One HTTP/2 connection to a server, for gRPC.
//!
//! ```text
//!  reserve() -> Slot -- send(request) --> response head + body
//!                          |  the request body is pumped by the same task until the head is there,
//!                          |  by a task of its own afterwards, if it is still going on
//!  driver (one task under the caller's `Tasks`): h2 over `Watch`, keepalive, the end
//! ```
//!
//! It tells what a retrying caller must know: whether a stream that failed was never sent, was refused, or may have been
//! processed ([`SendErrorKind`]). That is read off the frames on the byte stream, because h2 does not say.
//!
//! Invariants: a [`Slot`] counts against the peer's limit until its stream is over, whatever becomes of it; nothing waits
//! but callers of [`Connection::slot`]; memory is bounded by [`Settings`].

mod body;
mod driver;
mod error;
mod exchange;
mod handshake;
mod keepalive;
mod leaving;
mod places;
mod pump;
mod settings;
mod shared;
mod upload;
mod watch;
mod wire;

use std::fmt;
use std::sync::Arc;

use highball_core::Body;
use http::{Request, Response};

use self::places::Place;
use self::shared::Shared;

pub use error::{ConnectError, ConnectErrorKind, SendError, SendErrorKind, StreamError};
pub use handshake::handshake;
pub use leaving::Leaving;
pub use settings::{KEEPALIVE_TIME_MIN, Settings};

/// A cheap handle of a connection. Dropping the last one closes the connection as [`close`](Self::close) does.
#[derive(Clone)]
pub struct Connection(Arc<Hand>);

struct Hand(Arc<Shared>);

impl Connection {
    fn new(shared: Arc<Shared>) -> Self {
        Self(Arc::new(Hand(shared)))
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    /// A place for one more stream, given back when it is dropped or its stream is over. `None` when the peer's limit
    /// (SETTINGS_MAX_CONCURRENT_STREAMS) or [`Settings::concurrent_streams_max`] is reached, others wait for a
    /// [`slot`](Self::slot) already, or no new stream may be opened.
    #[must_use]
    pub fn reserve(&self) -> Option<Slot> {
        Place::reserve(self.shared()).map(Slot)
    }

    /// Places that are taken: slots that were handed out, and streams that are not over.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared().places.in_flight()
    }

    /// Streams that the peer has taken since the connection began: those that were sent, less those that its GOAWAY says it
    /// did not look at.
    #[must_use]
    pub fn streams_taken(&self) -> u32 {
        self.shared().wire.streams_taken()
    }

    /// How many streams there may be at once, as the peer last said and our own cap allows. It may be below
    /// [`in_flight`](Self::in_flight) for a while after the peer lowered it.
    #[must_use]
    pub fn streams_max(&self) -> usize {
        self.shared().places.limit()
    }

    /// Resolves when no new stream may be opened, with the reason; at once, if that is already so. Streams that run go on
    /// after a GOAWAY and after [`close`](Self::close). Cancel safe.
    pub async fn leaving(&self) -> Leaving {
        self.shared().story.leaving().await
    }

    /// Resolves when the connection is gone altogether. Cancel safe.
    pub async fn closed(&self) {
        self.shared().story.gone().await;
    }

    /// Opens no new streams; the connection ends with GOAWAY when the last stream has ended. Slots that were handed out and
    /// not used fail with [`SendErrorKind::NeverSent`].
    pub fn close(&self) {
        self.shared().leave(Leaving::Closed);
    }

    /// Cuts the connection; streams that run fail with [`SendErrorKind::Lost`].
    pub fn abort(&self) {
        self.close();
        self.shared().abort();
    }

    /// Waits for a place: those who came first get theirs first. `None` when no new stream may be opened any more.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the turn to the next.
    pub async fn slot(&self) -> Option<Slot> {
        Place::wait(self.shared()).await.map(Slot)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("in_flight", &self.in_flight())
            .field("streams_max", &self.streams_max())
            .finish_non_exhaustive()
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.0.leave(Leaving::Closed);
    }
}

/// A place for one stream on a [`Connection`].
#[derive(Debug)]
#[must_use = "it holds a place until it is dropped"]
pub struct Slot(Place);

impl Slot {
    /// Sends a request and resolves with the response head.
    ///
    /// The URI must have scheme and authority. The request body is read as the peer's window allows, by this future until
    /// the head is there; a body that goes on after that gets a task of its own, so that it flows whether or not the
    /// response body is polled. A peer that ends its response early ends the request body: it is dropped, which is no error.
    ///
    /// # Errors
    /// [`SendErrorKind`] tells whether the request may have been processed. A request body that fails is
    /// `Reset(8)` (CANCEL), with its error as the source.
    ///
    /// # Cancel safety
    /// Dropping the future, or the response body before its end, resets the stream with CANCEL. The place is given back
    /// once that is written.
    pub async fn send(self, request: Request<Body>) -> Result<Response<Body>, SendError> {
        exchange::run(self.0, request).await
    }
}

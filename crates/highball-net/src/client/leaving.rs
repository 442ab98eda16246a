//! Why a connection takes no more streams, and whether it is still there.

use bytes::Bytes;
use tokio::sync::watch;

/// Why no new stream may be opened on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leaving {
    /// The peer said so.
    GoAway {
        /// Its error code (RFC 9113 section 7); 0 for a graceful end.
        code: u32,
        /// What it added, up to 1 KiB. From the peer, not to be trusted as text.
        debug: Bytes,
    },
    /// It gave no sign of life.
    KeepaliveTimeout,
    /// The connection broke, for the operator to read.
    Lost(String),
    /// It was closed on our side: by [`close`](super::Connection::close), by the end of what drives it, or because its
    /// stream ids are used up.
    Closed,
}

impl Leaving {
    /// Whether the peer minds how often it was asked for a sign of life: the next connection to it must ask half as often
    /// (gRFC A8).
    #[must_use]
    pub fn is_too_many_pings(&self) -> bool {
        const ENHANCE_YOUR_CALM: u32 = 0xb;
        matches!(self, Self::GoAway { code: ENHANCE_YOUR_CALM, debug } if debug.as_ref() == b"too_many_pings")
    }
}

/// The last two things a connection has to tell, for any number of listeners.
#[derive(Debug)]
pub(super) struct Story(watch::Sender<State>);

#[derive(Debug, Default)]
struct State {
    leaving: Option<Leaving>,
    gone: bool,
}

impl Story {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(State::default()))
    }

    /// The first reason counts. Only a GOAWAY that blames us replaces one that did not: a peer may begin politely.
    pub(super) fn leave(&self, reason: Leaving) {
        self.0.send_if_modified(|state| {
            let replaces = match (&state.leaving, &reason) {
                (None, _) => true,
                (Some(Leaving::GoAway { code: 0, .. }), Leaving::GoAway { code, .. }) => *code != 0,
                _ => false,
            };
            if replaces {
                state.leaving = Some(reason);
            }
            replaces
        });
    }

    /// How the connection broke.
    pub(super) fn trouble(&self) -> Option<String> {
        match &self.0.borrow().leaving {
            Some(Leaving::Lost(text)) => Some(text.clone()),
            _ => None,
        }
    }

    pub(super) fn end(&self) {
        self.0.send_modify(|state| state.gone = true);
    }

    pub(super) async fn leaving(&self) -> Leaving {
        let mut listener = self.0.subscribe();
        // The sender lives as long as `self`.
        let state = listener.wait_for(|state| state.leaving.is_some()).await;
        state.ok().and_then(|state| state.leaving.clone()).unwrap_or(Leaving::Closed)
    }

    pub(super) async fn gone(&self) {
        // The sender lives as long as `self`.
        self.0.subscribe().wait_for(|state| state.gone).await.ok();
    }
}

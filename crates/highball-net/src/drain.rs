//! The phases of a shutdown, and how everybody learns of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::watch;

/// Where a server is in its life. Phases only move forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Normal work.
    Serving,
    /// Readiness says no, everything is still accepted: load balancers get time to look.
    LameDuck,
    /// No new connections; open ones are told by GOAWAY, streams by [`Draining::begun`]; what is in flight may finish.
    Draining,
    /// Time is up: what is left is answered UNAVAILABLE, then connections are closed.
    Forced,
}

impl Phase {
    const ALL: [Self; 4] = [Self::Serving, Self::LameDuck, Self::Draining, Self::Forced];
}

/// The hand that moves the phases. One per server.
#[derive(Debug)]
pub struct Drain(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Wakes who waits.
    changed: watch::Sender<State>,
    /// The same phase for those who only look: every RPC does, several times.
    now: AtomicU8,
}

#[derive(Debug, Clone, Copy)]
struct State {
    phase: Phase,
    /// Another process accepts from the same sockets.
    handed_over: bool,
}

impl Shared {
    fn new() -> Arc<Self> {
        let changed = watch::Sender::new(State { phase: Phase::Serving, handed_over: false });
        Arc::new(Self { changed, now: AtomicU8::new(Phase::Serving as u8) })
    }

    fn phase(&self) -> Phase {
        // Only phases are stored.
        Phase::ALL.get(usize::from(self.now.load(Ordering::Acquire))).copied().unwrap_or(Phase::Forced)
    }
}

impl Drain {
    /// Starts in [`Phase::Serving`].
    #[must_use]
    pub fn new() -> Self {
        Self(Shared::new())
    }

    /// Moves to `phase`, never back.
    pub fn advance(&self, phase: Phase) {
        self.0.changed.send_if_modified(|now| {
            let forward = phase > now.phase;
            if forward {
                now.phase = phase;
                // Before anybody is woken, and under the channel's lock: there is one order of phases.
                self.0.now.store(phase as u8, Ordering::Release);
            }
            forward
        });
    }

    /// Ends the service of this process because another one accepts from the same sockets from now on. Nobody needs to look
    /// for another server, and what the kernel still holds is the other's: the server stops accepting, in its own time
    /// moves on to [`Phase::Draining`], and stays ready for whoever asks.
    pub fn hand_over(&self) {
        self.0.changed.send_modify(|now| now.handed_over = true);
    }

    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.0.phase()
    }

    /// An ear for it.
    #[must_use]
    pub fn listen(&self) -> Draining {
        Draining(self.0.clone())
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

/// An ear for the phases. Cheap to clone; a long-lived stream keeps one and ends when [`begun`](Self::begun) resolves.
#[derive(Debug, Clone)]
pub struct Draining(Arc<Shared>);

impl Draining {
    /// An ear that never hears anything, for services that run without a server.
    #[must_use]
    pub fn never() -> Self {
        Self(Shared::new())
    }

    /// Resolves when the drain proper starts ([`Phase::Draining`]): end streams now, the caller should reconnect
    /// elsewhere. Cancel safe.
    pub async fn begun(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Whether the drain proper has started.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.phase() >= Phase::Draining
    }

    /// Whether another process accepts from the same sockets.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        self.0.changed.borrow().handed_over
    }

    /// Resolves at [`Drain::hand_over`]; never without. Cancel safe.
    pub async fn handed_over(&self) {
        // As in `reached`.
        self.0.changed.subscribe().wait_for(|now| now.handed_over).await.ok();
    }

    /// Resolves at `phase` or later. Never resolves when the server went away without draining. Cancel safe.
    pub async fn reached(&self, phase: Phase) {
        let mut ear = self.0.changed.subscribe();
        // The sender lives as long as `self`, so this ends with the phase only.
        ear.wait_for(|now| now.phase >= phase).await.ok();
    }

    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.0.phase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn phases_only_move_forward() {
        let drain = Drain::new();
        let ear = drain.listen();
        drain.advance(Phase::Draining);
        drain.advance(Phase::LameDuck);
        assert_eq!(ear.phase(), Phase::Draining);
        assert!(ear.begun().now_or_never().is_some());
        assert!(ear.reached(Phase::Forced).now_or_never().is_none());
    }

    #[test]
    fn what_is_handed_over_is_heard_before_the_drain() {
        let drain = Drain::new();
        let ear = drain.listen();
        drain.advance(Phase::Serving);
        assert!(!ear.is_handed_over() && ear.handed_over().now_or_never().is_none());
        drain.hand_over();
        assert!(ear.is_handed_over() && ear.handed_over().now_or_never().is_some());
        assert_eq!(ear.phase(), Phase::Serving);
    }

    #[test]
    fn an_ear_without_a_server_never_hears_a_drain() {
        let ear = Draining::never();
        assert!(!ear.has_begun());
        assert!(ear.begun().now_or_never().is_none());
    }
}

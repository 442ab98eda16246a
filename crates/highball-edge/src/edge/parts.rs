//! What an edge gets from the program around it, beside its settings.

use std::sync::Arc;

use highball_auth::Guard;
use highball_net::{Drain, Handover};
use highball_server::{Health, Server};

use super::Edge;

/// Given to the server as they are.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) descriptors: Vec<Vec<u8>>,
    health: Option<Health>,
    drain: Option<Arc<Drain>>,
    guard: Option<Guard>,
    handover: Option<Arc<Handover>>,
}

impl Parts {
    pub(super) fn give(self, server: Server) -> Server {
        let server = self.health.into_iter().fold(server, Server::with_health);
        let server = self.drain.into_iter().fold(server, Server::with_drain);
        let server = self.guard.into_iter().fold(server, Server::with_guard);
        self.handover.into_iter().fold(server, Server::with_handover)
    }
}

impl Edge {
    /// Knows these methods as well: an encoded `FileDescriptorSet`, beside the files that the settings name. May be called
    /// several times.
    pub fn with_descriptors(mut self, set: impl Into<Vec<u8>>) -> Self {
        self.parts.descriptors.push(set.into());
        self
    }

    /// Serves a health state that somebody else feeds. Default one that is ready at once, whatever the backends are.
    pub fn with_health(mut self, health: Health) -> Self {
        self.parts.health = Some(health);
        self
    }

    /// Drains by a hand that somebody else listens to.
    pub fn with_drain(mut self, drain: Arc<Drain>) -> Self {
        self.parts.drain = Some(drain);
        self
    }

    /// Decides who may call what, before anything is routed. Default nobody does: the backends see the caller's metadata.
    pub fn with_guard(mut self, guard: Guard) -> Self {
        self.parts.guard = Some(guard);
        self
    }

    /// Can be replaced by a new process at SIGUSR2, on the platform of the handover: see
    /// [`Server::with_handover`]. The default ends at that signal.
    pub fn with_handover(mut self, handover: Arc<Handover>) -> Self {
        self.platform = handover.clone();
        self.parts.handover = Some(handover);
        self
    }
}

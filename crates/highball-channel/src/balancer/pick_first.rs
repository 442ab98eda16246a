//! `pick_first` (gRFC A62): one backend with all addresses, of which the connector takes the first that answers.

use std::sync::Arc;

use tokio::time::Instant;

use super::pool::{Failing, failed, full};
use super::{Ask, Pick, Picker, Policy, Published};
use crate::State;
use crate::backend::Backend;

/// Everything goes to the one backend there is. [`members`](super::members()) makes one of many.
#[derive(Debug)]
pub(super) struct PickFirst;

impl Policy for PickFirst {
    fn name(&self) -> &'static str {
        "pick_first"
    }

    fn is_lazy(&self) -> bool {
        true
    }

    fn build(&mut self, backends: &[Arc<Backend>], _: Instant) -> Published {
        let Some(backend) = backends.first() else {
            let picker = Arc::new(Failing(failed()));
            return Published { picker, state: State::TransientFailure, rebuild_after: None };
        };
        let picker = Arc::new(One(Arc::clone(backend)));
        Published { picker, state: backend.state(), rebuild_after: None }
    }
}

struct One(Arc<Backend>);

impl Picker for One {
    fn pick(&self, _: &Ask<'_>) -> Pick {
        match self.0.state() {
            State::Ready if self.0.load.has_room() => Pick::To(Arc::clone(&self.0), "pick_first"),
            State::Ready => full(),
            State::Idle => {
                self.0.connect();
                Pick::Queue
            }
            // One that is shut down was replaced: another picker is on its way.
            State::Connecting | State::Shutdown => Pick::Queue,
            State::TransientFailure => Pick::Fail(failed()),
        }
    }
}

//! Who may start: a bound on the RPCs this process works on at once.

use std::sync::Arc;

use highball_core::{Code, Status};
use highball_telemetry::{Event, Limit, Telemetry};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The right to work on one RPC, given back when the RPC ends.
pub(crate) type Permit = OwnedSemaphorePermit;

/// `concurrent_rpcs_max` permits. There is no queue: waiting would only hide an overload until deadlines pass.
#[derive(Debug)]
pub(crate) struct Admission {
    permits: Arc<Semaphore>,
    max: usize,
    telemetry: Telemetry,
}

impl Admission {
    pub(crate) fn new(max: usize, telemetry: Telemetry) -> Self {
        let max = max.min(Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(max)), max, telemetry }
    }

    /// A permit, or RESOURCE_EXHAUSTED naming the setting.
    pub(crate) fn admit(&self) -> Result<Permit, Status> {
        self.permits.clone().try_acquire_owned().map_err(|_| {
            self.telemetry.report(&Event::LimitHit { limit: Limit::ConcurrentRpcs });
            let sentence =
                format!("the server is at its limit of {} concurrent RPCs (concurrent_rpcs_max)", self.max);
            Status::new(Code::ResourceExhausted, sentence)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_too_many_is_refused_and_a_returned_permit_is_given_again() {
        let admission = Admission::new(1, Telemetry::new());
        let held = admission.admit().unwrap();
        let refused = admission.admit().unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.message().contains("concurrent_rpcs_max"), "{refused}");
        drop(held);
        assert!(admission.admit().is_ok());
    }
}

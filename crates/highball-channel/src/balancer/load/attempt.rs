//! One attempt at a backend, from the pick to the end of the response.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use highball_core::Code;
use tokio::time::Instant;

use crate::backend::Backend;
use crate::orca::OrcaReport;

/// What a refusal counts as, in latency, when it does not say when to come back (linkerd2-proxy).
const PENALTY: Duration = Duration::from_secs(5);

/// A longer hint to stay away counts as this.
const PENALTY_MAX: Duration = Duration::from_secs(300);

/// Counts as one call in flight at its backend until it is dropped. Keep it to the end of the response stream.
#[derive(Debug)]
pub(crate) struct Active {
    backend: Arc<Backend>,
    started: Instant,
    answered: bool,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome<'a> {
    /// The status the attempt ended with, also one made up on this side.
    pub(crate) code: Code,
    /// What the trailers report of the backend's load.
    pub(crate) orca: Option<&'a OrcaReport>,
    /// What `grpc-retry-pushback-ms` asks for.
    pub(crate) pushback: Option<Duration>,
}

impl Active {
    /// An attempt begins. Call it at once after the pick, so that the next pick knows.
    pub(crate) fn begin(backend: Arc<Backend>, now: Instant) -> Self {
        backend.load.active.fetch_add(1, Ordering::Relaxed);
        Self { backend, started: now, answered: false }
    }

    /// Where it goes.
    #[cfg(test)]
    pub(crate) fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// The first message of the response is here, which is what latency measures: streams may go on for hours. Later ones
    /// are ignored.
    pub(crate) fn answered(&mut self, now: Instant) {
        if !self.answered {
            self.answered = true;
            let load = &self.backend.load;
            let took = now.saturating_duration_since(self.started);
            load.latency.observe(took, load.stamp(now), load.tuning.load().decay);
        }
    }

    /// The attempt is over. One that is merely dropped teaches nothing.
    pub(crate) fn finish(self, outcome: &Outcome<'_>, now: Instant) {
        let load = &self.backend.load;
        let tuning = load.tuning.load();
        load.count(Verdict::of(outcome.code, self.answered), &tuning);
        if let Some(report) = outcome.orca {
            load.report(report, now);
        }
        let took = now.saturating_duration_since(self.started);
        let (latency, stamp) = (&load.latency, load.stamp(now));
        match outcome.code {
            Code::Unavailable | Code::ResourceExhausted => {
                let penalty = outcome.pushback.unwrap_or(PENALTY).min(PENALTY_MAX).max(took);
                latency.observe(penalty, stamp, tuning.decay);
            }
            _ if self.answered => {}
            // These say how long there was no answer, not how long an answer takes. A backend that fails quickly must not
            // look quick.
            Code::Cancelled | Code::DeadlineExceeded | Code::Internal | Code::Unknown | Code::DataLoss => {
                latency.observe_at_least(took, stamp, tuning.default_rtt);
            }
            _ => latency.observe(took, stamp, tuning.decay),
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.backend.load.active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the end of an attempt says of the backend's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It works, whatever the answer was.
    Success,
    /// It does not.
    Failure,
    /// Nothing can be said.
    Neutral,
}

impl Verdict {
    /// gRFC A50 counts every status but OK as a failure. Then one client that asks for what does not exist ejects healthy
    /// backends, so only what a server does to a flawless request counts here:
    ///
    /// * UNAVAILABLE, INTERNAL, UNKNOWN, DATA_LOSS, and DEADLINE_EXCEEDED without any message are failures: the last is all
    ///   that is seen of a backend that hangs.
    /// * Answers about the request or the state it met are successes, ABORTED among them.
    /// * CANCELLED is the caller's wish or a hedge that lost; RESOURCE_EXHAUSTED a quota or overload, which ejection would
    ///   move to the others; DEADLINE_EXCEEDED in the middle of a stream is the caller's bound: neutral.
    fn of(code: Code, answered: bool) -> Self {
        match code {
            Code::Unavailable | Code::Internal | Code::Unknown | Code::DataLoss => Self::Failure,
            Code::DeadlineExceeded if !answered => Self::Failure,
            Code::DeadlineExceeded | Code::Cancelled | Code::ResourceExhausted => Self::Neutral,
            Code::Ok
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Aborted => Self::Success,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_server_does_to_a_flawless_request_is_a_failure() {
        let failures: Vec<_> =
            Code::ALL.into_iter().filter(|code| Verdict::of(*code, false) == Verdict::Failure).collect();
        let want = [Code::Unknown, Code::DeadlineExceeded, Code::Internal, Code::Unavailable, Code::DataLoss];
        assert_eq!(failures, want);
        for code in [Code::Cancelled, Code::ResourceExhausted] {
            assert_eq!(Verdict::of(code, false), Verdict::Neutral, "{code}");
        }
        assert_eq!(Verdict::of(Code::NotFound, false), Verdict::Success);
    }

    #[test]
    fn a_deadline_in_the_middle_of_a_stream_is_not_a_failure() {
        assert_eq!(Verdict::of(Code::DeadlineExceeded, true), Verdict::Neutral);
    }
}
